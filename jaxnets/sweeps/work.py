"""Doing units of work: train a population some steps further, and say how it went.

A unit saves checkpoints of the whole population, and goes on from the newest: the
outcome is the same whoever does it, and however often it was killed.
"""

import dataclasses
import fcntl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.metrics import Mean, Metrics
from jaxnets.run import records, restoring
from jaxnets.run.checkpoints import Checkpoints
from jaxnets.run.experiment import Experiment
from jaxnets.run.folder import RunError
from jaxnets.run.interrupts import InterruptedRun, Interrupts
from jaxnets.sweeps import members, plans, settle
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.groups import Group
from jaxnets.sweeps.ledger import Lease, Ledger
from jaxnets.sweeps.plans import Definition, StateSource, WorkUnit
from jaxnets.sweeps.populations import Population, SeededSetting

# Steps between two looks at the clock and at signals; members that run one after the
# other take turns as often.
_BLOCK = 50


@dataclasses.dataclass
class Workshop:
    """What a worker needs beside a unit.

    Attributes:
        definition: The sweep.
        experiment: Its module.
        configs: Label to configuration of every group.
        folder: Of the sweep.
        say: Where lines go.
        checkpoint_seconds: Time between two checkpoints of a population.
        groups: What was loaded and built so far.
        signals: What asks to stop.
    """

    definition: Definition
    experiment: Experiment
    configs: Mapping[str, Any]
    folder: Path
    say: Callable[[str], None] = print
    checkpoint_seconds: float = 30.0
    groups: dict[str, Group] = dataclasses.field(default_factory=dict)
    signals: Interrupts = dataclasses.field(default_factory=Interrupts)

    def group(self, label: str) -> Group:
        """What is loaded and built for a group, once."""
        if label not in self.groups:
            space = spaces.free(spaces.from_json(self.definition.space))
            config = self.configs[label]
            self.groups[label] = Group(label, self.experiment, config, space)
        return self.groups[label]


def work(
    shop: Workshop,
    ledger: Ledger,
    *,
    publish: bool,
    poll: float = 0.5,
) -> plans.Agenda:
    """Does what can be done until nothing is left, whoever does the rest.

    Args:
        shop: What is needed.
        ledger: Where it is written what is done.
        publish: Whether to add what is finished to the study of results.
        poll: Seconds between two looks at what the others have done.

    Returns:
        The last agenda: everything is finished.

    Raises:
        InterruptedRun: After Ctrl-C or SIGTERM; what was begun is saved and queued.
    """
    published = -1
    while True:
        outcomes = ledger.outcomes()
        agenda = plans.agenda(shop.definition, outcomes)
        if publish and len(agenda.finished) != published:
            ledger.publish(shop.definition, agenda.finished)
            published = len(agenda.finished)
        if agenda.complete:
            return agenda
        if shop.signals.received is not None:
            raise InterruptedRun(shop.signals.received)
        lease = ledger.claim(agenda.open)
        if lease is None:
            time.sleep(poll)
            continue
        with lease:
            do(shop, lease, outcomes, hopeless=ledger.hopeless(lease.unit))


def do(
    shop: Workshop, lease: Lease, outcomes: Mapping[str, Any], *, hopeless: str | None
) -> None:
    """Does one unit; what fails is an outcome too, and the others go on."""
    unit = lease.unit
    settles = not unit.entries
    try:
        if hopeless is not None:
            raise RuntimeError(hopeless)
        group = shop.group(unit.group)
        if settles:
            outcome = settle.settled(shop.definition, group, shop.say)
        else:
            number = unit.name.split(".")[0]
            mode = outcomes[f"{number}.settle"]["mode"]
            outcome = trained(shop, lease, group, mode)
    except (InterruptedRun, settle.ObjectiveError, spaces.SpaceError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:2000]
        shop.say(f"{unit.group}, unit {unit.name} failed: {reason}")
        outcome = (
            {"failed": reason} if settles else _failed(shop.definition, unit, reason)
        )
    lease.complete(outcome)


def trained(shop: Workshop, lease: Lease, group: Group, mode: str) -> dict[str, Any]:
    """Trains a unit's population, from wherever its newest checkpoint is."""
    unit = lease.unit
    folder = shop.folder / "units" / unit.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        # Where a lease ran out and its worker did not know, it may still be at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _Training(shop, lease, group, mode, folder).outcome()


class _Training:
    """A population on the way from the unit's start to its stop."""

    def __init__(
        self, shop: Workshop, lease: Lease, group: Group, mode: str, folder: Path
    ) -> None:
        self.shop, self.lease, self.unit, self.group = shop, lease, lease.unit, group
        self.rows = [
            row
            for entry in self.unit.entries
            for row in rows(shop.definition, group, entry.values)
        ]
        self.population = Population(group, self.unit.zeros, mode, self.rows)
        self.checkpoints = Checkpoints(folder / "checkpoints", keep=1, say=shop.say)
        self.step, self.lines, self.pending = self.unit.start, [], None
        self.curve: list[tuple[int, list[float]]] = []
        self.names: list[str] = []
        self.scores: np.ndarray | None = None  # of this step, a row a member
        self.saved = time.monotonic()
        shape = group.shape(self.unit.zeros, len(self.rows))
        found = self.checkpoints.newest(shape)
        if found is not None:
            self.step = found.step
            self.population.load(found.state)
            self._recall(found.record)
            self.curve = [(step, values) for step, values in found.record["curve"]]
        elif self.unit.start:
            self._inherit()
        lease.reached = self.step

    def _recall(self, record: Mapping[str, Any]) -> None:
        self.lines, self.names = list(record["lines"]), list(record["names"])
        self.pending = restoring.from_lists(record["pending"])

    def _inherit(self) -> None:
        """Takes the states of an earlier rung, and what was recorded with them."""
        replicas = self.shop.definition.replicas
        states, parts = [], []
        for entry in self.unit.entries:
            if entry.parent is None:
                raise RunError(f"unit {self.unit.name} has no rung before it")
            state, record = state_of(
                self.shop.folder, self.group, entry.parent, replicas
            )
            first = entry.parent.place * replicas
            hyper = self.group.hyper(entry.values)
            for index in range(first, first + replicas):
                states.append(members.with_hyper(members.row(state, index), hyper))
                parts.append((record, index))
        self.population.begin(states)
        record = parts[0][0]
        self.names = list(record["names"])
        self.lines = [
            {"step": line["step"]}
            | {
                group: {
                    name: [r["lines"][i][group][name][index] for r, index in parts]
                    for name in values
                }
                for group, values in line.items()
                if group != "step"
            }
            for i, line in enumerate(record["lines"])
        ]
        if record["pending"]:
            self.pending = {
                name: Mean(
                    np.array([r["pending"][name]["total"][j] for r, j in parts], "f8"),
                    np.array([r["pending"][name]["weight"][j] for r, j in parts], "i8"),
                )
                for name in record["pending"]
            }

    def outcome(self) -> dict[str, Any]:
        plan, unit = self.group.plan, self.unit
        while self.step < unit.stop:
            due = min(
                self.step - self.step % plan.report_every + plan.report_every, unit.stop
            )
            stop = min(self.step + _BLOCK, due)
            before, self.step = self.step, stop
            metrics = self.population.train(
                before, stop, plan.report_every, self.pending
            )
            self.names, self.pending = sorted(metrics), metrics
            if stop == due:
                self._report(metrics)
            late = time.monotonic() - self.saved >= self.shop.checkpoint_seconds
            stopped = self.shop.signals.received
            if late or stop == unit.stop or stopped is not None:
                self._save()
            if stopped is not None:
                raise InterruptedRun(stopped)
        return self._results()

    def _report(self, metrics: Metrics) -> None:
        """Scores the validation split, and writes a line where a lone run would."""
        plan = self.group.plan
        score, found = self._scored()
        names = self.shop.definition.objectives
        self.curve.append((self.step, found[:, 0].tolist()))
        if self.step % plan.report_every == 0 or self.step == plan.steps:
            groups = {"train": metrics, "validation": score}
            line = {name: records.numbers(group) for name, group in groups.items()}
            self.lines.append({"step": self.step, **line})
            self.pending = None
            if "loss" in score:
                self.population.observe(score["loss"].compute())
            alive = self.population.alive
            first = found[:, 0][alive & np.isfinite(found[:, 0])]
            if len(first):
                up = self.shop.definition.maximise[0]
                best = first.max() if up else first.min()
                self.shop.say(
                    f"{self.unit.name} {self.unit.group}  step {self.step}/{plan.steps}"
                    f"  {alive.sum()} of {len(alive)} members go on"
                    f"  best {names[0]} {best:.4g}"
                )

    def _scored(self) -> tuple[Metrics, np.ndarray]:
        """The validation split's metrics, and the objectives, a row a member."""
        score = self.population.evaluate()
        names = self.shop.definition.objectives
        found = np.stack([np.float64(score[name].compute()) for name in names], axis=-1)
        self.scores = found
        return score, found

    def _save(self) -> None:
        self.checkpoints.save(
            self.step,
            self.population.state,
            {
                "lines": self.lines,
                "names": self.names,
                "pending": restoring.to_lists(self.pending or {}),
                "curve": self.curve,
            },
        )
        self.saved, self.lease.reached = time.monotonic(), self.step

    def _results(self) -> dict[str, Any]:
        definition, found = self.shop.definition, self.scores
        if found is None:  # killed between the last step and the outcome
            _, found = self._scored()
        why = members.reasons(self.population.state, self.names)
        results, reasons, curves = [], [], []
        for index in range(len(self.rows)):
            values = [float(value) for value in found[index]]
            sound = not why[index] and all(map(np.isfinite, values))
            results.append(values if sound else [None] * len(values))
            reasons.append(why[index] or ("" if sound else "a score is not finite"))
            curves.append(
                [(s, row[index]) for s, row in self.curve if np.isfinite(row[index])]
            )
        return {
            "results": _by_entry(results, definition.replicas),
            "reasons": _by_entry(reasons, definition.replicas),
            "curves": _by_entry(curves, definition.replicas),
            "member_steps": (self.unit.stop - self.unit.start) * len(self.rows),
        }


def rows(
    definition: Definition, group: Group, values: Mapping[str, float]
) -> list[SeededSetting]:
    """The members of a setting: one for each pair of seeds."""
    return [
        SeededSetting(values, group.config.seed + seed, group.data_seed + data_seed)
        for seed in range(definition.seeds)
        for data_seed in range(definition.data_seeds)
    ]


def state_of(
    folder: Path, group: Group, source: StateSource, replicas: int
) -> tuple[Any, dict[str, Any]]:
    """The state of a whole unit that is done, and what was recorded with it.

    Args:
        folder: Of the sweep.
        group: Whose unit it is.
        source: Which unit.
        replicas: Members of a setting.

    Raises:
        RunError: If it is not in this folder.
    """
    path = folder / "units" / source.unit / "checkpoints"
    target = group.shape(source.zeros, source.size * replicas)
    found = Checkpoints(path, sweep=False).newest(target)
    if found is None:
        raise RunError(
            f"{path} holds no checkpoint: was the unit done on another machine? Rungs "
            "need a folder that all workers share: --folder"
        )
    return found.state, found.record


def _by_entry(rows: list[Any], replicas: int) -> list[list[Any]]:
    return [rows[i : i + replicas] for i in range(0, len(rows), replicas)]


def _failed(definition: Definition, unit: WorkUnit, reason: str) -> dict[str, Any]:
    none = [None] * len(definition.objectives)
    count, replicas = len(unit.entries), definition.replicas
    return {
        "results": [[none] * replicas] * count,
        "reasons": [[reason] * replicas] * count,
        "curves": [[[]] * replicas] * count,
        "member_steps": 0,
    }
