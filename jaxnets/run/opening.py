"""The folder of a run: opened in a `with` statement, for figures and texts too."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxnets import files, ranges
from jaxnets.run import compilation, restoring, settings
from jaxnets.run import mesh as on
from jaxnets.run.console import Console
from jaxnets.run.experiment import experiment_of
from jaxnets.run.folder import Folder, ReadOnlyFolder, RunError, opened
from jaxnets.run.interrupts import Interrupts
from jaxnets.run.memory import keep_freed
from jaxnets.run.verbs import RunConfig, Verbs

OpenT = TypeVar("OpenT", bound="OpenRun")


class OpenRun:
    """The run folder of a configuration while a `with` statement lasts.

    Attributes:
        config: The configuration.
        verbs: What to do with it.
        experiment: The name of the file that defines the configuration, or "notebook".
        console: Where lines go.
    """

    def __init__(self, config: RunConfig, verbs: Verbs) -> None:
        """Touches nothing yet; see `Run`."""
        ranges.check(config, verbs)
        keep_freed()  # before JAX starts its threads
        on.refuse_many_processes()
        self.config, self.verbs = config, verbs
        self.experiment = experiment_of(type(config))
        self.console = Console()
        self._signals = Interrupts()
        self._output: Folder | ReadOnlyFolder | None = None
        self._weights: dict[str, np.ndarray] = {}  # of the run to begin from

    @property
    def output(self) -> Folder | ReadOnlyFolder:
        """The run folder; with `--evaluate` its twin that writes nothing."""
        if self._output is None:
            raise RunError("use Run in a `with` statement")
        return self._output

    @property
    def folder(self) -> Path:
        """The path of the run folder."""
        return self.output.path

    def __enter__(self: OpenT) -> OpenT:
        """Finds or makes the folder, and takes over Ctrl-C.

        Raises:
            RunError: If another process holds the folder, or it belongs to another
                configuration.
        """
        compilation.compile_seconds()  # starts the clock
        compilation.use_cache()
        self._output = self._opened()
        self._signals.__enter__()
        self._signals.at_once = True
        return self

    def _opened(self) -> Folder | ReadOnlyFolder:
        verbs, origin, named = self.verbs, None, self.verbs.run_dir
        if verbs.evaluate is not None:
            return ReadOnlyFolder(verbs.evaluate)
        if verbs.resume == "weights":
            origin, self._weights = restoring.weights_of(named, self.console.say)
            named = None
        kind = type(self.config)
        wanted = {
            "experiment": self.experiment,
            "config": settings.to_json(self.config),
            "origin": origin,
        }
        return opened(
            Path("runs") / self.experiment,
            wanted,
            named=named,
            fresh=verbs.resume == "never",
            may_differ=settings.extendable(kind) | settings.neutral(kind),
        )

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Gives Ctrl-C back, ends what was begun, and lets go of the folder."""
        self._signals.__exit__()
        self.console.stop()
        try:
            self._end(error)
        finally:
            self.output.close()

    def _end(self, error: BaseException | None) -> None:
        """Ends what was begun in the folder, for which there may be an error."""

    def optional(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Encloses what a result does not depend on; see `Console.optional`."""
        return self.console.optional(what)

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
        if not self.output.writes or self._signals.received is not None:
            return
        with self.optional(f"the picture {name!r}"):
            # Not at the top: matplotlib takes half a second to import.
            from jaxnets.plots.parts import plain_text, png

            with plain_text():
                figure: Any = draw(*given, **options) if callable(draw) else draw
            self.output.write_with(
                f"figures/{file_name}", lambda file: png(figure, file)
            )

    def text(self, name: str, text: str) -> None:
        """Prints a text, samples for example, and saves it in folder and report.

        Raises:
            ValueError: If the name could leave the folder.
        """
        file_name = files.safe_name(name) + ".txt"
        with self.optional(f"printing the text {name!r}"):
            self.console.say(text)
        with self.optional(f"the text {name!r}"):
            content = text.encode("utf-8", "backslashreplace") + b"\n"
            self.output.write(f"texts/{file_name}", content)
