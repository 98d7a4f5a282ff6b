"""Data sets of the TFDS catalogue, read and where possible prepared without TensorFlow.

https://www.tensorflow.org/datasets (release 4.9). A set is found or prepared
(`preparing`), opened (`library`), its records become columns (`plans`), and these are
kept (`jaxnets.data.store`).
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, checked
from jaxnets.data.files.problems import noted
from jaxnets.data.pictures import ImageSpec, placement_of
from jaxnets.data.store import decoded, records
from jaxnets.data.store.album import Pictures
from jaxnets.data.store.entries import CacheEntry, Notes, Store
from jaxnets.data.store.looking import Keep, looked_at
from jaxnets.data.store.record_pictures import ImageField, PictureRecords
from jaxnets.data.store.shelf import Shelf
from jaxnets.data.tfds import catalogue, plans
from jaxnets.data.tfds.catalogue import FolderPath
from jaxnets.data.tfds.library import examples_of, opened
from jaxnets.data.tfds.preparing import prepare


def tfds_dataset(
    name: str,
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    size: int | None = None,
    label: str | None = None,
    keep: Keep = "auto",
) -> Dataset:
    """Any image-classification set of the catalogue: columns `image` and `label`.

    `cifar10` has 45,000 images to train on, 5,000 to validate on and 10,000 to test on.
    A set that is not there is prepared first, which may download it. Images are
    looked at once, as those of a folder are, and kept decoded in the folder of the set,
    or in the user's cache folder where that is read-only; a later start reads those.

    Splits: those called `train`, `validation` and `test`. Where there is no
    validation, a tenth of every class of the training split is held out, chosen by a
    hash of the position. Where there is a validation but no test with labels, the
    validation becomes the test and another is held out; where there is neither, a tenth
    becomes the test first. Other splits are not read. Mean and deviation are those
    of the training images that remain.

    Args:
        name: As TFDS knows it: `mnist`, `emnist/letters`, `imagenette/160px-v2`...
        data_dir: Where prepared sets are; by default `$TFDS_DATA_DIR`, or
            `~/tensorflow_datasets`.
        manual_dir: Where files are that were downloaded by hand.
        size: Cut the largest square from the middle of each image and scale it to this
            side, in pixels. By default images of one size stay as they are, others get
            160.
        label: Which label, where there are several: `coarse_label` of `cifar100`.
        keep: Keep decoded images on the disk, or decode them each time they are read;
            see `jaxnets.data.store.looking`.

    Raises:
        DataError: If the set is not there and cannot be prepared (the message says
            what to do), if it has no image or no label, or if anything is wrong in it.
    """
    planner = plans.labelled(label, size)
    options = {"kind": "labelled", "label": label, "size": size}
    return _dataset(name, planner, options, data_dir, manual_dir, keep=keep)


def tfds_captions(
    name: str = "coco_captions",
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    size: int | None = None,
    keep: Keep = "auto",
) -> Dataset:
    """Images with sentences: columns `image` and `captions`, a tuple of strings each.

    Splits and arguments are those of `tfds_dataset`; nothing is stratified. The ids are
    those of the source.

    Raises:
        DataError: As `tfds_dataset`.
    """
    options = {"kind": "captioned", "size": size}
    planner = plans.captioned(size)
    return _dataset(name, planner, options, data_dir, manual_dir, keep=keep)


def tfds_boxes(
    name: str,
    *,
    data_dir: FolderPath = None,
    manual_dir: FolderPath = None,
    size: int | None = None,
    fit: Literal["stretch", "pad"] = "stretch",
    keep: Keep = "auto",
) -> Dataset:
    """Images with boxes: `image`, `boxes`, `label`, `present`, `ignore`.

    `boxes` are [y0, x0, y1, x1] in pixels, `n` to an image, padded where `present` is
    False; `ignore` marks crowds and difficult objects. Images become squares. Splits
    and arguments are those of `tfds_dataset`.

    Args:
        name: `voc`, `voc/2012`, `coco/2017`.
        data_dir: As `tfds_dataset`.
        manual_dir: Likewise.
        size: Side in pixels, 160 by default.
        fit: How images become squares: stretched, as by Liu et al., "SSD", 2016, or
            with black bars.
        keep: As `tfds_dataset`.

    Raises:
        DataError: As `tfds_dataset`; and if a box is not ordered or not finite.
    """
    side = size if size is not None else plans.SIDE
    planner = plans.boxed(side, pad=fit == "pad")
    options: dict[str, Any] = {"kind": "boxed", "size": size}
    if fit == "pad":
        options["fit"] = fit
    return _dataset(name, planner, options, data_dir, manual_dir, keep=keep)


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
    return _dataset(name, planner, options, data_dir, manual_dir, keep="auto")


def _dataset(
    name: str,
    planner: plans.ColumnPlanner,
    options: Mapping[str, Any],
    data_dir: FolderPath,
    manual_dir: FolderPath,
    *,
    keep: Keep,
) -> Dataset:
    """Finds or prepares the set, decodes or reads what was decoded, and checks it."""
    folder = prepare(name, data_dir, manual_dir)
    fingerprint = catalogue.fingerprint(folder)

    def fill(store: Store) -> Notes:
        builder = opened(folder)
        plan = planner(name, dict(builder.info.features.items()))
        counts = {s: about.num_examples for s, about in builder.info.splits.items()}
        wanted = {"validation" if s == "val" else s: s for s in counts}
        wanted = {s: wanted[s] for s in ("train", "validation", "test") if s in wanted}
        if "train" not in wanted:
            raise DataError(f"{name} has no split `train`, only {list(counts)}")
        key = plan.picture.key if plan.picture else None
        sources = {s: examples_of(builder, own, key) for s, own in wanted.items()}
        notes = records.stored(store, sources, plan, name, say)
        return {**notes, "source": wanted}

    say = functools.partial(noted, name)
    source = {"files": fingerprint, "of": "records", **options}
    entry = decoded.decoded(folder, source, fill, name=name)
    for split in set(entry.notes["source"]).difference(entry.notes["parts"].values()):
        say(f"its split {split} has no labels, so it is left out")
    images: dict[str, Pictures] = {}
    if picture := records.picture_of(entry.notes):
        wanted = entry.notes["source"]
        stored = PictureRecords(
            entry.notes["lengths"],
            picture,
            lambda split: examples_of(opened(folder), wanted[split], picture.key),
        )
        about = {"files": fingerprint, "of": "pictures", **stored.about}
        home, hidden = decoded.homes_of(folder)
        shelf = Shelf([home, hidden], about, decoded.data_of(name, folder, hidden))
        album = looked_at(stored, name, shelf, shape=picture.shape, keep=keep, say=say)
        if bad := album.problems:
            raise DataError(
                f"{name}, {stored.names[min(bad)]}: the image {bad[min(bad)]} "
                f"({len(bad)} images cannot be decoded)"
            )
        images = {s: Pictures(album, stored.of(s)) for s in wanted}
        if picture.fit == "pad":
            entry = _moved(entry, images, picture)
    return checked(records.assembled(name, entry, images))


def _moved(
    entry: CacheEntry, images: Mapping[str, Pictures], picture: ImageField
) -> CacheEntry:
    """The entry with its boxes where the pixels of padded images went."""
    height, width, _ = picture.shape
    spec = ImageSpec((height, width), fit="pad")
    columns = dict(entry.columns)
    for split, rows in images.items():
        stretched = columns[f"{split}.boxes"][:]
        boxes = np.zeros_like(stretched)
        originals = rows.album.seen["original"][rows.positions].tolist()
        for made, given, (h, w) in zip(boxes, stretched, originals, strict=True):
            place = placement_of((h, w), spec)
            scale = [h * place.scale_y / height, w * place.scale_x / width] * 2
            shift = [place.shift_y, place.shift_x] * 2
            made[:] = given * np.array(scale) + shift
        absent = ~columns[f"{split}.present"][:]
        boxes[absent] = 0
        columns[f"{split}.boxes"] = boxes.clip(0, [height, width] * 2)
    return entry._replace(columns=columns)
