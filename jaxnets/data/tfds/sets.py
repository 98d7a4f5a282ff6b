"""Data sets of the TFDS catalogue, read and where possible prepared without TensorFlow.

https://www.tensorflow.org/datasets (release 4.9). The one module that imports
tensorflow_datasets, and only when a set is decoded or prepared: a set that was decoded
at an earlier start needs NumPy alone.
"""

import difflib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxnets.data.dataset import DataError, Dataset, checked
from jaxnets.data.files.reading import noted
from jaxnets.data.store import decoded, records
from jaxnets.data.tfds import catalogue, originals, plans
from jaxnets.data.tfds.catalogue import FolderPath
from jaxnets.data.tfds.tfrecord import TfRecords

STREAM_BYTES = 8 << 30  # pictures that would take more stay where they are


def tfds_dataset(
    name: str,
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    size: int | None = None,
    label: str | None = None,
    streamed: bool | None = None,
) -> Dataset:
    """Any image-classification set of the catalogue: columns `image` and `label`.

    `cifar10` has 45,000 images to train on, 5,000 to validate on and 10,000 to test on.
    A set that is not there is prepared first, which may download it. Images are
    decoded once into arrays of bytes beside the set, or in the user's cache folder
    where that is read-only; a later start reads those.

    Splits: those called `train`, `validation` and `test`. Where there is no
    validation, a tenth of every class of the training split is held out, chosen by a
    hash of the position. Where there is a validation but no test with labels, the
    validation becomes the test and another is held out; where there is neither, a tenth
    becomes the test first. Other splits are not read. Mean and deviation are those
    of the training images that remain, or of 1,024 of them where they are streamed.

    Args:
        name: As TFDS knows it: `mnist`, `emnist/letters`, `imagenette/160px-v2`...
        data_dir: Where prepared sets are; by default `$TFDS_DATA_DIR`, or
            `~/tensorflow_datasets`.
        manual_dir: Where files are that were downloaded by hand.
        size: Cut the largest square from the middle of each image and scale it to this
            side, in pixels. By default images of one size stay as they are, others get
            160.
        label: Which label, where there are several: `coarse_label` of `cifar100`.
        streamed: Decode images each time they are read. By default if they would take
            more than 8 GiB.

    Raises:
        DataError: If the set is not there and cannot be prepared (the message says
            what to do), if it has no image or no label, or if anything is wrong in it.
    """
    planner = plans.labelled(label, size)
    options = {"kind": "labelled", "label": label, "size": size}
    return _dataset(name, planner, options, data_dir, manual_dir, streamed=streamed)


def tfds_captions(
    name: str = "coco_captions",
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    size: int | None = None,
    streamed: bool | None = None,
) -> Dataset:
    """Images with sentences: columns `image` and `captions`, a tuple of strings each.

    Splits and arguments are those of `tfds_dataset`; nothing is stratified. The ids are
    those of the source.

    Raises:
        DataError: As `tfds_dataset`.
    """
    options = {"kind": "captioned", "size": size}
    planner = plans.captioned(size)
    return _dataset(name, planner, options, data_dir, manual_dir, streamed=streamed)


def tfds_boxes(
    name: str,
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    size: int | None = None,
    streamed: bool | None = None,
) -> Dataset:
    """Images with boxes: `image`, `boxes`, `label`, `present`, `ignore`.

    `boxes` are [y0, x0, y1, x1] in pixels, `n` to an image, padded where `present` is
    False; `ignore` marks crowds and difficult objects. Images are stretched to a
    square, as by Liu et al., "SSD", 2016. Splits and arguments are those of
    `tfds_dataset`.

    Args:
        name: `voc`, `voc/2012`, `coco/2017`.
        data_dir: As `tfds_dataset`.
        manual_dir: Likewise.
        size: Side in pixels, 160 by default.
        streamed: As `tfds_dataset`.

    Raises:
        DataError: As `tfds_dataset`; and if a box is not ordered or not finite.
    """
    planner = plans.boxed(size if size is not None else plans.SIDE)
    options = {"kind": "boxed", "size": size}
    return _dataset(name, planner, options, data_dir, manual_dir, streamed=streamed)


def tfds_text(
    name: str,
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    text: str | None = None,
    label: str | None = None,
) -> Dataset:
    """A column `text` of strings, and `label` where the set has one.

    `tiny_shakespeare` is one text a split: 1,003,854 characters to train on, 55,770
    each to validate and test on. Splits are those of `tfds_dataset`.

    Args:
        name: `tiny_shakespeare`, `imdb_reviews`, `glue/sst2`...
        data_dir: As `tfds_dataset`.
        manual_dir: Likewise.
        text: Which feature, where there are several.
        label: Likewise.

    Raises:
        DataError: As `tfds_dataset`.
    """
    options = {"kind": "written", "text": text, "label": label}
    planner = plans.written(text, label)
    return _dataset(name, planner, options, data_dir, manual_dir, streamed=False)


def _dataset(
    name: str,
    planner: plans.ColumnPlanner,
    options: Mapping[str, Any],
    data_dir: FolderPath,
    manual_dir: FolderPath,
    *,
    streamed: bool | None,
) -> Dataset:
    """Finds or prepares the set, decodes or reads what was decoded, and checks it."""
    folder = prepare(name, data_dir, manual_dir)
    fingerprint = catalogue.fingerprint(folder)

    def fill(store: decoded.Store) -> decoded.Notes:
        builder = _opened(folder)
        plan = planner(name, dict(builder.info.features.items()))
        counts = {s: about.num_examples for s, about in builder.info.splits.items()}
        wanted = {"validation" if s == "val" else s: s for s in counts}
        wanted = {s: wanted[s] for s in ("train", "validation", "test") if s in wanted}
        if "train" not in wanted:
            raise DataError(f"{name} has no split `train`, only {list(counts)}")
        key = plan.picture.key if plan.picture else None
        sources = {s: _source(builder, own, key) for s, own in wanted.items()}
        late = streamed
        if late is None and plan.picture is not None:
            h, w, c = plan.picture.shape
            late = sum(map(len, sources.values())) * h * w * c > STREAM_BYTES
        notes = records.stored(store, sources, plan, name, streamed=bool(late))
        return {**notes, "source": wanted}

    source = {"files": fingerprint, "streamed": streamed, **options}
    entry = decoded.decoded(folder, source, fill)
    for split in set(entry.notes["source"]).difference(entry.notes["parts"].values()):
        noted(name, f"its split {split} has no labels, so it is left out")

    def stream(split: str) -> Callable[[], records.Source]:
        own, key = entry.notes["source"][split], entry.notes["picture"][0]
        return lambda: _source(_opened(folder), own, key)

    return checked(records.assembled(name, entry, stream, fingerprint))


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
    registered = _registered(reference)
    how = catalogue.preparation(reference, root)
    infos = registered.url_infos or {}
    manual = Path(manual_dir).expanduser() if manual_dir is not None else None
    original = originals.original(reference.name, reference.config)
    if how == "tensorflow" or original is None:
        builder = _built(registered, reference, root)
        catalogue.require_connection(reference, root, list(infos)[:1])
        return _prepared(builder, reference, root, manual)
    local = {url: catalogue.local_file(url, infos, manual) for url in original.urls}
    missing = [url for url, path in local.items() if path is None]

    def examples(downloads: Any) -> originals.Examples:
        fetched = downloads.download({url: url for url in missing})
        paths = {url: local[url] or Path(fetched[url]) for url in local}
        return original.read({url.rsplit("/", 1)[1]: p for url, p in paths.items()})

    builder = _built(_ours(registered, examples), reference, root)
    catalogue.require_connection(reference, root, missing)
    return _prepared(builder, reference, root, manual)


@functools.cache
def _library() -> Any:
    import tensorflow_datasets as tfds

    return tfds


def _opened(folder: Path) -> Any:
    """TFDS' description of a prepared set, read from its folder."""
    try:
        return _library().builder_from_directory(folder)
    except Exception as error:
        raise DataError(
            f"{folder} cannot be read ({type(error).__name__}: {error}). Remove it and "
            "prepare the data set again"
        ) from error


def _source(builder: Any, split: str, picture: str | None) -> records.Source:
    """The examples of a split, with the picture still encoded."""
    kept = {picture: _library().decode.SkipDecoding()} if picture else None
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


def _registered(reference: catalogue.Reference) -> Any:
    """The class that builds a set of this name."""
    tfds = _library()
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


def _ours(registered: Any, examples: Callable[[Any], originals.Examples]) -> Any:
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


def _built(builder_class: Any, reference: catalogue.Reference, root: Path) -> Any:
    """The builder of a variant and version.

    Raises:
        DataError: If there is no such variant or version.
    """
    options = {"config": reference.config, "version": reference.version}
    try:
        return builder_class(data_dir=root, **options)
    except Exception as error:  # an AssertionError or a ValueError, by what is wrong
        raise DataError(f"TFDS has no {reference}: {error}") from error


def _prepared(
    builder: Any,
    reference: catalogue.Reference,
    root: Path,
    manual: Path | None,
) -> Path:
    """Runs a builder; its folder appears when everything is in it."""
    config = _library().download.DownloadConfig(
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
