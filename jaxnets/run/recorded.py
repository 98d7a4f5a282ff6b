"""Compares scores with those that a run has recorded: what `--evaluate` is for."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxnets import files
from jaxnets.run import environment, records, settings
from jaxnets.run.folder import RunError

# Sums in another order differ in the last digits of a 32-bit number, about 1e-7 each.
# TF32 on GPUs keeps 10 bits; one example in a thousand may change its class.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5


def compare(folder: Path, scores: Mapping[str, Any]) -> str:
    """Compares with result.json: to the bit where the result was made like this one.

    On other devices, or with other versions, to a relative tolerance of 0.1 %.

    Args:
        folder: The run folder.
        scores: What was computed now, by group and name.

    Returns:
        Nothing, or in words what is different here and how much was allowed for it.

    Raises:
        RunError: Naming every score that is not the recorded one.
    """
    before = settings.flat(records.load(folder / "result.json"))
    now = settings.flat(json.loads(files.dump_json(dict(scores))))
    changed = {name: value for name, value in now.items() if before.get(name) != value}
    if not changed:
        return ""
    moved = environment.moved_since(folder)
    if moved:
        changed = {n: v for n, v in changed.items() if not _close(before.get(n), v)}
    if changed:
        lines = "".join(
            f"\n  {name}: recorded {before.get(name)}, now {value}"
            for name, value in changed.items()
        )
        here = f"\nWhat is different here: {'; '.join(moved)}" if moved else ""
        raise RunError(f"{folder} does not give its recorded result:{lines}{here}")
    return f" within {_RELATIVE:.1%}; {'; '.join(moved)}"


def _close(before: Any, now: Any) -> bool:
    """Whether two numbers, or lists of them, agree to the tolerance."""
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_close, before, now))
    if isinstance(before, int | float) and isinstance(now, int | float):
        return math.isclose(before, now, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return False
