"""Checkpoints that are whole or not there, and are verified before they are believed.

Orbax writes the arrays. Around it: everything goes into `N.tmp` and is read back and
compared, then a manifest with the SHA-256 of every file, `fsync` of files and folders,
a rename to `N`, `fsync` of the parent. Only then is the checkpoint acknowledged.
Deletion renames to `N.trash` first. Reading takes the newest step whose manifest
verifies; one flipped bit, which Orbax alone would restore silently, is noticed and
named.
"""

import contextlib
import hashlib
import json
import logging
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import files
from jaxnets.errors import UserError

_FORMAT = 1


class CheckpointError(UserError, RuntimeError):
    """No checkpoint can be used; the message says why and what to do."""


class Restored(NamedTuple):
    """A checkpoint that verified."""

    step: int
    state: Any
    record: dict[str, Any]  # what was saved beside the state


class Checkpoints:
    """The checkpoints of one run, in one folder, by step."""

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        say: Callable[[str], None] = print,
        sweep: bool = True,
    ) -> None:
        """Sweeps what a killed process left behind.

        Args:
            folder: Made when the first checkpoint is saved.
            keep: How many of the newest to keep, 1 or more. With 2, a damaged newest
                one costs the steps since the one before.
            say: Where damage is reported.
            sweep: False leaves the folder as it is, to read from a run of another
                process.
        """
        self.folder, self.keep, self._say = folder, max(keep, 1), say
        self.damaged: dict[str, str] = {}
        if not sweep:
            return
        for left in [*folder.glob("*.tmp"), *folder.glob("*.trash")]:
            shutil.rmtree(left, ignore_errors=True)

    def steps(self) -> list[int]:
        """Every step that has a folder, whole or not, in ascending order."""
        if not self.folder.is_dir():
            return []
        names = [entry.name for entry in self.folder.iterdir() if entry.is_dir()]
        return sorted(int(name) for name in names if _is_step(name))

    def save(self, step: int, state: Any, record: Mapping[str, Any]) -> None:
        """Writes a checkpoint; once this returns, it survives any kill.

        Args:
            step: Steps taken so far.
            state: A pytree of arrays.
            record: Anything JSON can hold.

        Raises:
            CheckpointError: If it could not be written, the disk being full, say. What
                was begun is removed, and older steps stay.
        """
        temporary, final = self.folder / f"{step}.tmp", self.folder / str(step)
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            self._write(temporary, state, record)
            if final.exists():
                self._remove(final)
            temporary.rename(final)
            files.sync(self.folder)
        except Exception as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise CheckpointError(
                f"checkpoint {step} could not be written to {self.folder}: "
                f"{_reason(error)}. "
                f"Older checkpoints are intact: {self.steps() or 'none yet'}"
            ) from error
        for old in self.steps()[: -self.keep]:
            self._remove(self.folder / str(old))

    def newest(
        self, target: Any, accept: Callable[[dict[str, Any]], str | None] | None = None
    ) -> Restored | None:
        """The newest checkpoint that verifies; damaged ones are named and skipped.

        Args:
            target: A state of the same structure: arrays, or their shapes and dtypes.
            accept: A further test of the record; a string says what is wrong.

        Returns:
            The checkpoint, its state as NumPy arrays; None where none was ever saved.

        Raises:
            CheckpointError: If there are checkpoints and none is intact, or if an
                intact one is of another structure.
        """
        steps = self.steps()
        self._name_strays()
        for step in reversed(steps):
            folder, arrays = self.folder / str(step), {}
            wrong = verify(folder)
            record = {} if wrong else files.read_json(folder / "record.json")
            if not wrong and accept is not None:
                wrong = accept(record["record"])
            if not wrong:
                _refuse_other_kind(folder, record["leaves"], target)
                arrays, wrong = _tried(folder)
            if not wrong:
                state = _rebuilt(arrays, record["leaves"], target)
                return Restored(step, state, record["record"])
            self.damaged[str(step)] = wrong
            self._say(f"checkpoint {step} is damaged and is skipped: {wrong}")
        if steps or self.damaged:
            raise CheckpointError(
                f"none of the checkpoints in {self.folder} is intact: "
                f"{'; '.join(f'{k}: {v}' for k, v in self.damaged.items())}. "
                "Restore the folder from a backup, or start again with --resume never"
            )
        return None

    def leaves(self) -> tuple[str, dict[str, np.ndarray]]:
        """Every array of the newest intact checkpoint, by its path in the state.

        For taking over weights, whatever the rest of the state is.

        Returns:
            A SHA-256 of the checkpoint, and `".variables.params['conv0']['kernel']"`
            and so on to arrays.

        Raises:
            CheckpointError: If no checkpoint is intact.
        """
        for step in reversed(self.steps()):
            folder = self.folder / str(step)
            arrays, wrong = {}, verify(folder)
            if not wrong:
                arrays, wrong = _tried(folder)
            if not wrong:
                described = files.read_json(folder / "record.json")["leaves"]
                found = {described[name]["path"]: arrays[name] for name in arrays}
                return files.sha256(folder / "manifest.json"), found
            self._say(f"checkpoint {step} is damaged and is skipped: {wrong}")
        raise CheckpointError(f"there is no intact checkpoint in {self.folder}")

    def _write(self, folder: Path, state: Any, record: Mapping[str, Any]) -> None:
        arrays, leaves = _flatten(state)
        if arrays:
            with _orbax(folder) as (orbax, plain):
                orbax.save(plain / "state", arrays)
            _refuse_other_bytes(arrays, _arrays(folder))
        described = {"format": _FORMAT, "leaves": leaves, "record": dict(record)}
        files.write(folder / "record.json", files.dump_json(described))
        listed = {
            str(path.relative_to(folder)): files.sha256(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        for path in sorted(folder.rglob("*"), reverse=True):
            files.sync(path)
        files.write(folder / "manifest.json", files.dump_json(listed, indent=1))

    def _remove(self, folder: Path) -> None:
        trash = folder.with_name(folder.name + ".trash")
        shutil.rmtree(trash, ignore_errors=True)
        folder.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)

    def _name_strays(self) -> None:
        if not self.folder.is_dir():
            return
        for entry in sorted(self.folder.iterdir()):
            if not (_is_step(entry.name) and entry.is_dir()):
                self._say(f"{entry} is no checkpoint and is ignored")


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None: every byte is as written."""
    try:
        text = (folder / "manifest.json").read_text(encoding="utf-8")
        listed = json.loads(text)
        if not isinstance(listed, dict) or files.dump_json(listed, indent=1) != text:
            return "manifest.json is not as it was written"
        there = {
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if not path.is_dir() and path.name != "manifest.json"
        }
        if missing := set(listed) - there:
            return f"{sorted(missing)[0]} is missing"
        if more := there - set(listed):
            return f"{sorted(more)[0]} does not belong to it"
        for name, digest in listed.items():
            if files.sha256(folder / name) != digest:
                return f"{name} is not as it was written"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def digest(state: Any) -> str:
    """A SHA-256 over every leaf of a state: its path, type, shape and bytes."""
    arrays, leaves = _flatten(state)
    sha = hashlib.sha256()
    for name, leaf in leaves.items():
        sha.update(f"{leaf['path']} {leaf['dtype']} {leaf['shape']} ".encode())
        if name in arrays:
            sha.update(np.ascontiguousarray(arrays[name]).tobytes())
    return sha.hexdigest()


def _flatten(state: Any) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
    """The arrays by number, and what stands where.

    Keys of generators become numbers; arrays without elements are only described, since
    Orbax refuses them.
    """
    arrays, leaves = {}, {}
    for index, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(state)):
        name = f"{index:05d}"
        leaves[name] = {
            "path": jax.tree_util.keystr(path),
            "dtype": str(leaf.dtype),
            "shape": list(leaf.shape),
        }
        if leaf.size:
            raw = jax.random.key_data(leaf) if _is_key(leaf) else leaf
            arrays[name] = np.asarray(jax.device_get(raw))
    return arrays, leaves


def _refuse_other_kind(folder: Path, described: dict[str, Any], target: Any) -> None:
    saved = [
        (leaf["path"], leaf["dtype"], tuple(leaf["shape"]))
        for leaf in described.values()
    ]
    expected = [
        (jax.tree_util.keystr(path), str(leaf.dtype), tuple(leaf.shape))
        for path, leaf in jax.tree_util.tree_leaves_with_path(target)
    ]
    if saved != expected:
        raise CheckpointError(
            f"{folder} holds another kind of state: {_difference(saved, expected)}"
        )


def _rebuilt(
    arrays: Mapping[str, np.ndarray], described: dict[str, Any], target: Any
) -> Any:
    """The state from its arrays; the inverse of `_flatten`."""
    leaves = []
    for name, leaf in zip(described, jax.tree.leaves(target), strict=True):
        if not leaf.size:
            leaves.append(np.zeros(leaf.shape, leaf.dtype))
        elif _is_key(leaf):
            kind = str(leaf.dtype).removeprefix("key<").removesuffix(">")
            kind = {"fry": "threefry2x32"}.get(kind, kind)
            leaves.append(
                jax.random.wrap_key_data(jnp.asarray(arrays[name]), impl=kind)
            )
        else:
            leaves.append(np.asarray(arrays[name]))
    return jax.tree.unflatten(jax.tree.structure(target), leaves)


def _tried(folder: Path) -> tuple[dict[str, np.ndarray], str | None]:
    """The arrays, or why they cannot be read although every byte is as written."""
    try:
        return _arrays(folder), None
    except Exception as error:  # Orbax and TensorStore raise many kinds
        return {}, f"its arrays cannot be read: {_reason(error)}"


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    if not (folder / "state").is_dir():
        return {}
    with _orbax(folder) as (orbax, plain):
        return orbax.restore(plain / "state")


def _refuse_other_bytes(
    written: Mapping[str, np.ndarray], back: Mapping[str, np.ndarray]
) -> None:
    """Raises unless what was read back is, byte for byte, what was written."""
    for name, array in written.items():
        again = back.get(name)
        same = again is not None and (array.dtype, array.shape) == (
            again.dtype,
            again.shape,
        )
        if again is None or not same or not np.array_equal(_raw(array), _raw(again)):
            raise CheckpointError(f"array {name} reads back differently")


def _raw(array: np.ndarray) -> np.ndarray:
    """The bytes of an array: NaNs differ from themselves, their bytes do not."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _reason(error: Exception) -> str:
    """What went wrong in one short line: TensorStore appends pages of its settings."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if system := re.search(r"\[OS error \d+: \w+ ([^\]]+)\]", str(error)):
        return system[1]
    text = str(error).split(" [tensorstore_spec")[0].split(" [source locations")[0]
    return " ".join(text.split())[:300] or type(error).__name__


def _difference(saved: list[Any], expected: list[Any]) -> str:
    here = {path: rest for path, *rest in saved}
    there = {path: rest for path, *rest in expected}
    lines = [f"{path} is not expected" for path in here if path not in there]
    lines += [f"{path} is missing" for path in there if path not in here]
    lines += [
        f"{path} is {here[path]}, expected {there[path]}"
        for path in here
        if path in there and here[path] != there[path]
    ]
    more = f" and {len(lines) - 5} more" if len(lines) > 5 else ""
    return "; ".join(lines[:5]) + more


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name)) == name


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


@contextlib.contextmanager
def _orbax(folder: Path) -> Iterator[tuple[Any, Path]]:
    """Yields Orbax's checkpointer, silenced, and a path to the folder for it.

    Whatever fails is raised, and told by the caller in one line. Orbax logs it, and
    warnings about checkpoints of many processes, besides.
    """
    import orbax.checkpoint as ocp  # a second to import

    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    _silence_closed_loops()
    try:
        with files.plain_path(folder) as plain:
            yield ocp.PyTreeCheckpointer(), plain
    finally:
        log.setLevel(level)


def _silence_closed_loops() -> None:
    """Drops what TensorStore's threads report to an event loop that has ended.

    When one array cannot be read, the others arrive after Orbax has closed its loop,
    and each would print a traceback before our own error.
    """
    before = sys.unraisablehook
    if getattr(before, "__name__", "") == "_without_closed_loops":
        return

    def _without_closed_loops(raised: Any) -> None:
        if str(raised.exc_value) != "Event loop is closed":
            before(raised)

    sys.unraisablehook = _without_closed_loops
