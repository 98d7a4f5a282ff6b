"""Scenes of up to twelve overlapping objects of very different sizes, for detection.

The forms, colours and textures are those of `shapes`. Boxes overlap by more than half,
so non-maximum suppression has work to do. At 128 pixels the objects cover all three of
COCO's area ranges. Scenes have no captions.

A mask holds the visible pixels of an object, and its box is drawn around these. An
object is not drawn if less than a quarter of it, or fewer than four pixels, would be
visible. So every object in an image is annotated.
"""

import functools
import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Int8, UInt8

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.files.problems import noted
from jaxnets.data.generated.draws import Draws, uniforms
from jaxnets.data.pictures import channel_statistics
from jaxnets.data.shapes import drawing
from jaxnets.data.shapes.drawing import COLOURS, FORMS, TEXTURES
from jaxnets.data.shapes.scenes import HELD_OUT, is_held_out_pair
from jaxnets.data.shapes.segments import segment_boxes
from jaxnets.data.store.cache import cached
from jaxnets.data.store.progress import progress

OBJECTS = 12  # the most in one scene
FEWEST = 3  # objects that are placed in a scene; some of them may be hidden
EXTENTS = (8 / 128, 110 / 128)  # of an object's longer side, in image sides
VISIBLE = 0.25  # share of an object's pixels that must be visible
PIXELS = 4  # of an object that must be visible
VERSION = 1
"""Of everything that decides a scene or a pixel; a change makes new cache entries."""

_TWIN = 0.35  # probability that an object is placed upon one of its own size
_HUGE, _FROM = 0.12, 0.7  # probability of an extent from here on, beside the usual ones
_REACH = 0.6  # of the extent, from the middle to the side of a turned square's box
_BLOCK = 100  # scenes drawn at a time
_ATTRIBUTES = {"label": FORMS, "colour": COLOURS, "texture": TEXTURES}


class CrowdedObject(NamedTuple):
    """One object of a crowded scene."""

    form: int  # position in FORMS
    colour: int  # in COLOURS
    texture: int  # in TEXTURES
    extent: float  # of its longer side before it is turned, in image sides
    y: float  # of its middle, 0 at the top of the image, 1 at the bottom
    x: float  # 0 at the left, 1 at the right


CrowdedScene: TypeAlias = tuple[CrowdedObject, ...]


class RenderedCrowds(NamedTuple):
    """The images of crowded scenes, and the visible part of each object."""

    image: UInt8[np.ndarray, "n side side 3"]
    segments: Int8[np.ndarray, "n side side"]  # 0 background, k + 1 the object at k
    kept: Int[np.ndarray, "n objects"]  # its position in the scene; -1: padding
    visible: Float[np.ndarray, "n objects"]  # visible share of its pixels


def crowded_shapes(
    *,
    side: int = 64,
    train: int = 10_000,
    validation: int = 1_000,
    test: int = 2_000,
) -> Dataset:
    """10,000 scenes to train on, 1,000 to validate on, 2,000 to test on; no download.

    Generated on first use, in about a minute at 64 pixels, and cached. A smaller
    set holds the first scenes of the larger one. In the columns, objects are padded to
    twelve and ordered from the front to the back; `present` says which are real.

    - `image`: uint8.
    - `segments`: 0 for the ground, k + 1 where the object at k is visible.
    - `boxes`: [y0, x0, y1, x1] in pixels, just around the visible pixels of the object;
      a box one pixel wide has x1 = x0 + 1. Padding is 0.
    - `label` (the form), `colour`, `texture`: one class an object.
    - `visible`: the visible share of an object's pixels, `VISIBLE` to 1.
    - `centre`: (y, x) of the middle of the whole object, in units of the image's side.
    - `held_out`: whether any pair of colour and form in the scene is one of `HELD_OUT`.
      True of every second scene of the test split, the odd ones.

    Args:
        side: Pixels along each edge, 64 to 256: 64, 96 or 128, for example. Extents of
            objects grow with it, from 8 to 110 pixels at 128.
        train: Scenes without any pair of `HELD_OUT`.
        validation: Scenes without any pair of `HELD_OUT`.
        test: Scenes of which every second one has such a pair.

    Raises:
        DataError: If a number is out of range.
    """
    counts = {"train": train, "validation": validation, "test": test}
    if not 64 <= side <= 256 or min(counts.values()) < 1:
        raise DataError(
            "shapes/crowded needs images of 64 to 256 pixels and a scene in every "
            f"split, not {side} and {counts}"
        )
    splits = {}
    for name, count in counts.items():
        key = {"version": VERSION, "split": name, "count": count, "side": side}
        make = lambda n=name, c=count: _columns(n, c, side)
        columns = cached("shapes_crowded", key, make)
        splits[name] = Split(columns, [f"{name} {i}" for i in range(count)])
    mean, std = channel_statistics(splits["train"].columns["image"])
    classes = {
        name: Feature((OBJECTS,), "int32", 0, len(names) - 1, names)
        for name, names in _ATTRIBUTES.items()
    }
    return Dataset(
        name="shapes/crowded",
        features={
            "image": Feature((side, side, 3), "uint8", 0, 255),
            "segments": Feature((side, side), "int8", 0, OBJECTS),
            "boxes": Feature((OBJECTS, 4), "float32", 0, side),
            "present": Feature((OBJECTS,), "bool"),
            "visible": Feature((OBJECTS,), "float32", 0, 1),
            "centre": Feature((OBJECTS, 2), "float32", 0, 1),
            "held_out": Feature((), "bool"),
            **classes,
        },
        **splits,
        mean=mean,
        std=std,
    )


def crowded_scene(split: str, place: int, *, held_out: bool = False) -> CrowdedScene:
    """The scene at one place of a split, from the front to the back.

    Extents are uniform in their logarithm, with more of the largest. A third of the
    objects lie on another object of about their size, the others lie anywhere. Smaller
    objects tend to be in front. Objects that overlap differ in colour, unless all
    colours are used. Half of the largest are squares, because few other forms reach
    COCO's large range.

    Args:
        split: Another name, other scenes.
        place: In the split.
        held_out: The foremost object has one of the pairs that training never shows.
    """
    draws = Draws(f"shapes crowded {VERSION} {split} {place}")
    count = FEWEST + draws.below(OBJECTS - FEWEST + 1)
    spots: list[tuple[float, float, float]] = []  # extent, y, x
    for _ in range(count):
        spots.append(_spot(draws, spots))
    depths = [extent * 2 ** draws.uniform(-1.0, 1.0) for extent, _, _ in spots]
    spots = [spots[i] for i in np.argsort(depths, kind="stable").tolist()]
    if held_out:  # large enough to be seen at any side
        extent, y, x = spots[0]
        spots[0] = _within(max(extent, 2 * EXTENTS[0]), y, x)
    things: list[CrowdedObject] = []
    for i, (extent, y, x) in enumerate(spots):
        near = {t.colour for t in things if _overlap((t.extent, t.y, t.x), spots[i])}
        form, colour = _pair(draws, near, huge=extent >= _FROM)
        if held_out and i == 0:
            said = draws.choice(HELD_OUT)
            colour, form = COLOURS.index(said[0]), FORMS.index(said[1])
        texture = 0 if draws.chance(0.4) else 1 + draws.below(len(TEXTURES) - 1)
        things.append(CrowdedObject(form, colour, texture, extent, y, x))
    return tuple(things)


def _spot(
    draws: Draws, others: list[tuple[float, float, float]]
) -> tuple[float, float, float]:
    """Extent and middle of one more object."""
    low, high = EXTENTS
    if others and draws.chance(_TWIN):
        extent, y, x = draws.choice(others)
        extent = min(max(extent * draws.uniform(0.85, 1.18), low), high)
        shift = extent * draws.uniform(0.1, 0.25)
        # Along a diagonal: what is seen of the one behind still fills its box.
        down, right = draws.choice((-1, 1)), draws.choice((-1, 1))
        return _within(extent, y + down * shift, x + right * shift)
    extent = low * (high / low) ** draws.uniform()
    if draws.chance(_HUGE):
        extent = draws.uniform(_FROM, high)
    return _within(extent, draws.uniform(), draws.uniform(), spread=True)


def _within(
    extent: float, y: float, x: float, *, spread: bool = False
) -> tuple[float, float, float]:
    """A spot inside the image, its numbers short enough for a column of float32.

    Args:
        extent: Of the object.
        y: Of its middle; with `spread`, 0 to 1 over the places where it fits.
        x: As `y`.
        spread: See `y`.
    """
    extent = round(extent * 2048) / 2048
    half = extent / 2
    if spread:
        y, x = (half + (1 - extent) * v for v in (y, x))
    y, x = (min(max(v, half), 1 - half) for v in (y, x))
    return extent, round(y * 2048) / 2048, round(x * 2048) / 2048


def _overlap(
    one: tuple[float, float, float], other: tuple[float, float, float]
) -> bool:
    reach = (one[0] + other[0]) / 2
    return max(abs(one[1] - other[1]), abs(one[2] - other[2])) < reach


def _pair(draws: Draws, near: set[int], *, huge: bool) -> tuple[int, int]:
    """Form and colour of an object; a colour that is not near, where there is one."""
    free = [c for c in range(len(COLOURS)) if c not in near] or range(len(COLOURS))
    while True:
        form, colour = draws.below(len(FORMS)), draws.choice(free)
        if huge and draws.chance(0.5):
            form = FORMS.index("square")
        if not is_held_out_pair(colour, form):
            return form, colour


def render(scenes: list[CrowdedScene], split: str, side: int) -> RenderedCrowds:
    """Draws crowded scenes, with poses, shades, backgrounds and noise of their own.

    Args:
        scenes: From the first of the split on.
        split: Its name: it decides what the scenes leave open.
        side: Pixels along each edge.
    """
    name, count = f"shapes crowded {VERSION} {split}", len(scenes)
    forms = drawing.form_fields()
    chance = uniforms(f"{name} looks", (count, OBJECTS, 7))
    ground = uniforms(f"{name} grounds", (count, 8))
    parts = []
    say = functools.partial(noted, "shapes/crowded")
    with progress("shapes/crowded", "drawing", count, "scene", say) as advance:
        for i in range(0, count, _BLOCK):
            rows = slice(i, i + _BLOCK)
            canvas = _Canvas(scenes[rows], chance[rows], ground[rows], side)
            for depth in range(OBJECTS):
                canvas.add(depth, forms)
            parts.append(canvas.rendered(f"{name} noise {i}"))
            advance(len(scenes[rows]))
    return RenderedCrowds(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class _Canvas:
    """Some scenes while they are drawn, from the front to the back.

    In this order the visible share of an object is known before it is drawn, and no
    later object changes it.
    """

    def __init__(
        self,
        scenes: list[CrowdedScene],
        chance: Float[np.ndarray, "n objects 7"],
        ground: Float[np.ndarray, "n 8"],
        side: int,
    ) -> None:
        count = len(scenes)
        self._scenes, self._chance, self._ground = scenes, chance, ground
        self._side = side
        self._margin = math.ceil(_REACH * EXTENTS[1] * side) + 2
        self._inner = slice(self._margin, self._margin + side)
        wide = side + 2 * self._margin
        self._light = np.zeros((count, wide, wide, 3), np.float32)
        self._through = np.ones((count, wide, wide, 1), np.float32)
        self._segments = np.full((count, wide, wide), -1, np.int8)  # outside: unseen
        self._segments[:, self._inner, self._inner] = 0
        self._kept = np.full((count, OBJECTS), -1)
        self._visible = np.zeros((count, OBJECTS), np.float32)

    def add(self, depth: int, forms: Float[np.ndarray, "forms field field"]) -> None:
        """Draws what lies at this position of each scene, in patches of like size."""
        scenes, side = self._scenes, self._side
        rows = np.array([i for i, s in enumerate(scenes) if len(s) > depth], int)
        if not len(rows):
            return
        things = np.array([scenes[i][depth] for i in rows])
        needed = np.ceil(_REACH * things[:, 3] * side) + 2
        reaches = np.ceil(1.4 ** np.ceil(np.log(needed) / np.log(1.4)))
        reaches = np.minimum(reaches, self._margin).astype(int)
        for reach in np.unique(reaches).tolist():
            some = reaches == reach
            self._add(depth, rows[some], things[some], forms, reach)

    def _add(
        self,
        depth: int,
        rows: Int[np.ndarray, " n"],
        things: Float[np.ndarray, "n 6"],
        forms: Float[np.ndarray, "forms field field"],
        reach: int,
    ) -> None:
        form, colour, texture = things[:, :3].astype(int).T
        posed = drawing.PosedForms(
            form=form,
            colour=colour,
            texture=texture,
            middle=things[:, 4:] * self._side,
            body=things[:, 3] * self._side,
            chance=self._chance[rows, depth],
        )
        patch = drawing.patches(posed, self._ground[rows], forms, self._side, reach)
        own = patch.cover[..., 0] > 0.5
        seen = own & (self._segments[patch.place(rows, self._margin)] == 0)
        shown = seen.sum(axis=(1, 2))
        visible = shown / np.maximum(own.sum(axis=(1, 2)), 1)
        keep = (visible >= VISIBLE) & (shown >= PIXELS)
        rows, seen = rows[keep], seen[keep]
        at = drawing.Patches(*(part[keep] for part in patch)).place(rows, self._margin)
        slot = (self._kept[rows] >= 0).sum(axis=1)
        self._kept[rows, slot], self._visible[rows, slot] = depth, visible[keep]
        before = self._through[at]
        cover = patch.cover[keep]
        self._light[at] += before * cover * patch.paint[keep]
        self._through[at] = before * (1 - cover)
        number = (slot + 1)[:, None, None]
        self._segments[at] = np.where(seen, number, self._segments[at])

    def rendered(self, noise: str) -> RenderedCrowds:
        """The scenes on their grounds."""
        ground = drawing.background(self._ground, self._side, self._margin)
        image = self._light + self._through * ground
        return RenderedCrowds(
            drawing.grained(image[:, self._inner, self._inner], noise),
            self._segments[:, self._inner, self._inner].copy(),
            self._kept,
            self._visible,
        )


def _columns(split: str, count: int, side: int) -> dict[str, np.ndarray]:
    """Scenes and pictures; those at odd places of the test have a held-out pair."""
    odd = split == "test"
    scenes = [
        crowded_scene(split, i, held_out=odd and i % 2 == 1) for i in range(count)
    ]
    drawn = render(scenes, split, side)
    present = drawn.kept >= 0
    things = np.zeros((count, OBJECTS, len(CrowdedObject._fields)))
    for i, k in np.argwhere(present).tolist():
        things[i, k] = scenes[i][drawn.kept[i, k]]
    form, colour = things[..., 0].astype(int), things[..., 1].astype(int)
    new = np.vectorize(is_held_out_pair, otypes=[bool])(colour, form) & present
    return {
        "image": drawn.image,
        "segments": drawn.segments,
        "boxes": segment_boxes(drawn.segments, OBJECTS),
        "present": present,
        "visible": drawn.visible,
        "centre": things[..., 4:].astype(np.float32),
        "held_out": new.any(axis=1),
        **{name: things[..., k].astype(np.int32) for k, name in enumerate(_ATTRIBUTES)},
    }
