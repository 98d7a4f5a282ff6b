"""Ctrl-C and SIGTERM end a run between two steps; a second Ctrl-C ends it now.

Outside of the training loop, where nothing is under way that must be saved, the first
one already ends what is being done.
"""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

from jaxnets.run import compilation

SAVED = "the state is saved. The same command goes on from there."
NOTHING_YET = "nothing to save yet. The same command begins again."


class InterruptedRun(KeyboardInterrupt):
    """The run was asked to stop.

    Attributes:
        signum: The signal; a process should exit with 128 plus it.
        left: What is left of the run, and what to do next, as a sentence.
    """

    def __init__(self, signum: int, left: str = SAVED) -> None:
        """Takes both."""
        super().__init__(signal.Signals(signum).name)
        self.signum, self.left = signum, left


class Interrupts:
    """While entered, remembers SIGINT and SIGTERM instead of dying of them.

    Outside the main thread nothing can be, and nothing is, changed.

    Attributes:
        received: The first signal that has come, if any.
        at_once: Whether the first signal raises `InterruptedRun` where it comes, since
            nothing needs to be finished or saved.
    """

    def __init__(self) -> None:
        """Nothing is installed yet."""
        self.received: int | None = None
        self.at_once = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        """Installs the handlers."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *details: object) -> None:
        """Puts back what was there before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.received is not None and number == signal.SIGINT:
            with contextlib.suppress(OSError):  # standard error may be closed
                os.write(2, b"stopped at once; the last checkpoint stands\n")
            os._exit(128 + number)  # no clean-up
        self.received = number
        if self.at_once:
            self.at_once = False
            compilation.distrust()  # what was being written to the cache may be torn
            raise InterruptedRun(number)
