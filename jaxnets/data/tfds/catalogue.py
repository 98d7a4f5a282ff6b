"""Where prepared sets of the TFDS catalogue are, and what it takes to prepare another.

Nothing here imports tensorflow_datasets: a set that is there is found in milliseconds,
and whether one can be prepared is decided before anything is downloaded.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from jaxnets import files
from jaxnets.data.dataset import DataError

_NAME = re.compile(r"([a-z][a-z0-9_]*)(?:/([A-Za-z0-9][\w.\-]*))?(?::(\d+\.\d+\.\d+))?")
_LONGEST_NAME = 200  # characters
_VERSION = re.compile(r"\d+\.\d+\.\d+")

FolderPath = Path | str | None


class Reference(NamedTuple):
    """A data set as TFDS names it: `imagenette/160px-v2:1.0.0`."""

    name: str
    config: str | None
    version: str | None

    def __str__(self) -> str:
        """As the command line knows it."""
        config = f"/{self.config}" if self.config else ""
        return self.name + config + (f":{self.version}" if self.version else "")


def parsed(name: str) -> Reference:
    """The parts of a name.

    Raises:
        DataError: If TFDS could not have a set of that name; so none leaves its folder.
    """
    match = _NAME.fullmatch(name)
    if match is None or len(name) > _LONGEST_NAME:
        raise DataError(
            f"{name[:_LONGEST_NAME]!r} is neither a folder here nor a name of a TFDS "
            "set: sets look like cifar10 or imagenette/160px-v2, a folder like ./photos"
        )
    return Reference(*match.groups())


def root_folder(data_dir: FolderPath) -> Path:
    """The folder named, or `$TFDS_DATA_DIR`, or where TFDS puts sets by default."""
    chosen = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser()


def find(reference: Reference, root: Path) -> Path | None:
    """The folder of the newest prepared version, if there is one.

    A name without a variant means TFDS' default one, never just any that is there.

    Raises:
        DataError: If there are several variants and none is known to be the default.
    """
    base = root / reference.name
    if reference.config is not None:
        return _newest(base / reference.config, reference.version)
    if (found := _newest(base, reference.version)) is not None:
        return found
    configs = {
        path.name: version
        for path in (sorted(base.iterdir()) if base.is_dir() else ())
        if path.is_dir() and (version := _newest(path, reference.version)) is not None
    }
    try:
        stored = files.read_json(base / ".config" / "metadata.json")
        default = stored["defaultConfigName"]
    except (OSError, ValueError, KeyError, TypeError):
        default = None
    if default is not None:
        return configs.get(default)
    if len(configs) > 1:
        names = ", ".join(f"{reference.name}/{config}" for config in configs)
        raise DataError(f"{root} has several variants: name one of {names}")
    return next(iter(configs.values()), None)


def _newest(folder: Path, version: str | None) -> Path | None:
    found = [
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if _VERSION.fullmatch(path.name) and version in (None, path.name)
        if (path / "dataset_info.json").is_file() and (path / "features.json").is_file()
    ]
    number = lambda path: tuple(int(part) for part in path.name.split("."))
    return max(found, key=number, default=None)


def fingerprint(folder: Path) -> str:
    """A hash of what TFDS says of a set, and of its files' names, sizes and times."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            about = path.stat()
            lines.append(f"{path.name} {about.st_size} {about.st_mtime_ns}")
            if path.suffix == ".json":
                lines.append(files.sha256(path))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def refuse_ambiguity(name: str, data_dir: FolderPath) -> None:
    """Raises if a prepared TFDS set and a path here go by the same name.

    Args:
        name: As `--data` has it.
        data_dir: Where prepared TFDS sets are.

    Raises:
        DataError: With the two names that tell them apart.
    """
    if name.startswith(("/", ".", "~")) or name.endswith("/"):
        return
    try:
        found = find(parsed(name), root_folder(data_dir))
    except DataError:
        return  # no name of a TFDS set
    if found is not None:
        raise DataError(
            f"{name} is a folder here and a prepared TFDS set: give ./{name} for the "
            f"folder, {name}:{found.name} for the set"
        )
