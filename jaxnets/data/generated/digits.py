"""Handwritten digits: 1,797 real scans of 8x8 pixels, shipped with scikit-learn.

Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning
Repository, 1998, https://doi.org/10.24432/C50P49 (its test part). The strokes were
scanned at 32x32 and counted in blocks of 4x4, so a pixel is one of 17 greys.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from jaxnets.data.dataset import (
    DataError,
    Dataset,
    Feature,
    Split,
    carved,
    stratified_ranks,
)
from jaxnets.data.pictures import channel_statistics

FOLDS = 5


def digits(*, fold: int = 0) -> Dataset:
    """About 1,294 images to train on, 144 to validate on, 359 to test on; no download.

    The five folds are fixed and stratified; each image is in the test split of exactly
    one of them.

    Args:
        fold: Which fifth is the test split, 0 to 4.

    Raises:
        DataError: If there is no such fold.
    """
    if fold not in range(FOLDS):
        raise DataError(f"digits has folds 0 to {FOLDS - 1}, not {fold}")
    images, labels = _scans()
    names = [str(i) for i in range(len(labels))]
    everything = Split({"image": images, "label": labels}, names)

    in_test = stratified_ranks(labels, salt="digits folds") % FOLDS == fold
    test, others = np.flatnonzero(in_test), np.flatnonzero(~in_test)
    keep, hold = carved(labels[others], 0.1, salt="digits validation")
    mean, std = channel_statistics(images[others[keep]])
    return Dataset(
        name="digits",
        features={
            "image": Feature((8, 8, 1), "uint8", 0, 255),
            "label": Feature((), "int32", 0, 9, tuple("0123456789")),
        },
        train=everything.take(others[keep]),
        validation=everything.take(others[hold]),
        test=everything.take(test),
        mean=mean,
        std=std,
    )


def _scans() -> tuple[np.ndarray, np.ndarray]:
    """All images, `[1797, 8, 8, 1]` bytes, and their labels.

    The table is read from where scikit-learn keeps it: importing the library for it
    would cost two seconds a start.

    Raises:
        DataError: If it is not there.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = spec.submodule_search_locations if spec else None
    path = Path(next(iter(folders or [""]))) / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError("digits come with scikit-learn, which is not installed")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",")
    images = np.round(table[:, :-1] * (255 / 16)).astype(np.uint8)
    return images.reshape(-1, 8, 8, 1), table[:, -1].astype(np.int32)
