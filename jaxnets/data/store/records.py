"""Examples of a source become columns: an album of pictures, the rest packed.

A source gives an example as a dictionary with the picture still encoded. A `ColumnPlan`
says which feature is the picture and how the rest of a record becomes columns.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature, Split, Texts, carved
from jaxnets.data.store.album import Pictures
from jaxnets.data.store.entries import CacheEntry, Notes, Store
from jaxnets.data.store.looking import in_memory
from jaxnets.data.store.progress import progress
from jaxnets.data.store.record_pictures import ImageField, Source

HELD_OUT = 0.1  # of the training examples, where a source has no validation or test
_CHUNK = 512  # records read at a time


class Packed(NamedTuple):
    """What is known of the examples besides their pictures."""

    columns: Mapping[str, Mapping[str, Any]]  # split, name: an array, or a list of text
    features: Mapping[str, Feature]
    strata: Mapping[str, np.ndarray]  # split: what a carved part keeps the shares of


class ColumnPlan(NamedTuple):
    """How records become columns."""

    picture: ImageField | None
    annotate: Callable[[Mapping[str, Any]], Any]  # a record's rest, whatever packs it
    pack: Callable[[Mapping[str, list[Any]]], Packed]


def stored(
    store: Store,
    sources: Mapping[str, Source],
    plan: ColumnPlan,
    name: str,
    say: Callable[[str], None],
) -> Notes:
    """Reads all records once, writes what is said of them, and returns notes.

    Args:
        store: Where the columns go; pictures are no part of them.
        sources: By split: `train`, and `validation` and `test` where there are.
        plan: How records become columns.
        name: Of the data set.
        say: Takes a line now and then where there is no terminal.

    Raises:
        DataError: If there is no training split with labels.
    """
    said: dict[str, list[Any]] = {split: [] for split in sources}
    total = sum(map(len, sources.values()))
    with progress(name, "reading records", total, "record", say) as advance:
        for split, source in sources.items():
            for start in range(0, len(source), _CHUNK):
                keys = list(range(start, min(start + _CHUNK, len(source))))
                said[split] += [plan.annotate(r) for r in source.__getitems__(keys)]
                advance(len(keys))
    packed = plan.pack(said)
    parts = arranged(packed.strata, name)
    for split, columns in packed.columns.items():
        for column, rows in columns.items():
            store.save(
                f"{split}.{column}",
                rows if isinstance(rows, np.ndarray) else _json(rows),
            )
    for part, (_, rows) in parts.items():
        store.save(f"{part}.rows", rows)
    return {
        "parts": {part: split for part, (split, _) in parts.items()},
        "features": {n: dataclasses.asdict(f) for n, f in packed.features.items()},
        "lengths": {split: len(source) for split, source in sources.items()},
        "picture": plan.picture,
    }


def picture_of(notes: Notes) -> ImageField | None:
    """The picture that `stored` noted, if there is one."""
    if notes["picture"] is None:
        return None
    key, shape, fit = notes["picture"]
    return ImageField(key, tuple(shape), fit)


def arranged(
    strata: Mapping[str, np.ndarray], name: str
) -> dict[str, tuple[str, np.ndarray]]:
    """Which rows of which stored split are train, validation and test.

    A source without validation has a tenth of its training rows held out, by a hash of
    the position and stratified; with a validation but no test, that becomes the test;
    with neither, a tenth becomes the test first.

    Args:
        strata: Split to one integer an example; a split where all are -1 is unlabelled
            and counts as absent.
        name: Of the data set; salts the hash.

    Raises:
        DataError: If there is no training split.
    """
    whole = {s: np.arange(len(v)) for s, v in strata.items() if (v != -1).any()}
    if "train" not in whole:
        raise DataError(f"{name} has no split `train` with labels, only {list(strata)}")
    train = whole["train"]
    if "test" in whole:
        test = ("test", whole["test"])
    elif "validation" in whole:
        test = ("validation", whole["validation"])
    else:
        keep, hold = carved(strata["train"], HELD_OUT, salt=f"{name} test")
        test, train = ("train", train[hold]), train[keep]
    if "test" in whole and "validation" in whole:
        validation = ("validation", whole["validation"])
    else:
        labels = strata["train"][train]
        keep, hold = carved(labels, HELD_OUT, salt=f"{name} validation")
        validation, train = ("train", train[hold]), train[keep]
    return {"train": ("train", train), "validation": validation, "test": test}


def assembled(name: str, entry: CacheEntry, images: Mapping[str, Pictures]) -> Dataset:
    """The data set in an entry that `stored` wrote.

    Args:
        name: Of the data set.
        entry: What was stored.
        images: By split, where there are pictures.
    """
    notes = entry.notes
    features = {n: _feature(about) for n, about in notes["features"].items()}
    splits: dict[str, Split] = {}
    for part, split in notes["parts"].items():
        columns: dict[str, Any] = {}
        for column, feature in features.items():
            rows = entry.columns.get(f"{split}.{column}")
            if rows is None:
                rows = images[split]
            elif feature.dtype == "object":
                data = rows[:].tobytes()
                texts = [
                    tuple(t) if isinstance(t, list) else t for t in json.loads(data)
                ]
                rows = Texts(texts, hashlib.sha256(data).hexdigest())
            columns[column] = rows
        named = entry.columns.get(f"{split}.ids")
        ids = None if named is None else json.loads(named[:].tobytes())
        whole = Split(columns, ids)
        index = entry.columns[f"{part}.rows"][:]
        splits[part] = whole if len(index) == len(whole) else whole.take(index)
    return in_memory(
        Dataset(name, features, splits["train"], splits["validation"], splits["test"])
    )


def _feature(about: Mapping[str, Any]) -> Feature:
    return Feature(
        **{**about, "shape": tuple(about["shape"]), "classes": tuple(about["classes"])}
    )


def _json(rows: Sequence[Any]) -> np.ndarray:
    """Text as bytes of JSON, which needs no pickle."""
    return np.frombuffer(json.dumps(list(rows)).encode(), np.uint8)
