"""What users see while a first start takes long: a bar, or a line every 30 seconds."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

LINE_SECONDS = 30.0  # between two lines where there is no terminal


@contextlib.contextmanager
def progress(
    name: str, doing: str, total: int, unit: str, say: Callable[[str], None]
) -> Iterator[Callable[[int], None]]:
    """A function that takes how many units were done since its last call.

    Args:
        name: Of the data set.
        doing: What takes long: "looking at pictures".
        total: Units in all.
        unit: What is counted, in the singular: "picture".
        say: Takes a line now and then where there is no terminal for a bar.
    """
    terminal = sys.stderr is not None and sys.stderr.isatty()  # None: it is closed
    began = said = time.monotonic()
    done = 0
    with tqdm(
        total=total,
        desc=f"{name}: {doing}",
        unit=unit,
        unit_scale=total >= 10_000_000,
        disable=not terminal or os.environ.get("TERM") == "dumb",
        leave=False,
        delay=1.0,
        dynamic_ncols=True,
        ascii=" -#" if os.environ.get("NO_COLOR") else None,
    ) as bar:

        def advance(count: int) -> None:
            nonlocal done, said
            done = min(done + count, total)
            bar.update(count)
            now = time.monotonic()
            if bar.disable and now - said > LINE_SECONDS:
                said = now
                rate = done / (now - began)
                say(
                    f"{done:,} of {total:,} {unit}s, {rate:,.0f} a second, "
                    f"{(total - done) / rate:.0f} s left"
                )

        yield advance


def in_units(count: int) -> str:
    """Returns a number of bytes in decimal units, as disks are sold: `1.5 GB`."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
