"""Preparing a set of the TFDS catalogue, where that can be done.

The way from a name to a folder, once from top to bottom: is it there; is there a set
of that name; what does it take; is that here, or can it be fetched; build it.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.tfds import catalogue, originals
from jaxnets.data.tfds.catalogue import FolderPath, Reference
from jaxnets.data.tfds.connection import SECONDS, connected
from jaxnets.data.tfds.library import built, library, registered, with_reader

# What works without any download, each where its kind of data is asked for.
EMBEDDED = {
    "digits": "labelled images",
    "glyphs": "labelled images",
    "shapes": "captions and boxes",
    "shapes/crowded": "boxes",
    "dates": "pairs of sentences",
    "corpus": "text",
}


def prepare(
    name: str, data_dir: FolderPath = None, manual_dir: FolderPath = None
) -> Path:
    """The folder of a prepared set; prepares it, if it is not there yet.

    Whether that can work is decided before anything is downloaded. Every download must
    have the SHA-256 that TFDS has for it.

    Args:
        name: As TFDS knows it.
        data_dir: Where prepared sets are; by default `$TFDS_DATA_DIR`, or
            `~/tensorflow_datasets`.
        manual_dir: Where files are that were downloaded by hand; they are looked for
            under the names that their authors gave them. For `fashion_mnist` the folder
            of the Debian package dataset-fashion-mnist will do.

    Raises:
        DataError: If it cannot be prepared; the message says what can be done.
    """
    reference = catalogue.parsed(name)
    root = catalogue.root_folder(data_dir)
    if (found := catalogue.find(reference, root)) is not None:
        return found
    # First: a typing error is answered by what it may mean, not by how to prepare it.
    builder_class = registered(reference)
    how = preparation(reference, root)
    infos = builder_class.url_infos or {}
    manual = Path(manual_dir).expanduser() if manual_dir is not None else None
    original = originals.original(reference.name, reference.config)
    if how == "tensorflow" or original is None:
        builder = built(builder_class, reference, root)
        require_connection(reference, root, list(infos)[:1])
        return _run(builder, reference, root, manual)
    local = {url: local_file(url, infos, manual) for url in original.urls}
    missing = [url for url, path in local.items() if path is None]

    def examples(downloads: Any) -> originals.Examples:
        fetched = downloads.download({url: url for url in missing})
        paths = {url: local[url] or Path(fetched[url]) for url in local}
        return original.read({url.rsplit("/", 1)[1]: p for url, p in paths.items()})

    builder = built(with_reader(builder_class, examples), reference, root)
    require_connection(reference, root, missing)
    return _run(builder, reference, root, manual)


def _run(
    builder: Any,
    reference: Reference,
    root: Path,
    manual: Path | None,
) -> Path:
    """Runs a builder; its folder appears when everything is in it."""
    config = library().download.DownloadConfig(
        manual_dir=manual,
        try_download_gcs=False,  # what is there is stored as tfrecord
        force_checksums_validation=True,
    )
    try:
        builder.download_and_prepare(download_config=config, file_format="array_record")
    except DataError:
        raise
    except Exception as error:
        # Another process may have prepared it in the meantime.
        if (found := catalogue.find(reference, root)) is not None:
            return found
        raise DataError(
            f"{reference} could not be prepared in {root}: {type(error).__name__}: "
            f"{error}"
        ) from error
    found = catalogue.find(reference, root)
    if found is None:
        raise DataError(f"{reference} was prepared, but is not in {root}")
    return found


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
    """What works without any download, for a message."""
    return ", ".join(f"{name} ({kind})" for name, kind in EMBEDDED.items())


def _command(reference: Reference, root: Path) -> str:
    """What prepares a set, for a message."""
    return f"uv run python -m jaxnets.data prepare {reference} --data-dir {root}"


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
