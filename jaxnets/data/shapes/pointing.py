"""Does a captioner of `shapes` look at what it names? Nothing here enters a loss.

A word that describes an object (its form, colour, size or texture) is compared with
that object's box, where a true caption leaves no doubt which object it means.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxnets.data.dataset import Split
from jaxnets.data.shapes.claims import ways
from jaxnets.data.shapes.dataset import scenes_of
from jaxnets.data.shapes.grammar import read_words, score_captions
from jaxnets.data.shapes.scenes import Scene


class Pointing(NamedTuple):
    """Means over all describing words of true captions."""

    inside: float  # attention's mass in the box of the object that is named
    area: float  # the box's share of the image: what even attention would have
    shuffled: float  # mass there of the attention that belongs to another word
    words: int  # how many there were


def named_objects(caption: str, scene: Scene) -> list[tuple[int, int]]:
    """(place of the word, object) for each word that describes a certain object.

    Empty where the caption is false. A phrase that may be about this object or that one
    is left out, and so is one about several.
    """
    found = read_words(caption)
    if found is None:
        return []
    claim, describing = found
    every = list(ways(claim, scene))
    pairs = []
    for phrase, words in enumerate(describing):
        meant = {way[phrase] for way in every}
        if len(meant) == 1 and len(objects := meant.pop()) == 1:
            pairs += [(word, objects[0]) for word in words]
    return pairs


def coverage(
    box: Float[np.ndarray, " 4"], grid: tuple[int, int], side: int
) -> Float[np.ndarray, "gh gw"]:
    """The share of each cell of a grid over the image that a box covers.

    Args:
        box: [y0, x0, y1, x1] in pixels.
        grid: Cells down and across.
        side: Of the image, in pixels.
    """
    shares = []
    for cells, first, last in zip(grid, box[:2], box[2:], strict=True):
        edges = np.arange(cells + 1) * (side / cells)
        inside = np.minimum(edges[1:], last) - np.maximum(edges[:-1], first)
        shares.append(np.maximum(inside, 0) / (side / cells))
    return np.outer(*shares)


def pointing(
    captions: Sequence[str],
    weights: Float[np.ndarray, "n t gh gw"],
    split: Split,
) -> Pointing:
    """How much of the attention lies on what the captions name.

    Args:
        captions: One an image of the split, in its order.
        weights: The attention before each word, over a grid that covers the image.
        split: Of `shapes`.
    """
    boxes, side = (
        np.asarray(split.columns["boxes"][:]),
        split.columns["image"][:1].shape[1],
    )
    maps, covers = [], []
    for i, (caption, scene) in enumerate(zip(captions, scenes_of(split), strict=True)):
        for word, thing in named_objects(caption, scene):
            if word < weights.shape[1]:
                maps.append(weights[i, word])
                covers.append(coverage(boxes[i, thing], weights.shape[2:], side))
    if not maps:
        return Pointing(np.nan, np.nan, np.nan, 0)
    looked, covered = np.stack(maps), np.stack(covers)
    others = np.random.default_rng(0).permutation(len(looked))
    inside, shuffled = (
        float((some * covered).sum((1, 2)).mean()) for some in (looked, looked[others])
    )
    return Pointing(inside, float(covered.mean()), shuffled, len(looked))


def described(
    captions: Sequence[str],
    references: Sequence[tuple[str, ...]],
    split: Split,
    weights: Float[np.ndarray, "n t gh gw"] | None = None,
) -> dict[str, float]:
    """How true and how rich captions are, beside their references and a blind writer.

    The blind one has the same captions, each of another image. `held_out` is of the
    images that show a pair of colour and form which training never does.

    Args:
        captions: One an image of the split.
        references: The sentences that people would write, several each.
        split: Of `shapes`.
        weights: The attention before each word, if there was any.
    """
    scenes = scenes_of(split)
    new = np.asarray(split.columns["held_out"][:])
    own = score_captions(captions, scenes)
    known, held_out = (
        score_captions([captions[i] for i in rows], [scenes[i] for i in rows]).true
        if len(rows)
        else float("nan")
        for rows in (np.flatnonzero(~new).tolist(), np.flatnonzero(new).tolist())
    )
    everyone = [(text, k) for k, row in enumerate(references) for text in row]
    theirs = score_captions(
        [text for text, _ in everyone], [scenes[k] for _, k in everyone]
    )
    moved = np.roll(np.arange(len(captions)), 2).tolist()
    found = {
        "true": own.true,
        "true_known": known,
        "true_held_out": held_out,
        "true_blind": score_captions([captions[i] for i in moved], scenes).true,
        "grammatical": own.read,
        "attributes": own.attributes,
        "attributes_references": theirs.attributes,
        "relations": own.relations,
        "relations_references": theirs.relations,
    }
    if weights is not None:
        seen = pointing(captions, weights, split)
        found["attention_inside_box"] = seen.inside
        found["attention_box_area"] = seen.area
        found["attention_shuffled"] = seen.shuffled
    return {name: value for name, value in found.items() if value == value}
