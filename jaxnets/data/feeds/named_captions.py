"""Captioned images by what a command line says: a name, a folder or a file."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, UInt8

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.caption_folders import captioned_folder
from jaxnets.data.files.problems import say_built_in
from jaxnets.data.files.reading import given_path, is_path
from jaxnets.data.shapes.dataset import captions_of, shapes
from jaxnets.data.store.looking import Keep
from jaxnets.data.tfds import preparing

CaptionTexts = Sequence[tuple[str, ...]]
Encode = Callable[[UInt8[np.ndarray, "b h w c"]], Float[Array, "b *grid d"]]


class Captions(NamedTuple):
    """Images, and the sentences about each of them."""

    dataset: Dataset  # with `image`, and whatever else is known of it
    texts: Mapping[str, CaptionTexts]  # by split; one tuple an image
    pictures: Dataset  # the images themselves, where `dataset` has features
    encode: Encode | None = None  # what made the features


_LARGEST = 2**36  # bytes of generated images, which are in memory at once


def _refuse_too_many(generated: int, side: int) -> None:
    if (size := generated * side**2 * 3) > _LARGEST:
        raise DataError(
            f"--generated {generated:,} images of --side {side} take {size:,} bytes of "
            f"memory; at most {_LARGEST:,} are allowed"
        )


def _refuse_flags_of_files(file: str | None, *, skip_bad: bool) -> None:
    given = ["--captions"] * (file is not None) + ["--skip-bad"] * skip_bad
    if given:
        raise DataError(
            f"{' and '.join(given)}: for files of a folder, but `shapes` is generated; "
            f"leave out {' and '.join(given)}, or give a folder by --data ./FOLDER"
        )


def named_captions(
    name: str,
    side: int,
    file: str | None = None,
    generated: int = 10_000,
    *,
    skip_bad: bool = False,
    keep: Keep = "auto",
) -> Captions:
    """The captioned images that go by this name.

    Args:
        name: `shapes`, or the path of a folder as `captioned_folder` reads it.
        side: Pixels along each edge that images are brought to.
        file: The list of captions in that folder, if there are several.
        generated: How many images of `shapes` there are to train on.
        skip_bad: Leave out images and captions of a folder that cannot be used.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.

    Raises:
        DataError: If there is no such set, or anything is wrong with it; also if
            `shapes` comes with what a folder alone has.
    """
    if name == "shapes":
        _refuse_flags_of_files(file, skip_bad=skip_bad)
        say_built_in(name)
        _refuse_too_many(generated, side)
        data = shapes(side=side, train=generated)
        texts = {n: captions_of(s) for n, s in data.splits.items()}
        return Captions(data, texts, data)
    if name in preparing.EMBEDDED and not is_path(name):
        raise DataError(
            f"{name} is {preparing.EMBEDDED[name]}, not captions as `shapes` has"
        )
    data = captioned_folder(
        given_path(name), file, size=(side, side), skip_bad=skip_bad, keep=keep
    )
    texts = {n: list(s.columns["captions"][:]) for n, s in data.splits.items()}
    return Captions(data, texts, data)
