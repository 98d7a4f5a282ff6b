"""What a training writes to its folder: records, checkpoints, the batch of a NaN."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnets import files
from jaxnets.metrics import Metrics
from jaxnets.run import compilation, records, report, restoring
from jaxnets.run.checkpoints import Checkpoints, digest, verify
from jaxnets.run.console import Console, line, number
from jaxnets.run.experiment import Plan
from jaxnets.run.folder import Folder, RunError
from jaxnets.run.loop import NonFiniteError
from jaxnets.run.verbs import Verbs
from jaxnets.run.watch import Watch


class Resumed(NamedTuple):
    """Where a training begins.

    Attributes:
        state: The state to go on from.
        step: Steps taken so far.
        pending: Metrics of the interval that was interrupted; None if there are none.
        ended: Whether the training was stopped early.
    """

    state: Any
    step: int
    pending: Metrics | None
    ended: bool


class Saver:
    """Writes the records and checkpoints of one training, and knows when they are due.

    Attributes:
        step: Steps at the newest checkpoint; -1 before the first.
        groups: Metrics of the current report, by group.
    """

    def __init__(
        self,
        output: Folder,
        verbs: Verbs,
        plan: Plan,
        watch: Watch,
        console: Console,
    ) -> None:
        """Touches nothing but what a killed process left of a checkpoint.

        Args:
            output: The run folder.
            verbs: How often to save, and how many checkpoints to keep.
            plan: The steps, and the metadata of every checkpoint.
            watch: Sees every report, and may warn.
            console: Where lines go.
        """
        self.step = -1
        self.groups: dict[str, dict[str, Any]] = {}
        self._output, self._verbs = output, verbs
        self._watch, self._console = watch, console
        self._steps, self._metadata = plan.steps, dict(plan.metadata)
        self._checkpoints = Checkpoints(
            output.path / "checkpoints", keep=verbs.keep, say=console.say
        )
        self._records: records.Records | None = None
        self._validation: Mapping[str, Any] | None = None
        self._saved_at = self._began = time.monotonic()
        self._first = 0  # the step that the rate of steps is counted from
        self._ended = False  # whether the newest checkpoint is of a stopped training
        self._compiled = False  # whether a line has said how long that took

    def resume(self, fresh: Any) -> Resumed:
        """Returns the newest state, and cuts the records back to it.

        Args:
            fresh: The state before the first step, for a folder without a checkpoint.

        Raises:
            RunError: If the checkpoint has other metadata.
            CheckpointError: If there are checkpoints and none is intact.
        """
        path = self._output.path
        found = self._checkpoints.newest(
            jax.eval_shape(lambda: fresh), lambda r: records.check(path, r["metrics"])
        )
        if found is None:
            begun = Resumed(fresh, 0, None, ended=False)
            self._records = records.Records(path, None, 0)
        else:
            record = found.record
            restoring.refuse_other_metadata(path, record, self._metadata)
            pending = restoring.from_lists(record["pending"])
            state = restoring.on_device(found.state)
            begun = Resumed(state, found.step, pending, ended=record["ended"])
            self.step, self._ended = found.step, record["ended"]
            extended = found.step < self._steps and not self._ended
            if extended and self._output.finished:
                self._output.remove("result.json")  # an extended run is unfinished
            self._records = records.Records(path, record["metrics"], found.step)
        self._watch.again(records.read(path))
        return begun

    @property
    def finished(self) -> bool:
        """Whether the folder has the result of this training."""
        return self._output.finished

    def begin(self, step: int) -> None:
        """Starts the clocks: the next checkpoint is due some time after this."""
        self.step = self._first = step
        self._saved_at = self._began = time.monotonic()

    def log(self, **groups: Metrics | Mapping[str, Any]) -> None:
        """Adds metrics to the current report."""
        for group, metrics in groups.items():
            self.groups.setdefault(group, {}).update(records.numbers(metrics))
        self._validation = groups.get("validation", self._validation)

    def record(self, step: int) -> tuple[str, Sequence[str]]:
        """Writes the current report to the records, and begins the next one.

        Returns:
            The line to print, and warnings.
        """
        if self._records is None or not self.groups:
            return "", []
        seconds = time.monotonic() - self._began
        timing = {
            "seconds": seconds,
            "steps_per_second": (step - self._first) / max(seconds, 1e-9),
            "compile_seconds": compilation.compile_seconds(),
        }
        found = self._watch.see(step, self.groups, self._validation)
        noted = {"warning": found} if found else {}
        self._records.add(step, {**self.groups, **noted}, timing)
        text = line(step, self._steps, self.groups)
        if not self._compiled:
            text += f"  (compiled in {compilation.compile_seconds():.1f} s)"
            self._compiled = True
        self.groups, self._validation = {}, None
        return text, list(found.values())

    def tell(self, text: str, warnings: Sequence[str]) -> None:
        """Prints what `record` returned."""
        self._console.say(text)
        for warning in warnings:
            self._console.warn(warning)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due after so many steps; never twice of one step."""
        if step == self.step:
            return False
        since = time.monotonic() - self._saved_at
        every = self._verbs.checkpoint_every
        return since >= self._verbs.checkpoint_seconds or bool(
            every and step - self.step >= every
        )

    def save(
        self, step: int, state: Any, pending: Metrics | None = None, *, ended: bool
    ) -> None:
        """Saves a checkpoint, unless there is one of this step already.

        Args:
            step: Steps taken.
            state: After them.
            pending: Metrics of an interval that is not over.
            ended: Whether the training is stopped early; saves in any case.
        """
        saved = self.step == step and (self._ended or not ended)
        if self._records is None or saved:
            return
        record = {
            "metrics": self._records.mark(),
            "pending": restoring.to_lists(pending or {}),
            "ended": ended,
            "metadata": self._metadata,
        }
        self._checkpoints.save(step, state, record)
        self.step, self._ended = step, ended
        self._saved_at = time.monotonic()

    def newest(self, fresh: Any) -> tuple[Any, int]:
        """Returns the last saved state and its step; the fresh one if there is none."""
        found = self._checkpoints.newest(fresh)
        return (restoring.on_device(found.state), found.step) if found else (fresh, 0)

    def keep_batch(self, error: NonFiniteError) -> Path:
        """Writes the batch of a step that was not finite; returns the file."""
        arrays: Any = {n: np.asarray(a) for n, a in error.batch._asdict().items()}
        name = f"nonfinite/step-{error.step}.npz"
        self._output.write_with(name, lambda file: np.savez(file, **arrays))
        return self._output.path / name

    def note_checkpoints(self, error: BaseException) -> None:
        """Notes at an error which checkpoint a new run can begin from."""
        for step in reversed(self._checkpoints.steps()):
            if verify(self._checkpoints.folder / str(step)) is None:
                error.add_note(
                    f"The checkpoint of step {step} is intact. To begin a new run with "
                    f"its weights: --resume weights --run-dir {self._output.path}"
                )
                return

    def finish(
        self,
        step: int,
        state: Any,
        scores: Mapping[str, Mapping[str, Any]],
        metrics: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Writes report and result, in this order: a result means that all is there.

        Args:
            step: Steps taken.
            state: After them.
            scores: Plain numbers, by group and name.
            metrics: What they are computed from.

        Raises:
            RunError: If the result cannot be written.
        """
        if self.step != step:  # the caller left the loop by `break`
            written = self.record(step)
            self.save(step, state, ended=True)
            self.tell(*written)
        found, path = self._watch.standing, self._output.path
        for group, values in metrics.items():
            found |= self._watch.one_class(group, values)
        result = {"step": step, **scores, "state_sha256": digest(state)}
        if found:
            result["warning"] = found
        said = headline(scores, step)
        with self._console.optional("report.html"):
            report.write(path, said, result)
        try:
            self._output.write("result.json", files.dump_json(result, indent=2) + "\n")
        except OSError as error:
            raise RunError(
                f"{said}, but {path / 'result.json'} could not be written: "
                f"{error.strerror}. The same command scores the saved state again"
            ) from error
        self._console.stop()
        self.tell("", list(found.values()))
        self._console.say(f"{said}  ->  {path}")

    def close(self) -> None:
        """Closes the files."""
        if self._records is not None:
            self._records.close()


def headline(scores: Mapping[str, Mapping[str, Any]], step: int) -> str:
    """`test accuracy 97.30%, test loss 0.08`; without scores the number of steps."""
    text = ", ".join(
        f"{group} {name.replace('_', ' ')} {number(name, value)}"
        for group, values in scores.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    )
    return text or f"{step} steps"


def non_finite(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`test.loss is nan` for every score that is no finite number."""
    return [
        f"{group}.{name} is {value}"
        for group, values in scores.items()
        for name, value in values.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
