"""What a person sees: a progress bar on a terminal, plain lines everywhere else."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


class Console:
    """Lines on standard output; on a terminal, a bar below them."""

    def __init__(self) -> None:
        """No bar yet."""
        self._bar: tqdm | None = None

    def start(self, step: int, steps: int) -> None:
        """Shows a bar, where standard error is a terminal that can draw one."""
        if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
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
        """Prints a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(text)
        else:
            print(text, flush=True)  # noqa: T201 - this is the place that prints

    def stop(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


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
