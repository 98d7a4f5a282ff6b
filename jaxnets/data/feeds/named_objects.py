"""Images with annotated objects by what a command line says: a name or a folder."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.files.folder import KINDS, kind_of
from jaxnets.data.files.problems import left_out, refuse_skipping, say_built_in
from jaxnets.data.files.reading import given_path, is_path
from jaxnets.data.files.voc import FirstPixel
from jaxnets.data.pictures import Fit, height_and_width
from jaxnets.data.shapes.crowded import crowded_shapes
from jaxnets.data.shapes.dataset import shapes
from jaxnets.data.shapes.segments import SegmentMasks
from jaxnets.data.store.looking import Keep
from jaxnets.data.tfds import catalogue, preparing

# Nothing is downloaded for these.
EMBEDDED: dict[str, Callable[..., Dataset]] = {
    "shapes": shapes,
    "shapes/crowded": crowded_shapes,
}
FOLDERS = {"coco": "COCO", "voc": "VOC", "yolo": "YOLO", "masks": "images and masks"}
_SIDE = 64  # of generated images
_LARGEST = 2**36  # bytes of generated images, which are in memory at once


def named_objects(
    name: str,
    *,
    data_dir: Path | None = None,
    size: Sequence[int] = (),
    fit: Fit | None = None,
    masks: bool = False,
    generated: int = 10_000,
    label: str = "object",
    first_pixel: FirstPixel = 1,
    skip_bad: bool = False,
    keep: Keep = "auto",
) -> Dataset:
    """The images with boxes that go by this name; never others in their place.

    Args:
        name: One of `EMBEDDED`; or the path of a folder in the format of COCO, VOC or
            YOLO, or of images with mask images (the format is recognised by its files;
            `./` in front tells a folder from a set of that name); or a set of TFDS
            (`voc`, `coco/2017`).
        data_dir: Where prepared TFDS sets are.
        size: Height and width in pixels, or the side of a square, of every image. By
            default those of a folder keep theirs and must agree, `shapes` have 64, and
            sets of TFDS 160.
        fit: How images reach a size; boxes and masks follow. None: "pad".
        masks: Also a column `masks`.
        generated: How many generated images there are to train on.
        label: Name of the one class of images with mask images.
        first_pixel: How boxes of VOC's format count; see `voc_folder`.
        skip_bad: Leave bad images of a folder out, with a warning that counts them.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.

    Returns:
        Columns `image` (uint8), `boxes` ([y0, x0, y1, x1] in pixels), `label`,
        `present` (False is padding), `ignore` (crowds, difficult ones), for n objects
        each, perhaps `masks` of `[n, h, w]`; of generated sets also all that is known.

    Raises:
        DataError: If there is no such set, it has no boxes or masks, or anything is
            wrong with it; if an option does not go with it.
    """
    shape = height_and_width(size)
    if shape is None and fit is not None:
        raise DataError(f"--fit {fit} says how images reach a size: give --size, too")
    if name not in EMBEDDED and is_path(name):
        path = given_path(name)
        catalogue.refuse_ambiguity(name, data_dir)
        options = {"size": shape, "fit": fit or "pad", "skip_bad": skip_bad}
        return _folder(
            path,
            {**options, "keep": keep},
            masks=masks,
            label=label,
            first_pixel=first_pixel,
        )
    refuse_skipping(name, skip_bad=skip_bad)
    if shape is not None and shape[0] != shape[1]:
        raise DataError(f"{name}: images are squares: give --size one number")
    if name in EMBEDDED:
        say_built_in(name)
        side = shape[0] if shape else _SIDE
        if (taken := generated * side**2 * 3) > _LARGEST:
            raise DataError(
                f"--generated {generated:,} images of --size {side} take {taken:,} "
                f"bytes of memory; at most {_LARGEST:,} are allowed"
            )
        return _annotated(EMBEDDED[name](side=side, train=generated), masks=masks)
    if kind := preparing.EMBEDDED.get(name):
        raise DataError(
            f"{name} is {kind}, not objects with boxes as {', '.join(EMBEDDED)} are"
        )
    if masks:
        raise DataError(
            f"{name}: sets of TFDS are read with boxes only; for masks give a folder "
            "in the format of COCO, or of images beside masks"
        )
    if fit == "crop":
        raise DataError(
            f"{name}: images of TFDS sets are not cut: use --fit pad or --fit stretch"
        )
    from jaxnets.data.tfds.sets import tfds_boxes

    side = shape and shape[0]
    fitted = {"size": side, "fit": fit or "pad", "keep": keep}
    return _without_empty(tfds_boxes(name, data_dir=data_dir, **fitted))


def _folder(
    path: Path,
    options: dict[str, Any],
    *,
    masks: bool,
    label: str,
    first_pixel: FirstPixel,
) -> Dataset:
    """The data set of a folder, whose format is recognised by its files.

    Raises:
        DataError: If it is no set of objects, or has no masks and these are asked for.
    """
    kind = kind_of(path)
    if kind not in FOLDERS:
        raise DataError(
            f"{path} looks like {kind}, which has no boxes: give a folder in the "
            f"format of {', '.join(FOLDERS.values())}"
        )
    if kind == "voc":
        if masks:
            raise DataError(f"{path} is in the format of VOC, which has boxes only")
        return KINDS[kind](path, first_pixel=first_pixel, **options)
    named = {"label": label} if kind == "masks" else {}
    return KINDS[kind](path, masks=masks, **named, **options)


def _annotated(dataset: Dataset, *, masks: bool) -> Dataset:
    """Generated scenes with `ignore`, and with `masks` that are read from segments."""
    most, image = len(dataset.train.columns["present"][0]), dataset.features["image"]
    features = {**dataset.features, "ignore": Feature((most,), "bool")}
    if masks:
        features["masks"] = Feature((most, *image.shape[:2]), "bool")
    splits = {}
    for name, split in dataset.splits.items():
        columns = dict(split.columns)
        columns["ignore"] = np.zeros_like(columns["present"])
        if masks:
            columns["masks"] = SegmentMasks(np.asarray(columns["segments"]), most)
        splits[name] = Split(columns, split.ids)
    return dataclasses.replace(dataset, features=features, **splits)


def _without_empty(dataset: Dataset) -> Dataset:
    """The data set without boxes that have no area; COCO has some.

    Their images stay: a user cannot correct the files of TFDS.
    """
    splits = {}
    for name, split in dataset.splits.items():
        boxes, present = (np.asarray(split.columns[k]) for k in ("boxes", "present"))
        sound = np.all(boxes[..., :2] < boxes[..., 2:], axis=-1)
        count = int((present & ~sound).sum())
        left_out(
            f"{dataset.name}, {name}",
            count,
            int(present.sum()),
            "boxes have no area",
            "their images stay",
        )
        columns = dict(split.columns)
        if count:
            columns["present"] = present & sound
            columns["boxes"] = np.where(sound[..., None], boxes, np.float32(0))
        splits[name] = Split(columns, split.ids, split.known)
    return dataclasses.replace(dataset, **splits)
