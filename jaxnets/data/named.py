"""Image-classification sets by what a command line says: a name or a folder."""

import functools
from collections.abc import Callable
from pathlib import Path

from jaxnets.data import catalogue
from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.digits import FOLDS, digits
from jaxnets.data.glyphs import glyphs

# Nothing is downloaded for these. `digits/2` has another fifth of digits as test split.
EMBEDDED: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "glyphs": glyphs,
    **{f"digits/{i}": functools.partial(digits, fold=i) for i in range(FOLDS)},
}


def labelled_images(name: str, *, data_dir: Path | None = None) -> Dataset:
    """The labelled images that go by this name; never others in their place.

    Args:
        name: One of `EMBEDDED`; or the path of a folder `class/name.png`, with a slash
            in it; or what TFDS calls a set (`cifar10`).
        data_dir: Where prepared TFDS sets are.

    Raises:
        DataError: If there is no such set, or it is damaged, or it would have to be
            downloaded and cannot be.
    """
    if name in EMBEDDED:
        return EMBEDDED[name]()
    if "/" in name and (name.startswith(("/", ".", "~")) or Path(name).exists()):
        from jaxnets.data.folder import image_folder

        return image_folder(Path(name).expanduser())
    if kind := catalogue.EMBEDDED.get(name):
        raise DataError(
            f"{name} is {kind}, not labelled images as {', '.join(EMBEDDED)} are"
        )
    from jaxnets.data.tfds import tfds_dataset

    return tfds_dataset(name, data_dir=data_dir)
