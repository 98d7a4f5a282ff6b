"""What a sweep is, and what is to be done next: pure functions of what was done.

A sweep is cut into units of work. The first of each group measures and settles how the
group is run; every other one trains some settings from one step to another, as one
population. Which units there are follows from the definition of the sweep and from the
outcomes of earlier units alone: not from the time, nor from who did them. So any number
of workers agree without talking, and a killed one is replaced by any other.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnets.sweeps import rungs, search
from jaxnets.sweeps import space as spaces


@dataclasses.dataclass(frozen=True)
class Definition:
    """A sweep, as plain data: the same definition, the same trials.

    Attributes:
        experiment: Its name.
        groups: Label to configuration, one for each static choice.
        space: What is searched; see `space.to_json`.
        method: One of `search.METHODS`.
        schedule: One of `rungs.SCHEDULES`.
        trials: Settings in each group.
        members: Settings in one program.
        batch: Settings that are proposed at once, and compared in a bracket.
        eta: One setting in so many is promoted to the next rung; see `rungs.brackets`.
        first: Steps of the shortest rung; None: see `rungs.brackets`.
        seeds: Runs of each setting that differ in `Config.seed`.
        data_seeds: Runs of each that differ in `Config.data_seed`.
        objectives: Metrics of the validation split that the sweep optimises, at least
            one.
        maximise: Whether each is to be raised.
        mode: How members are run, or `auto`.
        memory: GiB that a population may take; None for what the device has.
        seed: Of the search.
    """

    experiment: str
    groups: dict[str, Any]
    space: dict[str, Any]
    method: str = "random"
    schedule: str = "full"
    trials: int = 16
    members: int = 16
    batch: int = 16
    eta: int = 3
    first: int | None = None
    seeds: int = 1
    data_seeds: int = 1
    objectives: tuple[str, ...] = ("loss",)
    maximise: tuple[bool, ...] = (False,)
    mode: str = "auto"
    memory: float | None = None
    seed: int = 0

    @property
    def replicas(self) -> int:
        """Runs of each setting."""
        return self.seeds * self.data_seeds


class StateSource(NamedTuple):
    """The trained state that a setting continues from.

    Attributes:
        unit: Name of the unit that trained it.
        place: Which of its settings it is.
        size: How many settings that unit has.
        zeros: See `WorkUnit`.
    """

    unit: str
    place: int
    size: int
    zeros: tuple[str, ...]


class Entry(NamedTuple):
    """One setting in a unit.

    Attributes:
        trial: Its number in the group.
        values: Of the free hyperparameters.
        parent: Whose state it goes on from; None at step 0.
    """

    trial: int
    values: dict[str, float]
    parent: StateSource | None = None


class WorkUnit(NamedTuple):
    """A part of a sweep that one worker trains at a time.

    Attributes:
        name: `0.2.1.0` is chunk 0 of rung 1 of bracket 2 of group 0; `0.settle` is what
            comes first in the group.
        group: Label of the group.
        start: Steps already taken.
        stop: Steps to take.
        entries: The settings; none for the first unit.
        zeros: Free hyperparameters that are exactly 0 in all of them. An experiment may
            leave out what is 0, so these are another program.
    """

    name: str
    group: str
    start: int = 0
    stop: int = 0
    entries: tuple[Entry, ...] = ()
    zeros: tuple[str, ...] = ()


class Finished(NamedTuple):
    """A setting that will not be trained further.

    Attributes:
        group: Label of the group.
        trial: Its number there.
        values: Its hyperparameters, at the end.
        step: How far it was trained.
        whole: Whether that is the whole length; else it was stopped early.
        results: Objectives of every replica, `[replicas][objectives]`; None where one
            is not finite.
        reasons: Why a replica failed; empty where it did not.
        curves: Of each replica, pairs of step and first objective.
        source: Where its state is.
        history: Steps and values, where these changed on the way.
    """

    group: str
    trial: int
    values: dict[str, float]
    step: int
    whole: bool
    results: list[list[float | None]]
    reasons: list[str]
    curves: list[list[tuple[int, float]]]
    source: StateSource
    history: list[tuple[int, dict[str, float]]]


class Agenda(NamedTuple):
    """What is to be done, and what is.

    Attributes:
        open: Units that can be done now, in order.
        finished: Trials that are.
        complete: Whether nothing is left.
    """

    open: list[WorkUnit]
    finished: list[Finished]
    complete: bool


Outcomes = Mapping[str, Mapping[str, Any]]


def agenda(definition: Definition, outcomes: Outcomes) -> Agenda:
    """What follows from the outcomes that there are.

    Args:
        definition: The sweep.
        outcomes: Name of a unit to what came out of it. Of a group's first unit that is
            `steps`, `mode`, `capacity`; of the others `results`, `reasons`, `curves`,
            one an entry.
    """
    open_units: list[WorkUnit] = []
    finished: list[Finished] = []
    complete = True
    for number, label in enumerate(definition.groups):
        settle = f"{number}.settle"
        if settle not in outcomes:
            open_units.append(WorkUnit(settle, label))
            complete = False
            continue
        found = _group(definition, number, label, outcomes)
        open_units += found.open
        finished += found.finished
        complete &= found.complete
    return Agenda(open_units, finished, complete)


def brackets(definition: Definition, settled: Mapping[str, Any]) -> list[rungs.Bracket]:
    """The brackets of a group, once it is known how long its runs are."""
    if settled.get("failed"):
        return [rungs.Bracket(definition.trials, (0,), (definition.trials,))]
    trials = definition.trials
    if definition.method == "grid":
        space = spaces.from_json(definition.space)
        trials = len(search.grid(space, trials))
    return rungs.brackets(
        definition.schedule,
        trials=trials,
        batch=definition.batch,
        steps=settled["steps"],
        eta=definition.eta,
        first=definition.first,
    )


def _group(
    definition: Definition, number: int, label: str, outcomes: Outcomes
) -> Agenda:
    settled = outcomes[f"{number}.settle"]
    planned = brackets(definition, settled)
    space, number_of = spaces.from_json(definition.space), len(definition.objectives)
    results: list[list[search.Result]] = []
    open_units: list[WorkUnit] = []
    finished: list[Finished] = []
    sizes = [bracket.trials for bracket in planned]
    learns = definition.method in search.LEARNING
    propose = lambda: search.proposals(
        space, definition.method, definition.seed, sizes, results, number_of
    )
    batches = propose()
    for index, bracket in enumerate(planned):
        if index >= len(batches):
            batches = propose()
        first = sum(sizes[:index])
        entries = [Entry(first + i, v) for i, v in enumerate(batches[index])]
        if settled.get("failed"):
            finished += [_never(label, e, definition, settled) for e in entries]
            results.append([None] * len(entries))
            continue
        walk = _Walk(definition, number, label, index, bracket, settled, outcomes)
        walk.down(entries)
        open_units += walk.open
        if walk.open:
            if learns:
                return Agenda(open_units, finished, complete=False)
            continue
        done = sorted(walk.finished, key=lambda f: f.trial)
        finished += done
        results.append([_result(definition, f) for f in done])
    return Agenda(open_units, finished, complete=not open_units)


class _Walk:
    """Goes down the rungs of one bracket as far as there are outcomes."""

    def __init__(
        self,
        definition: Definition,
        number: int,
        label: str,
        index: int,
        bracket: rungs.Bracket,
        settled: Mapping[str, Any],
        outcomes: Outcomes,
    ) -> None:
        self.definition, self.label, self.bracket = definition, label, bracket
        self.prefix, self.outcomes, self.settled = (
            f"{number}.{index}",
            outcomes,
            settled,
        )
        self.seed = definition.seed * 1_000_003 + number * 1009 + index
        self.open: list[WorkUnit] = []
        self.finished: list[Finished] = []
        self.curves: dict[int, list[list[Any]]] = {}
        self.history: dict[int, list[Any]] = {}

    def down(self, entries: list[Entry]) -> None:
        start = 0
        for rung, stop in enumerate(self.bracket.stops):
            units = self._units(entries, rung, start, stop)
            self.open = [unit for unit in units if unit.name not in self.outcomes]
            if self.open:
                return
            entries = self._after(units, rung, stop)
            start = stop
            if not entries:
                return

    def _units(
        self, entries: list[Entry], rung: int, start: int, stop: int
    ) -> list[WorkUnit]:
        alike: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            zeros = tuple(name for name, value in entry.values.items() if value == 0)
            alike.setdefault(zeros, []).append(entry)
        most = min(self.definition.members, self.settled["capacity"])
        chunks = [
            (zeros, tuple(group[i : i + size]))
            for zeros, group in alike.items()
            for size in [rungs.even(len(group), most)]
            for i in range(0, len(group), size)
        ]
        return [
            WorkUnit(f"{self.prefix}.{rung}.{i}", self.label, start, stop, chunk, zeros)
            for i, (zeros, chunk) in enumerate(chunks)
        ]

    def _after(self, units: list[WorkUnit], rung: int, stop: int) -> list[Entry]:
        """Sorts the settings of a rung into those that end and those that go on."""
        last = rung == len(self.bracket.stops) - 1
        rows = []
        for unit in units:
            outcome = self.outcomes[unit.name]
            for place, entry in enumerate(unit.entries):
                done = self._finished(unit, place, entry, outcome, stop, whole=last)
                rows.append((entry, done))
        rows.sort(key=lambda row: row[0].trial)
        if last:
            self.finished += [done for _, done in rows]
            return []
        scores = [score(self.definition, done.results) for _, done in rows]
        if self.definition.schedule == "pbt":
            space = spaces.from_json(self.definition.space)
            values = [entry.values for entry, _ in rows]
            moves = rungs.evolved(scores, values, space, self.seed * 10_007 + rung)
            return [
                Entry(entry.trial, new, rows[parent][1].source)
                for (entry, _), (parent, new) in zip(rows, moves, strict=True)
            ]
        kept = rungs.survivors(scores, self.bracket.sizes[rung + 1])
        self.finished += [done for i, (_, done) in enumerate(rows) if i not in kept]
        return [
            Entry(rows[i][0].trial, rows[i][0].values, rows[i][1].source) for i in kept
        ]

    def _finished(
        self,
        unit: WorkUnit,
        place: int,
        entry: Entry,
        outcome: Mapping[str, Any],
        stop: int,
        *,
        whole: bool,
    ) -> Finished:
        curves = self.curves.setdefault(entry.trial, [])
        for replica, more in enumerate(outcome["curves"][place]):
            if replica == len(curves):
                curves.append([])
            curves[replica] += [tuple(pair) for pair in more]
        history = self.history.setdefault(entry.trial, [])
        if not history or history[-1][1] != entry.values:
            history.append((unit.start, entry.values))
        return Finished(
            self.label,
            entry.trial,
            entry.values,
            stop,
            whole,
            outcome["results"][place],
            outcome["reasons"][place],
            [list(curve) for curve in curves],
            StateSource(unit.name, place, len(unit.entries), unit.zeros),
            list(history),
        )


def score(definition: Definition, results: Sequence[Sequence[float | None]]) -> float:
    """The mean of the first objective over the replicas, so that lower is better.

    Infinite where a replica has none.
    """
    firsts = [row[0] for row in results]
    if not firsts or any(value is None for value in firsts):
        return math.inf
    mean = float(np.mean(np.array(firsts, np.float64)))
    return -mean if definition.maximise[0] else mean


def _result(definition: Definition, done: Finished) -> search.Result:
    rows = [row for row in done.results if None not in row]
    if len(rows) < definition.replicas:
        return None
    means = np.mean(np.array(rows, np.float64), axis=0)
    signs = [-1.0 if up else 1.0 for up in definition.maximise]
    return [float(s * m) for s, m in zip(signs, means, strict=True)]


def _never(
    label: str, entry: Entry, definition: Definition, settled: Mapping[str, Any]
) -> Finished:
    """A trial of a group that cannot be built at all."""
    replicas = range(definition.replicas)
    return Finished(
        *(label, entry.trial, entry.values, 0),
        whole=False,
        results=[[None] * len(definition.objectives) for _ in replicas],
        reasons=[str(settled["failed"]) for _ in replicas],
        curves=[[] for _ in replicas],
        source=StateSource("", 0, 0, ()),
        history=[(0, entry.values)],
    )
