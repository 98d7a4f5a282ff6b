"""What a person sees: a progress bar on a terminal, plain lines everywhere else."""

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

from jaxnets.run.interrupts import InterruptedRun


class Console:
    """Lines on standard output; on a terminal, a bar below them."""

    def __init__(self) -> None:
        """No bar yet."""
        self._bar: tqdm | None = None
        self._silent = False

    def start(self, step: int, steps: int) -> None:
        """Shows a bar, where standard error is a terminal that can draw one."""
        terminal = sys.stderr is not None and sys.stderr.isatty()  # None: it is closed
        if not terminal or os.environ.get("TERM") == "dumb":
            return
        self._bar = tqdm(
            total=steps,
            initial=step,
            unit="step",
            leave=False,
            dynamic_ncols=True,
            ascii=" -#" if os.environ.get("NO_COLOR") else None,
        )

    def at(self, step: int) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def say(self, text: str) -> None:
        """Prints a line on standard output, above the bar if there is one.

        No text prints nothing. Where the output cannot be written, a full disk for
        example, a warning says so once and training goes on without it.

        Raises:
            BrokenPipeError: If the reader is gone, as `| head` is.
        """
        if not text or self._silent:
            return
        try:
            self._show(text, sys.stdout)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._silent = True
            self.warn(f"the output is not written any more: {error.strerror}")

    def warn(self, text: str) -> None:
        """Prints `warning: ...` on standard error, above the bar if there is one."""
        self._show(f"warning: {text}", sys.stderr)

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
            self.warn(f"{what} is left out: stopped by a signal")
        except Exception as error:
            self.warn(f"{what} is left out: {one_line(error)}")

    def _show(self, text: str, stream: Any) -> None:
        if self._bar is not None:
            self._bar.write(writable(text, stream), file=stream)
        else:
            show(text, stream)

    def stop(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def show(text: str, stream: Any) -> None:
    """Prints a line; a character that the stream cannot write becomes an escape.

    Args:
        text: The line.
        stream: Standard output or error; None, where it is closed, shows nothing.
    """
    if stream is not None:
        print(writable(text, stream), file=stream, flush=True)


def writable(text: str, stream: Any) -> str:
    """The text with escapes for the characters that a stream cannot write.

    No console is worth a training: one that is not UTF-8 shows an escape.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def one_line(error: BaseException) -> str:
    """An error as `ValueError: what it says`, in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    if len(text) > 300:
        text = text[:300] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def line(step: int, steps: int, groups: Mapping[str, Mapping[str, Any]]) -> str:
    """The metrics of a step as one line: `step 120/960  train loss 0.31 ...`."""
    parts = [f"step {step:>{len(str(steps))}}/{steps}"]
    for group, values in groups.items():
        shown = [
            f"{name.replace('_', ' ')} {number(name, value)}"
            for name, value in values.items()
            if isinstance(value, int | float) and name != "gradient_norm"
        ]
        parts.append(f"{group} " + ", ".join(shown))
    return "  ".join(parts)


def number(name: str, value: float) -> str:
    """A metric as people read it: accuracies in per cent."""
    return f"{value:.2%}" if "accuracy" in name else f"{value:.4g}"
