"""Notices a training that has learned nothing, from the metrics that a run records."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxnets.learners.schedules import rise
from jaxnets.metrics import Mean
from jaxnets.run import advice
from jaxnets.tasks.base import Trivial

_FEWEST = 20  # steps, whatever a tenth of the run is: a short one is not judged
_EXAMPLES = 10  # fewer of them may be right in one class only by chance
_GREW = 1.25  # times the highest trivial value: first weights cost less
_FREQUENT = 1.5  # times its share among equally frequent classes
BY_CLASS = "accuracy_by_class"


class Watch:
    """Warns once of each sign that a run has learned nothing.

    The signs are a training metric that stays for a tenth of the run where
    `Trivial` says, and a validation split of which every example of one class is right
    and all others are wrong. The first tenth and the warm-up do not count, at most half
    of the run, nor do fewer than 20 steps: a training may begin there. Predictions of a
    class that is much more frequent than the others count from half of the run.
    """

    def __init__(self, trivial: Sequence[Trivial], config: Any, steps: int) -> None:
        """Has seen nothing.

        Args:
            trivial: What the learner says of its metrics.
            config: Of the run; the warm-up is read from it, and flags are proposed for
                it.
            steps: Of the whole run.
        """
        batches = getattr(config, "accumulate", 1)  # of an update
        updates = rise(getattr(config, "warmup", 0), steps // batches)
        warmup = min(updates * batches, steps // 2)
        self._from = max(steps // 10, warmup)
        self._length = max(steps // 10, _FEWEST)
        self._trivial, self._config, self._steps = trivial, config, steps
        self._step = 0
        self._since: dict[str, int] = {}  # metric to where it began to stay
        self._begun: dict[str, float] = {}  # metric to its first value
        self._last: dict[str, float] = {}
        self._standing: dict[str, str] = {}
        self._warned: set[str] = set()

    @property
    def standing(self) -> dict[str, str]:
        """The warnings of training metrics that are still where they were."""
        return dict(self._standing)

    def again(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Takes up the records of a run that is resumed."""
        for line in lines:
            self.see(line["step"], line)
            self._warned |= set(line.get("warning", ()))

    def see(
        self,
        step: int,
        groups: Mapping[str, Any],
        validation: Mapping[str, Any] | None = None,
    ) -> dict[str, str]:
        """What is to be warned of after these steps, by the metric that shows it.

        Args:
            step: Steps taken so far.
            groups: A line of the records: the training metrics are means over the
                steps since the line before.
            validation: The metrics that were scored, with their weights.
        """
        before, self._step = self._step, step
        train: Mapping[str, Any] = groups.get("train", {})
        for trivial in self._trivial:
            self._stay(trivial, train.get(trivial.metric), before, step)
        found = self.standing
        if step >= self._from and validation is not None:
            found |= self.one_class("validation", validation)
        new = {name: text for name, text in found.items() if name not in self._warned}
        self._warned |= set(new)
        return new

    def one_class(self, group: str, metrics: Mapping[str, Any]) -> dict[str, str]:
        """The warning of scores that are right in one class only; nothing for others.

        Args:
            group: The name of the split.
            metrics: Its scores. A split of fewer than 10 examples, or of one class, is
                not judged, nor is a network of fewer than 20 steps.
        """
        score = metrics.get(BY_CLASS)
        if not isinstance(score, Mean) or np.ndim(score.weight) != 1:
            return {}
        count, share = np.asarray(score.weight), score.compute()
        there = count > 0
        right = np.flatnonzero(there & (share == 1))
        wrong = int((there & (share == 0)).sum())
        if len(right) != 1 or wrong != there.sum() - 1 or wrong == 0:
            return {}
        if count.sum() < _EXAMPLES or self._step < _FEWEST:
            return {}
        of_all = count[right[0]] / count.sum()
        frequent = of_all * there.sum() > _FREQUENT
        if frequent and self._step < self._steps // 2:
            return {}  # the first that is learned is how frequent classes are
        such = f", {of_all:.1%} of the examples" if frequent else ""
        text = (
            f"every {group} example of class {right[0]} (from 0) is right and all "
            f"others are wrong: the network takes all for that class{such}. "
            f"{advice.sentence(self._against_one_class())}"
        )
        return {BY_CLASS: text.strip()}

    def _against_one_class(self) -> list[str]:
        """Flags that suit what the training loss does."""
        for trivial in self._trivial:
            began, last = (d.get(trivial.metric) for d in (self._begun, self._last))
            if began is None or last is None or began > _GREW * trivial.high:
                continue
            if last < trivial.low:  # it falls, so that it only needs longer
                return advice.unfinished(self._config)
            return advice.stalled(self._config)
        return advice.diverged(self._config, self._step, self._steps)

    def _stay(self, trivial: Trivial, value: Any, before: int, step: int) -> None:
        name = trivial.metric
        if not isinstance(value, int | float):  # one a member, in a population
            return
        self._begun.setdefault(name, value)
        self._last[name] = value
        self._standing.pop(name, None)
        if before < self._from or not trivial.low <= value <= trivial.high:
            self._since.pop(name, None)
            return
        since = self._since.setdefault(name, before)
        if step - since < self._length:
            return
        below = math.isinf(trivial.low)
        if below:
            flags = advice.collapsed(self._config, self._steps)
        elif self._begun[name] > _GREW * trivial.high:
            flags = advice.diverged(self._config, 0, self._steps)
        else:
            flags = advice.stalled(self._config)
        between = "" if below else f"between {trivial.low:.4g} and "
        self._standing[name] = (
            f"the training {name.replace('_', ' ')}, now {value:.4g}, has been "
            f"{between or 'below '}{trivial.high:.4g} since step {since}: "
            f"{trivial.meaning}. {advice.sentence(flags)}"
        ).strip()
