"""Ctrl-C and SIGTERM end a run between two steps; a second Ctrl-C ends it now."""

import os
import signal
import threading
from types import FrameType
from typing import Any


class InterruptedRun(KeyboardInterrupt):
    """The run was asked to stop; its state is saved.

    Attributes:
        signum: The signal; a process should exit with 128 plus it.
    """

    def __init__(self, signum: int) -> None:
        """Keeps the signal."""
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Interrupts:
    """While entered, remembers SIGINT and SIGTERM instead of dying of them.

    Outside the main thread nothing can be, and nothing is, changed.
    """

    def __init__(self) -> None:
        """Nothing is installed yet."""
        self.received: int | None = None
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
            os._exit(128 + number)  # now: no clean-up, the last checkpoint stands
        self.received = number
