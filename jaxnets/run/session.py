"""A run: one experiment in one folder, which can be killed and goes on.

`Run` surrounds a learner with everything that is not mathematics: the folder, records,
checkpoints, signals, progress, devices. The experiment's `main` stays plain lines:

    with Run(config) as run:
        for state, metrics in run.train(learner, feed, steps=1000, every=100):
            run.log(validation=run.evaluate(validation))
        run.finish(test=run.evaluate(test))
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxnets import files, ranges
from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.learners.plateau import observe
from jaxnets.metrics import Metrics
from jaxnets.once import once
from jaxnets.ranges import Count, NonNegative
from jaxnets.run import (
    advice,
    compilation,
    describe,
    diagnosis,
    folder,
    loop,
    pace,
    recorded,
    records,
    report,
    resume,
    settings,
    watch,
)
from jaxnets.run import mesh as on
from jaxnets.run.checkpoints import Checkpoints, digest, verify
from jaxnets.run.console import Console, line, number, one_line
from jaxnets.run.experiment import Plan, experiment_of, source_of
from jaxnets.run.folder import RunError
from jaxnets.run.interrupts import NOTHING_YET, SAVED, InterruptedRun, Interrupts
from jaxnets.run.memory import keep_freed


@runtime_checkable
class RunConfig(Protocol):
    """What a run reads from an experiment's configuration."""

    @property
    def seed(self) -> int:
        """Decides initialisation and noise."""
        ...

    @property
    def hyper(self) -> Any:
        """The hyperparameters, a `NamedTuple` of numbers."""
        ...


@dataclasses.dataclass(frozen=True)
class Verbs:
    """What to do with a configuration; never part of it."""

    run_dir: Path | None = None
    """The run folder, instead of runs/EXPERIMENT/TIME-ID."""
    resume: Literal["auto", "never", "weights"] = "auto"
    """auto: go on with an unfinished run of the same configuration. never: begin a new
    one. weights: begin a new one from the weights in --run-dir."""
    evaluate: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Score the run in this folder again, with the configuration it has."""
    checkpoint_seconds: NonNegative = 30.0
    """Save when so many seconds have passed since the last time."""
    checkpoint_every: Annotated[int | None, ranges.within(1)] = None
    """Save after every so many steps as well, at the end of a call."""
    steps_per_call: Annotated[int | None, ranges.within(1)] = None
    """Steps in one call of the device; by default measured once on each machine."""
    keep: Count = 2
    """How many of the newest checkpoints to keep."""


@dataclasses.dataclass(frozen=True)
class Describing(Verbs):
    """What else to do with a network that says something about a picture."""

    describe: Annotated[Path | None, tyro.conf.arg(metavar="PHOTO")] = None
    """Describe this picture with the network of --run; train and score nothing."""
    evaluate: Annotated[
        Path | None, tyro.conf.arg(metavar="RUN_DIR", aliases=["--run"])
    ] = None
    """Score the run in this folder again, with the configuration it has."""

    def checked(self) -> "Describing":
        """The same.

        Raises:
            RunError: If a picture is to be described by nobody.
        """
        if self.describe is not None and self.evaluate is None:
            raise RunError("--describe needs --run: the folder of a run to take from")
        if self.describe is not None and not self.describe.is_file():
            raise RunError(f"{self.describe} is not a file")
        return self


class Run:
    """One experiment in one folder; use it in a `with` statement.

    Attributes:
        config: What it was given.
        verbs: Likewise.
        experiment: The name of the file that defines the configuration, or "notebook".
        source: That file; None where the configuration was typed in.
        state: The learner's state after the last step.
        step: Steps taken.
        steps: Steps to take.
        folder: Where everything is written; None before the `with` statement.
        held: The folder as this process has locked it; None where it only reads.
        console: Where lines go.
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
        ranges.check(config, verbs)
        keep_freed()  # before JAX starts its threads
        self.config, self.verbs = config, verbs
        on.refuse_many_processes()
        self.source = source_of(type(config))
        self.experiment = experiment_of(type(config))
        self.state: Any = None
        self.step = self.steps = 0
        self.folder: Path | None = verbs.evaluate
        self.console = Console()
        self._signals = Interrupts()
        self.held: folder.Folder | None = None
        self._records: records.Records | None = None
        self._checkpoints: Checkpoints | None = None
        self._mesh = on.data_mesh() if len(jax.devices()) > 1 else None
        self._groups: dict[str, dict[str, Any]] = {}
        self._validation: Mapping[str, Any] | None = None
        self._watched: watch.Watch | None = None
        self._saved_step, self._saved_at = -1, 0.0
        self._stop = self._finished = False
        self._origin: dict[str, Any] | None = None
        self._weights: dict[str, np.ndarray] = {}

    # ------------------------------------------------------------------ the folder

    def __enter__(self) -> "Run":
        """Finds or makes the folder, and takes over Ctrl-C.

        Raises:
            RunError: If another process holds the folder, or it belongs to another
                configuration.
        """
        compilation.compile_seconds()  # starts the clock
        compilation.use_cache()
        if self.verbs.evaluate is None:
            self._open()
        self._signals.__enter__()
        self._signals.at_once = True
        return self

    def _open(self) -> None:
        verbs, named = self.verbs, self.verbs.run_dir
        if verbs.resume == "weights":
            if named is None:
                raise RunError("--resume weights needs --run-dir: the run to take from")
            sha, self._weights = Checkpoints(
                named / "checkpoints", sweep=False, say=self.console.say
            ).leaves()
            self._origin, named = {"run": named.name, "checkpoint": sha}, None
        wanted = {
            "experiment": self.experiment,
            "config": settings.to_json(self.config),
            "origin": self._origin,
        }
        self.held = folder.opened(
            Path("runs") / self.experiment,
            wanted,
            named=named,
            fresh=verbs.resume == "never",
            may_grow=settings.extendable(type(self.config)),
        )
        self.folder = self.held.path

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Closes everything; ends a run that nobody finished."""
        self._signals.__exit__()
        self.console.stop()
        if isinstance(error, InterruptedRun):
            error.left = self._left()
        elif isinstance(error, FloatingPointError | MemoryError | RuntimeError):
            self._note_checkpoints(error)
        trained = self._records is not None and self.steps > 0
        try:
            if error is None and trained and not self._finished:
                self.finish()
        finally:
            if self._records is not None:
                self._records.close()
            if self.held is not None:
                self.held.close()

    def _note_checkpoints(self, error: BaseException) -> None:
        """Notes at the error that ended a training which checkpoints there are."""
        kept = self._checkpoints
        for step in reversed(kept.steps() if kept else []):
            if kept and verify(kept.folder / str(step)) is None:
                error.add_note(
                    f"The checkpoint of step {step} is intact. To begin a new run with "
                    f"its weights: --resume weights --run-dir {self.folder}"
                )
                return

    def _left(self) -> str:
        """What an interrupted run leaves behind."""
        if self.held is None:
            return "scoring a run again saves nothing."
        if self._finished:
            return f"the run had ended: its result is in {self.held.path}"
        return SAVED if self._saved_step > 0 else NOTHING_YET

    # ------------------------------------------------------------------- training

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

        Pauses at every report and at the end. What the caller logs in the pause becomes
        one line of the records; the checkpoint comes after it. With `--evaluate` no
        step is taken: the state is restored, and the lines after the loop score it
        again.

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
            NonFiniteError: In the first step with a NaN or an infinity; its batch is
                kept in the folder.
            InterruptedRun: After Ctrl-C or SIGTERM; the state is saved.
        """
        if plan is None and steps is not None:
            plan = Plan(steps=steps, report_every=steps if every is None else every)
        elif plan is None or steps is not None or every is not None:
            raise TypeError("give train() a plan, or steps= and every=, and not both")
        if plan.steps > ranges.LARGEST:
            raise RunError(
                f"a run of {plan.steps:,} steps is too long: at most "
                f"{ranges.LARGEST:,} can be counted; use fewer --epochs"
            )
        self.steps, self._learner, self._feed = plan.steps, learner, feed
        self._metadata = dict(plan.metadata)
        pending = self._restore(learner, feed)
        if self.verbs.evaluate is not None or self.step >= self.steps or self._stop:
            return
        each = self._paced(learner, feed, steps_per_call)
        yield from self._go(learner, feed, pending, plan.report_every, each)

    def _paced(self, learner: Learner, feed: Feed, asked: int | None) -> int:
        """Steps in a call: those that the run began with, asked for, or measured."""
        held, asked = self.held, self.verbs.steps_per_call or asked
        if held is None:
            raise RunError("use Run in a `with` statement")
        found = held.settings.get("pace")
        if found is None:
            each, why = asked, "as asked for"
            if each is None and self.step:
                each, why = 1, "as it began"  # before there was a choice
            if each is None:
                each, why = pace.chosen(
                    learner,
                    self.state,
                    feed,
                    program=held.settings["began"]["program"],
                    steps=self.steps,
                    mesh=self._mesh,
                )
            found = {"steps_per_call": each, "why": why}
            held.update(pace=found)
        each = found["steps_per_call"]
        if asked not in (None, each):
            raise RunError(f"{held.path} began with {each} steps a call, not {asked}")
        if each > 1:
            self.console.say(f"{each} steps a call: {found['why']}")
        return each

    def _go(
        self,
        learner: Learner,
        feed: Feed,
        pending: Metrics | None,
        every: int,
        steps_per_call: int,
    ) -> Iterator[tuple[Any, Metrics]]:
        steps, began, first = self.steps, time.monotonic(), self.step
        self._saved_step, self._saved_at = self.step, began
        self.console.start(self.step, steps)
        self._signals.at_once = False  # the step is finished and saved first
        pauses = loop.train(
            learner,
            self.state,
            feed,
            steps=steps,
            every=every,
            start=self.step,
            metrics=pending,
            steps_per_call=steps_per_call,
            mesh=self._mesh,
            watch=self._watch,
        )
        try:
            for pause in pauses:
                self.state, self.step = pause.state, pause.step
                self.console.at(self.step)
                if not pause.due:
                    self._save(pause.metrics)
                else:
                    self._groups = {"train": records.numbers(pause.metrics)}
                    yield pause.state, pause.metrics
                    pause.state = self.state
                    written, warnings = self._record(began, first)
                    if self._due() or self.step == steps or self._stop:
                        self._save({})
                    self._tell(written, warnings)  # last: `| head` may end it
                if self._signals.received is not None:
                    self._save({})
                    raise InterruptedRun(self._signals.received)
                if self._stop:
                    return
        except loop.NonFiniteError as error:
            self._explain(error)
            raise
        finally:
            saved = self._saved_step == self.step
            self._signals.at_once = saved and self._signals.received is None

    def log(self, **groups: Metrics | Mapping[str, Any]) -> None:
        """Adds metrics to the records of this pause: `run.log(validation=...)`."""
        for group, metrics in groups.items():
            self._groups.setdefault(group, {}).update(records.numbers(metrics))
        self._validation = groups.get("validation", self._validation)

    def observe(self, value: float) -> None:
        """Tells plateau rules in the state a value that should fall."""
        self.state = jax.jit(observe)(self.state, jnp.float32(value))

    def stop(self) -> None:
        """Ends the training after this pause: early stopping."""
        self._stop = True

    def evaluate(self, feed: Feed) -> Metrics:
        """The metrics of one pass over a feed."""
        return loop.evaluate(self._learner, self.state, feed, mesh=self._mesh)

    def predict(self, feed: Feed) -> Any:
        """The predictions for one pass over a feed, as NumPy arrays without padding."""
        return loop.predict(self._learner, self.state, feed, mesh=self._mesh)

    @contextlib.contextmanager
    def optional(self, what: str) -> Iterator[None]:
        """Encloses what a result does not depend on, for example pictures.

        Whatever fails inside is a warning with its reason. After Ctrl-C the rest of the
        block is left out, and the run still ends with its result.

        Args:
            what: Names what is left out then: "the picture of words".
        """
        try:
            yield
        except InterruptedRun:
            self.console.warn(f"{what} is left out: stopped by a signal")
        except Exception as error:
            self.console.warn(f"{what} is left out: {one_line(error)}")

    def figure(
        self, name: str, draw: Callable[..., Any] | Any, /, *given: Any, **options: Any
    ) -> None:
        """Saves a picture in the folder, and so in the report.

        Drawing is part of the call, `run.figure("words", coloured_words, texts)`, so
        that an error in it is a warning and does not cost the run its result. With
        `--evaluate` nothing is drawn.

        Args:
            name: Of the picture, and of its file.
            draw: A function that returns a matplotlib figure, or such a figure.
            *given: Arguments of the function.
            **options: Keyword arguments of the function.

        Raises:
            ValueError: If the name could leave the folder.
        """
        file_name = files.safe_name(name) + ".png"
        if self.held is None or self._signals.received is not None:
            return
        path = self.held.path / "figures" / file_name
        with self.optional(f"the picture {name!r}"):
            # Not at the top: matplotlib takes half a second to import.
            from jaxnets.plots.parts import plain_text, png

            with plain_text():
                figure: Any = draw(*given, **options) if callable(draw) else draw
            path.parent.mkdir(exist_ok=True)
            files.write_with(path, lambda file: png(figure, file))

    def text(self, name: str, text: str) -> None:
        """Prints a text, samples for example, and saves it in folder and report.

        Raises:
            ValueError: If the name could leave the folder.
        """
        file_name = files.safe_name(name) + ".txt"
        with self.optional(f"printing the text {name!r}"):
            self.console.say(text)
        if self.held is not None:
            path = self.held.path / "texts" / file_name
            with self.optional(f"the text {name!r}"):
                path.parent.mkdir(exist_ok=True)
                files.write(path, text.encode("utf-8", "backslashreplace") + b"\n")

    def finish(self, **groups: Metrics | Mapping[str, Any]) -> None:
        """Writes the result and the report, and says both; the run is then finished.

        With `--evaluate` it compares with the recorded result instead, unless fields
        marked `Judging` have other values now.

        Args:
            **groups: The scores: `test=run.evaluate(test)`.

        Raises:
            RunError: If a score is NaN or infinite, after the result was written; if
                a score of `--evaluate` is not the recorded one; if the result cannot
                be written.
            InterruptedRun: After Ctrl-C or SIGTERM; the result is written.
        """
        self._signals.at_once = False  # what follows is short
        scores = {name: records.numbers(group) for name, group in groups.items()}
        headline = _headline(scores) or f"{self.step} steps"
        self._finished = True
        if self.held is None:
            self._compare(scores, headline)
        else:
            self._write_result(self.held.path, scores, headline, groups)
        if wrong := _non_finite(scores):
            raise RunError(
                f"{', '.join(wrong)}: a score that is no finite number is no result "
                "to compare"
            )
        if self._signals.received is not None:
            raise InterruptedRun(self._signals.received)

    def _standing(self, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """What is to be warned of at the end, the scores of these groups included."""
        if self._watched is None:
            return {}
        found = self._watched.standing
        for group, metrics in groups.items():
            found |= self._watched.one_class(group, metrics)
        return found

    def _write_result(
        self,
        path: Path,
        scores: Mapping[str, Mapping[str, Any]],
        headline: str,
        scored: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Writes report and result, in this order: a result means that all is there."""
        if self._saved_step != self.step:  # the caller left the loop by `break`
            self._stop = True
            written = self._record(time.monotonic(), self.step)
            self._save({})
            self._tell(*written)
        result = {"step": self.step, **scores, "state_sha256": digest(self.state)}
        if warnings := self._standing(scored):
            result["warning"] = warnings
        with self.optional("report.html"):
            report.write(path, headline, result)
        try:
            text = files.dump_json(result, indent=2) + "\n"
            files.write(path / "result.json", text)
        except OSError as error:
            raise RunError(
                f"{headline}, but {path / 'result.json'} could not be written: "
                f"{error.strerror}. The same command scores the saved state again"
            ) from error
        self.console.stop()
        for text in warnings.values():
            self.console.warn(text)
        self.console.say(f"{headline}  ->  {path}")

    # -------------------------------------------------------------------- details

    def _restore(self, learner: Learner, feed: Feed) -> Metrics | None:
        """Sets state and step; returns what was gathered of the current interval."""
        state = self._initial(learner, feed)
        target = jax.eval_shape(lambda: state)
        path = self.folder
        if path is None:
            raise RunError("use Run in a `with` statement")
        if self.held is None:
            reader = Checkpoints(
                path / "checkpoints", sweep=False, say=self.console.say
            )
            found = reader.newest(target)
            if found is None:
                raise RunError(f"{path} has no checkpoint to evaluate")
            resume.refuse_other_metadata(path, found.record, self._metadata)
            self.state, self.step = resume.on_device(found.state), found.step
            return None
        resume.refuse_other(
            self.held, settings.to_json(self.config), self.steps, learner, state, feed
        )
        self._checkpoints = Checkpoints(
            path / "checkpoints", keep=self.verbs.keep, say=self.console.say
        )
        found = self._checkpoints.newest(
            target, lambda r: records.check(path, r["metrics"])
        )
        mark, pending = None, None
        self.state, self.step = state, 0
        if found is not None:
            resume.refuse_other_metadata(path, found.record, self._metadata)
            self.state, self.step = resume.on_device(found.state), found.step
            self._saved_step = found.step
            mark = found.record["metrics"]
            self._stop = found.record["ended"]
            pending = resume.from_lists(found.record["pending"])
            if self.step < self.steps and self.held.finished:
                (path / "result.json").unlink()  # an extended run is unfinished again
        self._records = records.Records(path, mark, self.step)
        self._watched = watch.Watch(learner.trivial, self.config, self.steps)
        self._watched.again(records.read(path))
        describe.greet(self, feed)
        return pending

    def _initial(self, learner: Learner, feed: Feed) -> Any:
        key = jax.random.key(self.config.seed)
        state = once(learner.init)(key, self.config.hyper, feed(0))
        state = resume.on_device(state)
        return resume.with_weights(state, self._weights) if self._weights else state

    def _watch(self, step: int) -> bool:
        self.console.at(step)
        if step == self._saved_step:
            return self._signals.received is not None
        return self._signals.received is not None or self._due(step)

    def _due(self, step: int | None = None) -> bool:
        step = self.step if step is None else step
        since = time.monotonic() - self._saved_at
        every = self.verbs.checkpoint_every
        return since >= self.verbs.checkpoint_seconds or bool(
            every and step - self._saved_step >= every
        )

    def _record(self, began: float, first: int) -> tuple[str, list[str]]:
        """Adds the metrics of this pause to the records.

        Returns:
            The line to print, and what to warn of.
        """
        if self._records is None or self._watched is None or not self._groups:
            return "", []
        seconds = time.monotonic() - began
        timing = {
            "seconds": seconds,
            "steps_per_second": (self.step - first) / max(seconds, 1e-9),
            "compile_seconds": compilation.compile_seconds(),
        }
        found = self._watched.see(self.step, self._groups, self._validation)
        noted = {"warning": found} if found else {}
        self._records.add(self.step, {**self._groups, **noted}, timing)
        text = line(self.step, self.steps, self._groups)
        if self._first_line:
            text += f"  (compiled in {compilation.compile_seconds():.1f} s)"
            self._first_line = False
        self._groups, self._validation = {}, None
        return text, list(found.values())

    def _tell(self, written: str, warnings: Sequence[str]) -> None:
        """Prints a line of the records, and what to warn of."""
        self.console.say(written)
        for text in warnings:
            self.console.warn(text)

    _first_line = True

    def _save(self, pending: Metrics) -> None:
        if self._checkpoints is None or self._records is None:
            return
        if self._saved_step == self.step and not self._stop:
            return
        record = {
            "metrics": self._records.mark(),
            "pending": resume.to_lists(pending),
            "ended": self._stop,
            "metadata": self._metadata,
        }
        self._checkpoints.save(self.step, self.state, record)
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def _explain(self, error: loop.NonFiniteError) -> None:
        """Keeps the batch; notes at the error where it went wrong, and what to do."""
        if self.held is None or self._checkpoints is None:
            return
        path = self.held.path / "nonfinite" / f"step-{error.step}.npz"
        path.parent.mkdir(exist_ok=True)
        arrays: Any = {n: np.asarray(a) for n, a in error.batch._asdict().items()}
        files.write_with(path, lambda file: np.savez(file, **arrays))
        self.console.stop()
        self.console.say(f"{error}; its batch is kept in {path}")
        if wrong := diagnosis.wrong_fields(error.batch):
            error.add_note(
                f"The batch itself holds a NaN or an infinity in {', '.join(wrong)}: "
                "look at the data and at what is done to it."
            )
            return
        self._signals.at_once = True
        with self.optional("the layer where the gradient grew first"):
            if where := self._where(error.step):
                error.add_note(f"{where}.")
        flags = advice.diverged(self.config, error.step, self.steps)
        if flags:
            error.add_note(f"{advice.sentence(flags)}.")

    def _where(self, failed: int) -> str:
        """Takes the steps since the last saved state again, and says what was seen."""
        state, start = self._initial(self._learner, self._feed), 0
        found = self._checkpoints and self._checkpoints.newest(state)
        if found is not None:
            state, start = resume.on_device(found.state), found.step
        if failed - start > diagnosis.MOST:
            return ""
        self.console.say(
            f"taking steps {start} to {failed} again, to see where the gradient grew"
        )
        return diagnosis.where(
            self._learner,
            state,
            self._feed,
            start=start,
            failed=failed,
            mesh=self._mesh,
        )

    def _compare(self, scores: Mapping[str, Any], headline: str) -> None:
        path = self.folder / "result.json" if self.folder else None
        if path is None or not path.exists():
            self.console.say(f"{headline}  (step {self.step}, an unfinished run)")
            return
        stored = folder.read_settings(path.parent)["config"]
        free = settings.judging(type(self.config))
        other = [
            f"{name} {change}"
            for name, change in settings.differences(
                stored, settings.to_json(self.config)
            ).items()
            if settings.field_of(name) in free
        ]
        if other:
            self.console.say(f"{headline}  (judged otherwise: {', '.join(other)})")
            return
        note = recorded.compare(path.parent, scores)
        self.console.say(f"{headline}  (as recorded{note})  ->  {self.folder}")


def _headline(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """`test accuracy 97.30%, test loss 0.08`."""
    return ", ".join(
        f"{group} {name.replace('_', ' ')} {number(name, value)}"
        for group, values in scores.items()
        for name, value in values.items()
        if isinstance(value, int | float)
    )


def _non_finite(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """`test.loss is nan` for every score that is no finite number."""
    return [
        f"{group}.{name} is {value}"
        for group, values in scores.items()
        for name, value in values.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
