"""The tables of a sweep: a row a setting, the best first, and all learning curves.

from jaxnets.sweeps.results import curves, table
frame = table("runs/sweeps/classify/TIME-ID")
"""

import csv
import importlib
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets import files
from jaxnets.run.folder import RunError
from jaxnets.sweeps import plans
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.plans import Definition, Finished


def rows_of(
    definition: Definition, finished: Sequence[Finished]
) -> list[dict[str, Any]]:
    """A dictionary a setting: the best first, then those stopped early, then failures.

    `mean` and `deviation` are over the runs that differ in their seeds; the deviation
    is that of a sample, and missing where there is one run.
    """
    found = []
    for done in finished:
        failed = [reason for reason in done.reasons if reason]
        row: dict[str, Any] = {"group": done.group, "trial": done.trial, **done.values}
        row["state"] = "failed" if failed else "whole" if done.whole else "stopped"
        row["step"] = done.step
        for place, name in enumerate(definition.objectives):
            values = [run[place] for run in done.results]
            sound = [value for value in values if value is not None]
            row[name] = float(np.mean(sound)) if sound and not failed else math.nan
            if definition.replicas > 1:
                many = len(sound) > 1 and not failed
                spread = float(np.std(sound, ddof=1)) if many else math.nan
                row[f"{name}_deviation"] = spread
                for run, value in enumerate(values):
                    row[f"{name}_{run}"] = math.nan if value is None else value
        row["reason"] = "; ".join(dict.fromkeys(failed))
        order = ("whole", "stopped", "failed").index(row["state"])
        score = plans.score(definition, done.results)
        found.append(((order, -done.step, score, done.group, done.trial), row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def lines(
    definition: Definition, finished: Sequence[Finished], *, most: int = 5
) -> list[str]:
    """The best settings as people read them, and how many failed."""
    names = definition.objectives
    ranked = rows_of(definition, finished)
    found = []
    for place, row in enumerate(ranked[:most], start=1):
        if row["state"] == "failed":
            break
        group = f"{row['group']}  " if len(definition.groups) > 1 else ""
        values = ", ".join(f"{name} {row[name]:.4g}" for name in _free(definition))
        scores = ", ".join(
            f"{name} {row[name]:.4g}"
            + (f" +- {row[f'{name}_deviation']:.2g}" if definition.replicas > 1 else "")
            for name in names
        )
        found.append(f"{place}. {scores}  {group}{values}")
    failed = [row for row in ranked if row["state"] == "failed"]
    if failed:
        found.append(f"{len(failed)} failed: {failed[0]['reason']}")
    return found


def _free(definition: Definition) -> list[str]:
    return list(spaces.free(spaces.from_json(definition.space)))


def points(
    definition: Definition, finished: Sequence[Finished]
) -> list[dict[str, Any]]:
    """The first objective of every run at every step that it was scored at."""
    name = definition.objectives[0]
    ordered = sorted(finished, key=lambda done: (done.group, done.trial))
    return [
        {"group": d.group, "trial": d.trial, "run": run, "step": step, name: value}
        for d in ordered
        for run, curve in enumerate(d.curves)
        for step, value in curve
    ]


def write(
    folder: Path, definition: Definition, finished: Sequence[Finished]
) -> list[dict[str, Any]]:
    """Writes table.csv, the same as table.json, and curves.csv; returns the rows."""
    rows = rows_of(definition, finished)
    files.write(folder / "table.csv", _csv(rows))
    files.write(folder / "table.json", files.dump_json(rows, indent=1) + "\n")
    files.write(folder / "curves.csv", _csv(points(definition, finished)))
    return rows


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a finished sweep, as `rows_of` returned them.

    Raises:
        RunError: If the folder holds no finished sweep.
    """
    path = Path(folder) / "table.json"
    if not path.exists():
        raise RunError(f"{folder} holds no finished sweep: it has no table.json")
    special = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    return [
        {
            name: special.get(value, value) if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in files.read_json(path)
    ]


def table(folder: str | Path) -> Any:
    """The rows of a finished sweep as a pandas data frame.

    Raises:
        RunError: If the folder holds no finished sweep, or pandas is not installed.
    """
    return _pandas().DataFrame(rows(folder))


def curves(folder: str | Path) -> Any:
    """The learning curves of a finished sweep as a pandas data frame.

    A line a score, with the columns group, trial, run (of those that differ in seeds
    only), step, and the first objective.

    Raises:
        RunError: If the folder holds no finished sweep, or pandas is not installed.
    """
    path = Path(folder) / "curves.csv"
    if not path.exists():
        raise RunError(f"{folder} holds no finished sweep: it has no curves.csv")
    return _pandas().read_csv(path)


def _pandas() -> Any:
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise RunError(
            "data frames need pandas: pip install jaxnets[notebook]; `rows` gives the "
            "same as dictionaries"
        ) from None
