"""What a run writes down while it goes on: JSON lines and TensorBoard events.

`metrics.jsonl` holds no clock, so that two runs compare bit for bit; times go to
`timing.jsonl`. A checkpoint remembers how long the metrics file was and a digest of it,
and a resumed run cuts the file back to there: every step is in it once.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets import files
from jaxnets.metrics import Mean
from jaxnets.run.folder import RunError

Numbers = Mapping[str, Mapping[str, Any]]  # group ("train") to name to value


def numbers(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Plain Python numbers, or lists of them, from means, arrays and numbers."""
    found = {}
    for name, value in metrics.items():
        computed = value.compute() if isinstance(value, Mean) else value
        found[name] = np.asarray(computed, np.float64).tolist()
    return found


class Records:
    """The record files of one run folder, open for adding to."""

    def __init__(self, folder: Path, mark: Mapping[str, Any] | None, step: int) -> None:
        """Cuts the metrics back to a checkpoint.

        Args:
            folder: The run folder.
            mark: What `mark` returned when the checkpoint was made; None to begin.
            step: Steps taken so far.
        """
        path = folder / "metrics.jsonl"
        size = int(mark["bytes"]) if mark else 0
        self._file = path.open("ab")
        self._file.truncate(size)
        with path.open("rb") as file:
            self._sha = hashlib.sha256(file.read(size))
        self._size = size
        self._timing = (folder / "timing.jsonl").open("ab")
        self._board_folder, self._step = folder / "tensorboard", step
        self._board: Any = None

    def add(self, step: int, groups: Numbers, timing: Mapping[str, float]) -> None:
        """Writes one step: a line each to metrics and timing, and the events."""
        line = (files.dump_json({"step": step, **groups}) + "\n").encode()
        self._file.write(line)
        self._file.flush()
        self._sha.update(line)
        self._size += len(line)
        rounded = {name: round(value, 4) for name, value in timing.items()}
        self._timing.write((files.dump_json({"step": step, **rounded}) + "\n").encode())
        self._timing.flush()
        self._events(step, groups)

    def mark(self) -> dict[str, Any]:
        """Where the metrics file ends, once all of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"bytes": self._size, "sha256": self._sha.hexdigest()}

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        self._timing.close()
        if self._board is not None:
            self._board.close()

    def _events(self, step: int, groups: Numbers) -> None:
        if self._board is None:
            from tensorboardX import SummaryWriter  # slow to import

            # Events of steps that a killed process had gone beyond are hidden.
            self._board = SummaryWriter(
                str(self._board_folder), purge_step=self._step + 1, write_to_disk=True
            )
        for group, values in groups.items():
            for name, value in values.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    self._board.add_scalar(f"{group}/{name}", value, step)
        self._board.flush()


def check(folder: Path, mark: Mapping[str, Any]) -> str | None:
    """What is wrong with the metrics a checkpoint counts on, or None."""
    path = folder / "metrics.jsonl"
    size = int(mark["bytes"])
    content = path.read_bytes()[:size] if path.exists() else b""
    if len(content) < size:
        return f"metrics.jsonl is {len(content)} bytes long, not {size}"
    if hashlib.sha256(content).hexdigest() != mark["sha256"]:
        return "metrics.jsonl is not as it was written"
    return None


def read(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; a torn last line, of a killed run, is left out.

    Raises:
        RunError: If any other line is no JSON object; the message names it.
    """
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            found.append(_object(json.loads(line)))
        except ValueError as error:
            raise RunError(f"{path} is damaged in line {number}: {error}") from error
    return found


def load(path: Path) -> dict[str, Any]:
    """Returns what a JSON file holds, which must be one object.

    Raises:
        RunError: If it holds something else.
        OSError: If it cannot be read.
    """
    try:
        return _object(files.read_json(path))
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a JSON object should be here")
    return value
