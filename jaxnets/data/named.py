"""Image-classification sets by what a command line says: a name or a folder."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.problems import say_built_in
from jaxnets.data.files.reading import given_path, is_path
from jaxnets.data.generated.digits import FOLDS, digits
from jaxnets.data.generated.glyphs import glyphs
from jaxnets.data.pictures import (
    Fit,
    ImageSpec,
    channel_statistics,
    height_and_width,
    resized,
)
from jaxnets.data.store.looking import Keep
from jaxnets.data.tfds import catalogue, preparing

# Nothing is downloaded for these. `digits/2` has another fifth of digits as test split.
EMBEDDED: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "glyphs": glyphs,
    **{f"digits/{i}": functools.partial(digits, fold=i) for i in range(FOLDS)},
}


def labelled_images(
    name: str,
    *,
    data_dir: Path | None = None,
    size: Sequence[int] = (),
    fit: Fit = "crop",
    fewest: int = 1,
    skip_bad: bool = False,
    keep: Keep = "auto",
) -> Dataset:
    """The labelled images that go by this name; never others in their place.

    Args:
        name: One of `EMBEDDED`; or the path of a folder `class/name.png`, where `./` in
            front tells it from a set of that name; or a set of TFDS (`cifar10`).
        data_dir: Where prepared TFDS sets are.
        size: Height and width in pixels, or the side of a square, of every image; by
            default images keep theirs, and must agree.
        fit: How another size is reached; see `images.ImageSpec`.
        fewest: Classes that there must be.
        skip_bad: Leave bad files of a folder out, with a warning that counts them.
        keep: Keep decoded images on the disk, or decode them each time they are read;
            by default they are kept if they are few (`jaxnets.data.store.looking`).

    Raises:
        DataError: If there is no such set, or it is damaged, or it would have to be
            downloaded and cannot be; if a TFDS set is to be fitted other than by
            cutting squares, or bad examples are to be left out where there is no file.
    """
    shape = height_and_width(size)
    if shape is None and fit != "crop":
        raise DataError(f"--fit {fit} says how images reach a size: give --size, too")
    if name not in EMBEDDED and is_path(name):
        path = given_path(name)
        catalogue.refuse_ambiguity(name, data_dir)
        from jaxnets.data.files.class_folders import image_folder

        options = {"fewest": fewest, "skip_bad": skip_bad, "keep": keep}
        return image_folder(path, size=shape, fit=fit, **options)
    if skip_bad:
        raise DataError(f"--skip-bad leaves out files of a folder; {name} is none")
    if name in EMBEDDED:
        say_built_in(name)
        return _fitted(EMBEDDED[name](), shape, fit)
    if kind := preparing.EMBEDDED.get(name):
        raise DataError(
            f"{name} is {kind}, not labelled images as {', '.join(EMBEDDED)} are"
        )
    if shape is not None and (shape[0] != shape[1] or fit != "crop"):
        raise DataError(
            f"{name}: images of TFDS sets are cut to squares: give --size one number, "
            "with --fit crop"
        )
    from jaxnets.data.tfds.sets import tfds_dataset

    return tfds_dataset(name, data_dir=data_dir, size=shape and shape[0], keep=keep)


def _fitted(dataset: Dataset, shape: tuple[int, int] | None, fit: Fit) -> Dataset:
    """The data set with its images at another size."""
    feature = dataset.features["image"]
    if shape is None or feature.shape[:2] == shape:
        return dataset
    changed = {
        split: dataclasses.replace(
            rows,
            columns={
                **rows.columns,
                "image": resized(rows.columns["image"][:], ImageSpec(shape, fit=fit)),
            },
        )
        for split, rows in dataset.splits.items()
    }
    mean, std = channel_statistics(np.asarray(changed["train"].columns["image"]))
    image = dataclasses.replace(feature, shape=(*shape, feature.shape[2]))
    features = {**dataset.features, "image": image}
    return dataclasses.replace(
        dataset, features=features, mean=mean, std=std, **changed
    )
