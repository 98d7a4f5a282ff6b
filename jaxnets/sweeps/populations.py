"""Settings that are trained together, and how: as one program, or one after another.

Four ways give the same numbers. `vmap`: one operation for all members. `unrolled`: one
program that holds a member after the other. `loop`: a loop over the members inside the
program. `separate`: the program of one member, started for each in turn. Which is
fastest hangs on the network and the device; `settle.py` measures it.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.learners.base import Learner
from jaxnets.learners.plateau import observe
from jaxnets.metrics import Mean, Metrics
from jaxnets.once import once
from jaxnets.run import loop, restoring
from jaxnets.run import mesh as on
from jaxnets.sweeps import members
from jaxnets.sweeps.groups import Group


class SeededSetting(NamedTuple):
    """One member of a population: hyperparameters and the two seeds."""

    values: Mapping[str, float]
    seed: int
    data_seed: int


class Population:
    """Members of a group on the way, in one of the four ways.

    Attributes:
        rows: Who they are.
        mode: How they are run.
    """

    def __init__(
        self,
        group: Group,
        zeros: tuple[str, ...],
        mode: str,
        rows: Sequence[SeededSetting],
    ) -> None:
        """Computes nothing yet: who does not begin elsewhere is drawn when asked for.

        Args:
            group: What all have in common.
            zeros: Searched hyperparameters that are 0 in all of them.
            mode: One of `groups.MODES`.
            rows: Who they are.
        """
        self.group, self.rows, self.mode = group, list(rows), mode
        self._one = group.learner(zeros)
        seeds = [row.data_seed for row in rows]
        own = len(set(seeds)) > 1
        self._mesh = None
        if mode == "separate":
            self._learner = self._one
            self._feeds = [group.feed(seed) for seed in seeds]
        else:
            self._learner = group.learner(zeros, mode + "+" * own)
            self._feeds = [group.joined(seeds) if own else group.feed(seeds[0])]
            if mode == "vmap" and len(jax.devices()) > 1:
                self._mesh = on.members_mesh(len(self.rows))
        self._zeros = zeros
        self._begun: list[members.Member] = []

    def begin(self, states: Sequence[members.Member]) -> None:
        """Goes on from these states, one a member."""
        if self.mode == "separate":
            self._begun = [restoring.on_device(state) for state in states]
        else:
            self.load(members.stacked(states))

    def load(self, state: members.Member) -> None:
        """Goes on from a state of the whole population."""
        if self.mode == "separate":
            self.begin([members.row(state, i) for i in range(len(self.rows))])
        else:
            placed = restoring.on_device(state)
            mesh = self._mesh
            self._begun = [placed if mesh is None else on.place_state(mesh, placed)]

    @property
    def _states(self) -> list[members.Member]:
        """One a member, or one for all."""
        if not self._begun:
            self.begin([first(self.group, self._zeros, row) for row in self.rows])
        return self._begun

    @property
    def state(self) -> members.Member:
        """Of the whole population."""
        many = self.mode == "separate"
        return members.stacked(self._states) if many else self._states[0]

    @property
    def alive(self) -> np.ndarray:
        """Whether each member still learns."""
        return np.concatenate([np.ravel(state.alive) for state in self._states])

    def train(
        self, start: int, stop: int, every: int, before: Metrics | None
    ) -> Metrics:
        """Takes the steps from `start` to `stop`, which are in one interval.

        Args:
            start: Steps taken.
            stop: Steps to be taken.
            every: Steps between two reports.
            before: Metrics of the interval so far.

        Returns:
            Those of the interval, a row a member on every leaf.
        """
        found = []
        for index, state in enumerate(self._states):
            separate = self.mode == "separate"
            mine = members.row(before, index) if separate and before else before
            pauses = loop.train(
                self._learner,
                state,
                self._feeds[index],
                steps=stop,
                every=every,
                start=start,
                metrics=mine,
                mesh=self._mesh,
            )
            for pause in pauses:
                self._begun[index] = pause.state
                found.append(pause.metrics)
        return _rows(found) if self.mode == "separate" else found[0]

    def evaluate(self) -> Metrics:
        """The metrics of the validation split, a row a member on every leaf."""
        found = [
            loop.evaluate(self._learner, state, self.group.validation, mesh=self._mesh)
            for state in self._states
        ]
        return _rows(found) if self.mode == "separate" else found[0]

    def observe(self, values: np.ndarray) -> None:
        """Tells plateau rules the validation loss, one value a member."""
        if self.mode == "separate":
            given: list[Any] = [jnp.float32(value) for value in values]
        else:
            given = [jnp.asarray(values, jnp.float32)]
        self._begun = [
            _observe(*pair) for pair in zip(self._states, given, strict=True)
        ]


def first(group: Group, zeros: tuple[str, ...], row: SeededSetting) -> members.Member:
    """The state that a lone run of the member begins with."""
    init = _initial(group.learner(zeros))
    batch = group.first_batch(row.data_seed)
    return init(jax.random.key(row.seed), group.hyper(row.values), batch)


@functools.lru_cache(maxsize=16)
def _initial(learner: Learner) -> Any:
    return once(learner.init)


_observe = jax.jit(observe)


def _rows(found: Sequence[Metrics]) -> Metrics:
    return {
        name: Mean(
            np.stack([one[name].total for one in found]),
            np.stack([one[name].weight for one in found]),
        )
        for name in found[0]
    }
