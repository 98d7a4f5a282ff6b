"""A run: one experiment in one folder, which can be killed and resumes.

`Run` surrounds a learner with everything that is not mathematics: the folder, records,
checkpoints, signals, progress, devices. The experiment's `main` stays plain lines:

    with Run(config) as run:
        for state, metrics in run.train(learner, feed, plan):
            run.log(validation=run.evaluate(validation))
        run.finish(test=run.evaluate(test))
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.learners.plateau import observe
from jaxnets.metrics import Metrics
from jaxnets.run import (
    describe,
    diagnosis,
    loop,
    pace,
    records,
    restoring,
    saving,
    settings,
)
from jaxnets.run import mesh as on
from jaxnets.run.experiment import Plan, checked
from jaxnets.run.folder import ReadOnlyFolder, RunError
from jaxnets.run.interrupts import NOTHING_YET, SAVED, InterruptedRun
from jaxnets.run.opening import OpenRun
from jaxnets.run.saving import Saver
from jaxnets.run.verbs import RunConfig, Verbs
from jaxnets.run.watch import Watch


class Run(OpenRun):
    """One experiment in one folder; use it in a `with` statement.

    Attributes:
        state: The learner's state after the last step.
        step: Steps taken.
        steps: Steps to take.
    """

    def __init__(self, config: RunConfig, verbs: Verbs = Verbs()) -> None:
        """Touches nothing yet.

        Args:
            config: A frozen dataclass with `seed` and `hyper`; the folder and the id of
                the run follow from it, and from the name of the file that defines it.
            verbs: What to do with it.

        Raises:
            RangeError: If a number is outside of its range; the command line says so
                before it reads the data.
        """
        super().__init__(config, verbs)
        self.state: Any = None
        self.step = self.steps = 0
        self._saver: Saver | None = None
        self._mesh = on.data_mesh() if len(jax.devices()) > 1 else None
        self._stop = False
        self._learner: Learner | None = None

    def _end(self, error: BaseException | None) -> None:
        """Finishes a run that the caller did not finish, and closes its files."""
        saver, failed = self._saver, (FloatingPointError, MemoryError, RuntimeError)
        if isinstance(error, InterruptedRun):
            error.left = self._left()
        elif saver is not None and isinstance(error, failed):
            saver.note_checkpoints(error)
        try:
            if error is None and saver is not None and not saver.finished:
                self.finish()
        finally:
            if saver is not None:
                saver.close()

    def _left(self) -> str:
        """What an interrupted run leaves behind."""
        if not self.output.writes:
            return "scoring a run again saves nothing."
        if self._saver is not None and self._saver.finished:
            return f"the run had ended: its result is in {self.folder}"
        return SAVED if self._saver and self._saver.step > 0 else NOTHING_YET

    def train(
        self,
        learner: Learner,
        feed: Feed,
        plan: Plan | None = None,
        *,
        steps: int | None = None,
        every: int | None = None,
        steps_per_call: int | None = None,
    ) -> Iterator[tuple[Any, Metrics]]:
        """Trains to the plan's last step, from the folder's newest checkpoint.

        The order of things, between two reports:

        1. Steps update the state. A step with a NaN or an infinity ends the run, and
           its batch is written to the folder.
        2. If a checkpoint is due between two steps, it is saved.
        3. At a report the loop's body is entered. Its lines evaluate and log.
        4. The metrics are written to the records.
        5. A checkpoint is saved if it is due, at the last step, and after `stop`.
        6. The line of the report is printed, and warnings after it.
        7. After Ctrl-C or SIGTERM the state is saved, and `InterruptedRun` is raised.

        With `--evaluate` no step is taken: the state is restored, and the lines after
        the loop score it again.

        Args:
            learner: What improves the state.
            feed: Batches as a function of the step.
            plan: What the experiment's `plan` returned.
            steps: Steps in all; instead of a plan, for notebooks.
            every: Steps between two reports; with `steps`. None: one report, at the
                end.
            steps_per_call: Steps in one dispatch, see `loop.train`; None for what
                `pace.chosen` measures. `--steps-per-call` comes first.

        Yields:
            The state, which the next step donates to the device, and the metrics of
            the interval.

        Raises:
            TypeError: If there are both a plan and steps, or neither.
            RunError: If the data or the compiled program is not what the folder began
                with.
            NonFiniteError: In the first step with a NaN or an infinity.
            InterruptedRun: After Ctrl-C or SIGTERM; the state is saved.
        """
        plan = _planned(plan, steps, every)
        if self._saver is not None:  # trained before, and now further
            self._saver.close()
        self.steps, self._learner, self._feed = plan.steps, learner, feed
        output, state = self.output, self._initial()
        if isinstance(output, ReadOnlyFolder):
            self.state, self.step = restoring.read_only(
                output.path, state, plan.metadata, self.console.say
            )
            return
        plain = settings.to_json(self.config)
        restoring.refuse_other(output, plain, plan.steps, learner, state, feed)
        watch = Watch(learner.trivial, self.config, plan.steps)
        self._saver = saver = Saver(output, self.verbs, plan, watch, self.console)
        self.state, self.step, pending, self._stop = saver.resume(state)
        del state  # or a restored one would lie beside it in memory
        facts = describe.Facts(self.experiment, self.config, self.step, self.steps)
        describe.greet(output, facts, self.state, feed, self.console.say)
        if self.step >= self.steps or self._stop:
            return
        each = pace.agreed(
            output,
            self.verbs.steps_per_call or steps_per_call,
            learner,
            self.state,
            feed,
            step=self.step,
            steps=self.steps,
            mesh=self._mesh,
            say=self.console.say,
        )
        yield from self._updates(saver, pending, plan.report_every, each)

    def _updates(
        self, saver: Saver, pending: Metrics | None, every: int, steps_per_call: int
    ) -> Iterator[tuple[Any, Metrics]]:
        saver.begin(self.step)
        self.console.start(self.step, self.steps)
        self._signals.at_once = False  # the step is finished and saved first

        def wanted(step: int) -> bool:
            self.console.at(step)
            return self._signals.received is not None or saver.due(step)

        pauses = loop.train(
            self._trained(),
            self.state,
            self._feed,
            steps=self.steps,
            every=every,
            start=self.step,
            metrics=pending,
            steps_per_call=steps_per_call,
            mesh=self._mesh,
            watch=wanted,
        )
        try:
            for pause in pauses:
                self.state, self.step = pause.state, pause.step
                self.console.at(self.step)
                if not pause.due:
                    saver.save(self.step, self.state, pause.metrics, ended=self._stop)
                else:
                    saver.groups = {"train": records.numbers(pause.metrics)}
                    yield pause.state, pause.metrics
                    pause.state = self.state
                    written, warnings = saver.record(self.step)
                    if self.step == self.steps or self._stop or saver.due(self.step):
                        saver.save(self.step, self.state, ended=self._stop)
                    saver.tell(written, warnings)  # last: `| head` may end it
                if self._signals.received is not None:
                    saver.save(self.step, self.state, ended=self._stop)
                    raise InterruptedRun(self._signals.received)
                if self._stop:
                    return
        except loop.NonFiniteError as error:
            self._explain(saver, error)
            raise
        finally:
            saved = saver.step == self.step
            self._signals.at_once = saved and self._signals.received is None

    def log(self, **groups: Metrics | Mapping[str, Any]) -> None:
        """Adds metrics to the current report: `run.log(validation=...)`."""
        if self._saver is not None:
            self._saver.log(**groups)

    def observe(self, value: float) -> None:
        """Tells plateau rules in the state a value that should fall."""
        self.state = jax.jit(observe)(self.state, jnp.float32(value))

    def stop(self) -> None:
        """Ends the training after this report: early stopping."""
        self._stop = True

    def evaluate(self, feed: Feed) -> Metrics:
        """The metrics of one pass over a feed."""
        return loop.evaluate(self._trained(), self.state, feed, mesh=self._mesh)

    def predict(self, feed: Feed) -> Any:
        """The predictions for one pass over a feed, as NumPy arrays without padding."""
        return loop.predict(self._trained(), self.state, feed, mesh=self._mesh)

    def finish(self, **groups: Metrics | Mapping[str, Any]) -> None:
        """Writes the result and the report, and says both; the run is then finished.

        With `--evaluate` it compares with the recorded result instead, unless fields
        marked `Judging` have other values now.

        Args:
            **groups: The scores: `test=run.evaluate(test)`.

        Raises:
            RunError: If nothing was trained; if a score is NaN or infinite, after the
                result was written; if a score of `--evaluate` is not the recorded one;
                if the result cannot be written.
            InterruptedRun: After Ctrl-C or SIGTERM; the result is written.
        """
        self._signals.at_once = False  # what follows is short
        scores = {name: records.numbers(group) for name, group in groups.items()}
        if self._saver is not None:
            self._saver.finish(self.step, self.state, scores, groups)
        elif self.output.writes:
            raise RunError("nothing was trained: call train() before finish()")
        else:
            how = restoring.compared(self.folder, self.config, scores, self.step)
            self.console.say(f"{saving.headline(scores, self.step)}  {how}")
        if wrong := saving.non_finite(scores):
            raise RunError(f"{', '.join(wrong)}: scores must be finite")
        if self._signals.received is not None:
            raise InterruptedRun(self._signals.received)

    def _trained(self) -> Learner:
        if self._learner is None:
            raise RunError("there is no state yet: call train() first")
        return self._learner

    def _initial(self) -> Any:
        return restoring.initial(
            self._trained(), self.config, self._feed, self._weights
        )

    def _explain(self, saver: Saver, error: loop.NonFiniteError) -> None:
        """Keeps the batch; notes at the error where it went wrong, and what to do."""
        path = saver.keep_batch(error)
        self.console.stop()
        self.console.say(f"{error}; its batch is kept in {path}")
        self._signals.at_once = True

        def replay() -> str:
            state, start = saver.newest(self._initial())
            return diagnosis.where(
                self._trained(),
                state,
                self._feed,
                start=start,
                failed=error.step,
                mesh=self._mesh,
                say=self.console.say,
            )

        diagnosis.explain(error, self.config, self.steps, replay, self.console)


def _planned(plan: Plan | None, steps: int | None, every: int | None) -> Plan:
    """The plan, or the one that `steps` and `every` make; both checked."""
    if plan is None and steps is not None:
        plan = Plan(steps=steps, report_every=steps if every is None else every)
    elif plan is None or steps is not None or every is not None:
        raise TypeError("give train() a plan, or steps= and every=, and not both")
    return checked(plan)
