"""The TFDS library itself: descriptions, examples by position, building.

The one module that imports tensorflow_datasets, and only when a set is decoded or
prepared: a set that was decoded at an earlier start needs NumPy alone.
"""

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxnets.data.dataset import DataError
from jaxnets.data.store import records
from jaxnets.data.tfds import catalogue, originals
from jaxnets.data.tfds.tfrecord import TfRecords


@functools.cache
def library() -> Any:
    """The module tensorflow_datasets, imported at the first call."""
    import tensorflow_datasets as tfds

    return tfds


def opened(folder: Path) -> Any:
    """TFDS' description of a prepared set, read from its folder.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return library().builder_from_directory(folder)
    except Exception as error:
        raise DataError(
            f"{folder} cannot be read ({type(error).__name__}: {error}). Remove it and "
            "prepare the data set again"
        ) from error


def examples_of(builder: Any, split: str, picture: str | None) -> records.Source:
    """The examples of a split, with the picture still encoded.

    Args:
        builder: What `opened` returns.
        split: As the set calls it.
        picture: The feature that is the picture, if there is one.

    Raises:
        DataError: If they are stored in a format without access by position.
    """
    kept = {picture: library().decode.SkipDecoding()} if picture else None
    written = builder.info.file_format.value
    if written == "array_record":
        return builder.as_data_source(split, decoders=kept)
    if written == "tfrecord":
        about = builder.info.splits[split]
        parse = functools.partial(
            builder.info.features.deserialize_example_np, decoders=kept
        )
        paths = [Path(path) for path in about.filepaths]
        return TfRecords(paths, about.shard_lengths, parse)
    raise DataError(
        f"{builder.data_dir} is stored as {written}, which has no access by position: "
        "remove it and prepare it again, or have it prepared as array_record"
    )


def registered(reference: catalogue.Reference) -> Any:
    """The class that builds a set of this name.

    Raises:
        DataError: If TFDS has none; with the names that are near.
    """
    tfds = library()
    # Asked first: for an unknown name TFDS goes to the network, through TensorFlow.
    known = tfds.list_builders(with_community_datasets=False)
    if reference.name not in known:
        near = difflib.get_close_matches(reference.name, known)
        hint = f": did you mean {', '.join(near)}?" if near else ""
        raise DataError(
            f"TFDS knows no data set {reference.name!r}, and no folder here has that "
            f"name{hint}"
        )
    return tfds.builder_cls(reference.name)


def with_reader(registered: Any, examples: Callable[[Any], originals.Examples]) -> Any:
    """The same class, with the one method that every builder supplies ours."""

    def split_generators(self: Any, dl_manager: Any) -> Mapping[str, Iterator[Any]]:
        made = examples(dl_manager)
        for label, names in made.classes.items():
            self.info.features[label].names = names
        return made.splits

    body = {
        "name": registered.name,
        # Where TFDS looks for checksums and descriptions.
        "__module__": registered.__module__,
        "_split_generators": split_generators,
    }
    make = functools.partial(type(registered), skip_registration=True)
    return make(registered.__name__, (registered,), body)


def built(builder_class: Any, reference: catalogue.Reference, root: Path) -> Any:
    """The builder of a variant and version.

    Raises:
        DataError: If there is no such variant or version.
    """
    options = {"config": reference.config, "version": reference.version}
    try:
        return builder_class(data_dir=root, **options)
    except Exception as error:  # an AssertionError or a ValueError, by what is wrong
        raise DataError(f"TFDS has no {reference}: {error}") from error
