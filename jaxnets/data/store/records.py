"""Stored examples become columns: pictures decoded once, what is said of them packed.

A source gives an example as a dictionary with the picture still encoded. A `ColumnPlan`
says which feature is the picture and how the rest of a record becomes columns.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature, Split, Texts, carved
from jaxnets.data.pictures import channel_statistics, histogram, moments
from jaxnets.data.store.decoded import CacheEntry, Notes, Store

HELD_OUT = 0.1  # of the training examples, where a source has no validation or test
_CHUNK = 512  # records read at a time
_SAMPLE = 1024  # training pictures whose mean and deviation stand for streamed ones
_SMALL = (
    8192  # bytes of an encoded picture, below which threads cost more than they give
)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@runtime_checkable
class Source(Protocol):
    """Examples by position, as `tfds.data_source` gives them."""

    def __len__(self) -> int: ...

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[Any]: ...


class ImageField(NamedTuple):
    """Which feature of a record is the image, and the size that it is brought to."""

    key: str
    shape: tuple[int, int, int]  # height, width, channels of every row
    fit: Literal["whole", "crop", "stretch"]  # whole: it has that size already


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


@dataclasses.dataclass(frozen=True)
class Streamed:
    """A column of pictures, read and decoded by threads when asked.

    Attributes:
        open: Opens the source; called at the first row that is asked for.
        length: How many pictures there are.
        picture: What becomes of them.
        where: Names the place in messages.
        digest: Of the files they are in.
    """

    open: Callable[[], Source]
    length: int
    picture: ImageField
    where: str
    digest: str

    def __len__(self) -> int:
        """How many pictures there are."""
        return self.length

    @functools.cached_property
    def _source(self) -> Source:
        return self.open()

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """The pictures at these positions, `[*index.shape, h, w, c]`, uint8.

        Raises:
            DataError: If one cannot be decoded.
        """
        chosen = np.arange(self.length)[index]
        keys = [int(i) for i in chosen.reshape(-1)]
        records = self._source.__getitems__(keys) if keys else []
        encoded = [record[self.picture.key] for record in records]
        rows, bad = pictures(encoded, self.picture)
        if bad:
            first = min(bad)
            raise DataError(f"{self.where}: the image of {keys[first]} {bad[first]}")
        return rows.reshape(*chosen.shape, *self.picture.shape)


def pictures(
    encoded: Sequence[bytes], picture: ImageField
) -> tuple[np.ndarray, dict[int, str]]:
    """Decoded pictures, and what was wrong with those that could not be.

    Args:
        encoded: PNG, JPEG or what else Pillow reads.
        picture: What they become.

    Returns:
        `[n, h, w, c]` uint8, zeros where a picture is bad; position to reason.
    """
    rows = np.zeros((len(encoded), *picture.shape), np.uint8)
    bad: dict[int, str] = {}

    def decode(i: int) -> None:
        try:
            rows[i] = _pixels(encoded[i], picture)
        # Decoders meet damage with a dozen types of exception; none may end the count.
        except Exception as error:
            bad[i] = f"cannot be decoded ({type(error).__name__}: {error})"

    if sum(map(len, encoded)) < _SMALL * len(encoded):
        for i in range(len(encoded)):
            decode(i)
    else:
        list(_pool().map(decode, range(len(encoded))))
    return rows, bad


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")


def _pixels(data: bytes, picture: ImageField) -> np.ndarray:
    from PIL import Image, ImageFile  # not needed at a second start

    from jaxnets.data.pictures import window

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise ValueError("PIL's LOAD_TRUNCATED_IMAGES is switched on")
    height, width, channels = picture.shape
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"mode {image.mode} does not fit into 8 bits")
        if image.mode != _MODES[channels]:
            image = image.convert(_MODES[channels])
        box = None
        if picture.fit == "crop":  # the largest rectangle of that form in the middle
            box = window((image.height, image.width), (height, width))
        if picture.fit != "whole":
            image = image.resize((width, height), Image.Resampling.BILINEAR, box)
        elif image.size != (width, height):
            raise ValueError(f"{image.size[::-1]} pixels instead of {height, width}")
        return np.asarray(image).reshape(picture.shape)


def stored(
    store: Store,
    sources: Mapping[str, Source],
    plan: ColumnPlan,
    name: str,
    *,
    streamed: bool,
) -> Notes:
    """Reads all records once, writes their columns, and returns the notes of them.

    Args:
        store: Where the columns go.
        sources: By split: `train`, and `validation` and `test` where there are.
        plan: How records become columns.
        name: Of the data set.
        streamed: Leave the pictures where they are.

    Raises:
        DataError: If pictures cannot be decoded: naming the first, counting them.
    """
    said: dict[str, list[Any]] = {}
    bad: list[str] = []
    picture = None if streamed else plan.picture
    for split, source in sources.items():
        where = f"{name}, {split}"
        if picture is None:
            said[split] = _read(source, plan, None, where, bad)
        else:
            shape = (len(source), *picture.shape)
            with store.column(f"{split}.image", shape, "uint8") as append:
                said[split] = _read(source, plan, append, where, bad)
    if bad:
        raise DataError(f"{bad[0]} ({len(bad)} images cannot be decoded)")
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
    mean, std = (), ()
    if picture is not None:
        split, rows = parts["train"]
        images = np.load(store.folder / f"{split}.image.npy", mmap_mode="r")
        mean, std = _statistics(images, rows)
    elif plan.picture is not None:
        split, rows = parts["train"]
        mean, std = _sampled(sources[split], rows, plan.picture)
    return {
        "parts": {part: split for part, (split, _) in parts.items()},
        "features": {n: dataclasses.asdict(f) for n, f in packed.features.items()},
        "lengths": {split: len(source) for split, source in sources.items()},
        "picture": plan.picture,
        "mean": mean,
        "std": std,
    }


def _read(
    source: Source,
    plan: ColumnPlan,
    append: Callable[[np.ndarray], None] | None,
    where: str,
    bad: list[str],
) -> list[Any]:
    said: list[Any] = []
    for start in range(0, len(source), _CHUNK):
        keys = list(range(start, min(start + _CHUNK, len(source))))
        records = source.__getitems__(keys)
        said += [plan.annotate(record) for record in records]
        if append is not None and plan.picture is not None:
            encoded = [record[plan.picture.key] for record in records]
            rows, failed = pictures(encoded, plan.picture)
            append(rows)
            bad += [
                f"{where}: the image of {keys[i]} {failed[i]}" for i in sorted(failed)
            ]
    return said


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


def assembled(
    name: str,
    entry: CacheEntry,
    streams: Callable[[str], Callable[[], Source]],
    key: str,
) -> Dataset:
    """The data set in an entry that `stored` wrote.

    Args:
        name: Of the data set.
        entry: What was stored.
        streams: From a split to what opens its source, where pictures are not stored.
        key: Digest of the files that those are in.
    """
    notes = entry.notes
    features = {n: _feature(about) for n, about in notes["features"].items()}
    splits: dict[str, Split] = {}
    for part, split in notes["parts"].items():
        columns: dict[str, Any] = {}
        for column, feature in features.items():
            rows = entry.columns.get(f"{split}.{column}")
            if rows is None:
                picture = ImageField(*notes["picture"])
                picture = picture._replace(shape=tuple(picture.shape))
                where, count = f"{name}, {split}", notes["lengths"][split]
                rows = Streamed(streams(split), count, picture, where, key)
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
    return Dataset(
        name=name,
        features=features,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        mean=tuple(notes["mean"]),
        std=tuple(notes["std"]),
    )


def _feature(about: Mapping[str, Any]) -> Feature:
    return Feature(
        **{**about, "shape": tuple(about["shape"]), "classes": tuple(about["classes"])}
    )


def _json(rows: Sequence[Any]) -> np.ndarray:
    """Text as bytes of JSON, which needs no pickle."""
    return np.frombuffer(json.dumps(list(rows)).encode(), np.uint8)


def _sampled(
    source: Source, rows: np.ndarray, picture: ImageField
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`channel_statistics` of pictures spread evenly over these rows.

    Damaged ones are passed over here; they stop the run when it reads them.
    """
    keys = [int(row) for row in rows[:: -(-len(rows) // _SAMPLE)]]
    encoded = [record[picture.key] for record in source.__getitems__(keys)]
    decoded, bad = pictures(encoded, picture)
    return channel_statistics(np.delete(decoded, list(bad), axis=0))


def _statistics(
    images: np.ndarray, rows: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """`channel_statistics` of these rows, some at a time."""
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for start in range(0, len(rows), 4096):
        counts += histogram(images[rows[start : start + 4096]])
    return moments(counts)
