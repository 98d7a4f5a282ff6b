"""Colour images of one to four objects, with captions, boxes, masks and attributes.

Generated: eight forms, eight colours, two sizes and four textures on grey grounds. The
test split has two halves. One is drawn like the training split. Every scene of the
other holds an object whose pair of colour and form (`HELD_OUT`) no scene of the other
splits shows, while each of the colours and forms is common there: what a model loses
from one half to the other says how well it puts together what it knows.

Every scene has five captions. They are written from a grammar that can also be read
back, so a captioner's sentence can be checked against the scene: `caption_is_true`.
"""

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.pictures import channel_statistics
from jaxnets.data.shapes.captions import write
from jaxnets.data.shapes.grammar import caption_is_true, score_captions
from jaxnets.data.shapes.scenes import (
    COLOURS,
    FORMS,
    HELD_OUT,
    OBJECTS,
    SIZES,
    TEXTURES,
    VERSION,
    Scene,
    SceneObject,
    is_held_out,
    pictures,
    scene,
)
from jaxnets.data.shapes.segments import segment_boxes
from jaxnets.data.store.cache import cached

__all__ = [
    "HELD_OUT",
    "caption_is_true",
    "captions_of",
    "scenes_of",
    "score_captions",
    "shapes",
]

WORTH_CACHING = 1000  # scenes whose captions take a second to write

_ATTRIBUTES = {"label": FORMS, "colour": COLOURS, "size": SIZES, "texture": TEXTURES}


def shapes(
    *,
    side: int = 64,
    train: int = 10_000,
    validation: int = 1_000,
    test: int = 2_000,
) -> Dataset:
    """10,000 scenes to train on, 1,000 to validate on, 2,000 to test on; no download.

    Generated on first use, in seconds, and cached. A smaller set holds the first scenes
    of the larger one, and another side shows the same scenes. In the columns, objects
    are padded to four; `present` says which are real.

    - `image`: uint8.
    - `segments`: 0 for the ground, k + 1 for the object at k.
    - `boxes`: [y0, x0, y1, x1] in pixels, just around the object's segment; a box one
      pixel wide has x1 = x0 + 1. Padding is 0.
    - `label` (the form), `colour`, `size`, `texture`: one class an object.
    - `centre`: (y, x) of the middle, in units of the image's side.
    - `held_out`: whether any pair of the scene is one of `HELD_OUT`. True of every
      second scene of the test split, the odd ones.

    Args:
        side: Pixels along each edge, from 32; at less than 48 textures of small objects
            are hard to tell.
        train: Scenes without any pair of `HELD_OUT`.
        validation: Likewise.
        test: Scenes of which every second one has such a pair.

    Raises:
        DataError: If a number is too small.
    """
    counts = {"train": train, "validation": validation, "test": test}
    if side < 32 or min(counts.values()) < 1:
        raise DataError(
            f"shapes needs images of 32 pixels or more and a scene in every split, not "
            f"{side} and {counts}"
        )
    splits = {}
    for name, count in counts.items():
        key = {"version": VERSION, "split": name, "count": count, "side": side}
        columns = cached("shapes", key, lambda n=name, c=count: _columns(n, c, side))
        splits[name] = Split(columns, [f"{name} {i}" for i in range(count)])
    mean, std = channel_statistics(splits["train"].columns["image"])
    classes = {
        name: Feature((OBJECTS,), "int32", 0, len(names) - 1, names)
        for name, names in _ATTRIBUTES.items()
    }
    return Dataset(
        name="shapes",
        features={
            "image": Feature((side, side, 3), "uint8", 0, 255),
            "segments": Feature((side, side), "int8", 0, OBJECTS),
            "boxes": Feature((OBJECTS, 4), "float32", 0, side),
            "present": Feature((OBJECTS,), "bool"),
            "centre": Feature((OBJECTS, 2), "float32", 0, 1),
            "held_out": Feature((), "bool"),
            **classes,
        },
        **splits,
        mean=mean,
        std=std,
    )


def scenes_of(split: Split) -> list[Scene]:
    """What is in each image of a split of `shapes`, or of a part of one."""
    present = np.asarray(split.columns["present"][:])
    attributes = np.stack([split.columns[name][:] for name in _ATTRIBUTES], -1)
    centre = np.asarray(split.columns["centre"][:])
    return [
        tuple(
            SceneObject(*map(int, attributes[i, k]), *map(float, centre[i, k]))
            for k in np.flatnonzero(present[i])
        )
        for i in range(len(present))
    ]


def captions_of(split: Split) -> list[tuple[str, ...]]:
    """Five different captions of each image of a split of `shapes`, or a part of one.

    All are true. They follow from the scene and its id, so they stay with it wherever
    `Split.take` puts it. Those of a large split are cached.

    Raises:
        DataError: If the split has no ids.
    """
    if split.ids is None:
        raise DataError("captions belong to the ids of a split of shapes; it has none")
    if len(split) < WORTH_CACHING:
        return _written(split)
    key = {"version": VERSION, "split": split.digest}
    make = lambda: {"text": np.array(_written(split), np.bytes_)}
    found = cached("shapes_captions", key, make)["text"]
    return [tuple(text.decode("ascii") for text in row) for row in found.tolist()]


def _written(split: Split) -> list[tuple[str, ...]]:
    return [
        tuple(text for text, _ in write(things, f"shapes captions {identity}"))
        for identity, things in zip(split.ids or (), scenes_of(split), strict=True)
    ]


def _columns(split: str, count: int, side: int) -> dict[str, np.ndarray]:
    """Scenes and pictures; those at odd places of the test have a held-out pair."""
    odd = split == "test"
    scenes = [scene(split, i, held_out=odd and i % 2 == 1) for i in range(count)]
    drawn = pictures(scenes, split, side)
    things = np.zeros((count, OBJECTS, len(SceneObject._fields)))
    present = np.zeros((count, OBJECTS), bool)
    for i, row in enumerate(scenes):
        things[i, : len(row)] = row
        present[i, : len(row)] = True
    return {
        "image": drawn.image,
        "segments": drawn.segments,
        "boxes": segment_boxes(drawn.segments, OBJECTS),
        "present": present,
        "centre": things[..., 4:].astype(np.float32),
        "held_out": np.array([any(map(is_held_out, row)) for row in scenes]),
        **{name: things[..., k].astype(np.int32) for k, name in enumerate(_ATTRIBUTES)},
    }
