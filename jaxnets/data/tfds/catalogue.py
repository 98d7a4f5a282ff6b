"""Where prepared sets of the TFDS catalogue are, and what it takes to prepare another.

Nothing here imports tensorflow_datasets: a set that is there is found in milliseconds,
and whether one can be prepared is decided before anything is downloaded.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.tfds import originals
from jaxnets.data.tfds.connection import SECONDS, connected

# What works without any download, each where its kind of data is asked for.
EMBEDDED = {
    "digits": "labelled images",
    "glyphs": "labelled images",
    "shapes": "captions and boxes",
    "dates": "pairs of sentences",
    "corpus": "text",
}
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


def preparation(reference: Reference, root: Path) -> Literal["original", "tensorflow"]:
    """How a set can be prepared here, decided without a network and without TFDS.

    The builders of TFDS unpack archives, read files and encode arrays as images through
    TensorFlow; without it they fail after the download. The sets in `originals.NAMES`
    have readers of our own.

    Args:
        reference: The set.
        root: Where it would go; for the message.

    Raises:
        DataError: If neither is possible; the message says what can be done.
    """
    if reference.name in originals.NAMES:
        return "original"
    if importlib.util.find_spec("tensorflow") is not None:
        return "tensorflow"
    raise DataError(
        f"{reference} is not in {root}, and TFDS needs TensorFlow to prepare it, which "
        "is not installed. Install it with `uv sync --extra tf` (or `pip install "
        f"'jaxnets[tf]'`) and run `{_command(reference, root)}`; or do so on another "
        "machine and name the folder with --data-dir or TFDS_DATA_DIR: reading it "
        "needs no TensorFlow. Without it, these can be prepared: "
        f"{', '.join(originals.NAMES)}. Without any download, these work: "
        f"{_embedded()}"
    )


def _embedded() -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in EMBEDDED.items())


def _command(reference: Reference, root: Path) -> str:
    return f"uv run python -m jaxnets.data prepare {reference} --data-dir {root}"


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


def local_file(url: str, infos: Mapping[str, Any], manual: Path | None) -> Path | None:
    """The file of this address in the folder of manual downloads, verified.

    Args:
        url: Where its authors have it.
        infos: Address to what TFDS knows of it: `checksum`, a SHA-256.
        manual: The folder, if there is one.

    Returns:
        None if it is not there.

    Raises:
        DataError: If it has another SHA-256, or none is known.
    """
    name = url.rsplit("/", 1)[1]
    if manual is None or not (manual / name).is_file():
        return None
    if url not in infos:
        raise DataError(f"TFDS has no SHA-256 for {url}, so {name} cannot be verified")
    wanted = {infos[url].checksum, originals.SAME_CONTENT.get(name)}
    found = files.sha256(manual / name)
    if found not in wanted:
        raise DataError(
            f"{manual / name} is not the file that TFDS knows: its SHA-256 is {found}, "
            f"not {infos[url].checksum}. Download it again from {url}"
        )
    return manual / name


def require_connection(reference: Reference, root: Path, urls: list[str]) -> None:
    """Raises within seconds where a download would be tried again for minutes.

    Args:
        reference: The set.
        root: Where it would go.
        urls: What has to be downloaded; nothing is asked if there is nothing.

    Raises:
        DataError: If the first of them that is not there cannot be reached. The message
            names what works without a network, and how to prepare the set.
    """
    cached = _downloaded(root)
    needed = [url for url in urls if url not in cached]
    if not needed or connected(needed[0]):
        return
    host = needed[0].split("/")[2]
    names = ", ".join(url.rsplit("/", 1)[1] for url in needed)
    debian = (
        ". Debian's package dataset-fashion-mnist has them: name its folder, "
        "/usr/share/datasets/fashion-mnist, with --manual-dir"
        if reference.name == "fashion_mnist"
        else ""
    )
    raise DataError(
        f"{reference} is not in {root}, and {host} could not be reached within "
        f"{SECONDS:.0f} seconds. Without a network, these work: {_embedded()}. "
        f"Where there is one, run `{_command(reference, root)}` and name the folder "
        f"with --data-dir or TFDS_DATA_DIR; or put {names} into a folder and name that "
        f"with --manual-dir{debian}"
    )


def _downloaded(root: Path) -> set[str]:
    """Addresses whose files TFDS has downloaded and verified at an earlier attempt."""
    found: set[str] = set()
    for path in (root / "downloads").glob("**/*.INFO"):
        try:
            found |= set(files.read_json(path)["urls"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


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
