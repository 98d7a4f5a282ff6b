"""Scenes of one to four objects: what there is, where it lies, what it looks like.

A scene is a tuple of `SceneObject`s. Everything else follows from it: the picture, the
boxes, the masks, and which captions are true. Which scene stands at which place of a
split is a function of the split's name and the place.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int8, UInt8

from jaxnets.data.generated.draws import Draws, uniforms
from jaxnets.data.shapes import drawing
from jaxnets.data.shapes.drawing import COLOURS, FORMS, TEXTURES

SIZES = ("small", "large")
OBJECTS = 4  # the most in one scene

HELD_OUT = (
    ("orange", "circle"),
    ("green", "square"),
    ("purple", "triangle"),
    ("cyan", "star"),
    ("yellow", "cross"),
    ("red", "ring"),
    ("blue", "diamond"),
    ("pink", "heart"),
)
"""Pairs of colour and form that only the test split shows, each of them once."""

MARGIN = 0.1  # of the image's side: closer than this, neither is left of the other

VERSION = 1
"""Of everything that decides a scene or a pixel; a change makes new cache entries."""
_SPREAD = ((0.19, 0.23), (0.31, 0.37))  # of the image's side, by size
# So that the forms of one size look equally large.
_BULK = np.array([0.96, 0.84, 1.06, 1.14, 1.0, 1.0, 1.08, 1.0])
_HELD = frozenset((COLOURS.index(c), FORMS.index(f)) for c, f in HELD_OUT)


class SceneObject(NamedTuple):
    """One object of a generated scene."""

    form: int  # position in FORMS
    colour: int  # in COLOURS
    size: int  # in SIZES
    texture: int  # in TEXTURES
    y: float  # of its middle, 0 at the top of the image, 1 at the bottom
    x: float  # 0 at the left, 1 at the right


Scene: TypeAlias = tuple[SceneObject, ...]


class RenderedScenes(NamedTuple):
    """The images of scenes, with the object that each pixel belongs to."""

    image: UInt8[np.ndarray, "n side side 3"]
    segments: Int8[np.ndarray, "n side side"]  # 0 background, k + 1 the object at k


def is_held_out(thing: SceneObject) -> bool:
    """Whether its pair of colour and form appears in the test split only."""
    return is_held_out_pair(thing.colour, thing.form)


def is_held_out_pair(colour: int, form: int) -> bool:
    """Whether a pair of positions in COLOURS and FORMS is one of `HELD_OUT`."""
    return (colour, form) in _HELD


def scene(split: str, place: int, *, held_out: bool = False) -> Scene:
    """The scene at one place of a split.

    Args:
        split: Another name, other scenes.
        place: In the split.
        held_out: With at least one of the pairs that training never shows, or none.
    """
    draws = Draws(f"shapes {VERSION} {split} {place}")
    count = draws.weighted((1, 2, 3, 4), (0.15, 0.25, 0.3, 0.3))
    looks: list[tuple[int, int, int, int]] = []
    for _ in range(count):
        looks.append(_look(draws, looks))
    if held_out:
        colour, form = draws.choice(sorted(_HELD))
        looks[-1] = (form, colour, *looks[-1][2:])
        looks = draws.shuffled(looks)
    places: list[tuple[float, float]] | None = None
    while places is None:
        places = _places(draws, [size for _, _, size, _ in looks])
    return tuple(
        SceneObject(*look, *yx) for look, yx in zip(looks, places, strict=True)
    )


def _look(
    draws: Draws, others: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """Form, colour, size and texture; now and then those of an object already there.

    Independent draws would hardly ever give two red circles to be counted.
    """
    while True:
        form, colour = draws.below(len(FORMS)), draws.below(len(COLOURS))
        if others and draws.chance(0.35):
            form = draws.choice(others)[0]
        if others and draws.chance(0.35):
            colour = draws.choice(others)[1]
        if (colour, form) not in _HELD:
            # Half of all objects have no pattern: they are the easier half.
            texture = 0 if draws.chance(0.4) else 1 + draws.below(len(TEXTURES) - 1)
            return form, colour, draws.below(len(SIZES)), texture


def _places(draws: Draws, sizes: list[int]) -> list[tuple[float, float]] | None:
    """Middles of objects of these sizes, well apart; None if they would not part.

    Drawn anywhere, then pushed from each other: waiting for a draw of four large
    objects that happen to fit would take hundreds of them.
    """
    radii = [0.6 * _SPREAD[size][1] for size in sizes]
    middles = [[draws.uniform(r, 1 - r), draws.uniform(r, 1 - r)] for r in radii]
    for _ in range(30):
        still = True
        for j in range(1, len(middles)):
            for i in range(j):
                dy = middles[j][0] - middles[i][0]
                dx = middles[j][1] - middles[i][1]
                gap, wanted = math.sqrt(dy * dy + dx * dx), radii[i] + radii[j]
                if gap >= wanted:
                    continue
                still = False
                push = 0.51 * (wanted - gap) / max(gap, 1e-3)
                for k, sign in ((i, -push), (j, push)):
                    r = radii[k]
                    middles[k][0] = min(max(middles[k][0] + sign * dy, r), 1 - r)
                    middles[k][1] = min(max(middles[k][1] + sign * dx, r), 1 - r)
        if still:
            # Short enough to survive a column of float32.
            return [
                (round(y * 1024) / 1024, round(x * 1024) / 1024) for y, x in middles
            ]
    return None


def pictures(scenes: list[Scene], split: str, side: int) -> RenderedScenes:
    """Draws scenes, with poses, shades, backgrounds and noise of their own.

    Args:
        scenes: From the first of the split on.
        split: Its name: it decides what the scenes leave open.
        side: Pixels along each edge.
    """
    forms = drawing.form_fields()
    chosen = uniforms(f"shapes {VERSION} {split} looks", (len(scenes), OBJECTS, 8))
    ground = uniforms(f"shapes {VERSION} {split} grounds", (len(scenes), 8))
    step = 250
    parts = [
        _drawn(
            scenes[i : i + step],
            side,
            forms,
            chosen[i : i + step],
            ground[i : i + step],
            f"shapes {VERSION} {split} noise {i}",
        )
        for i in range(0, len(scenes), step)
    ]
    return RenderedScenes(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _drawn(
    scenes: list[Scene],
    side: int,
    forms: Float[np.ndarray, "forms field field"],
    looks: Float[np.ndarray, "n objects 8"],
    ground: Float[np.ndarray, "n 8"],
    noise: str,
) -> RenderedScenes:
    reach = math.ceil(0.25 * side) + 1  # no object goes farther from its middle
    wide = side + 2 * reach  # room for the part of a patch that leaves the image
    image = drawing.background(ground, side, reach)
    segments = np.zeros((len(scenes), wide, wide), np.int8)
    for k in range(OBJECTS):
        rows = np.array([i for i, things in enumerate(scenes) if len(things) > k], int)
        if not len(rows):
            continue
        things = np.array([scenes[i][k] for i in rows])
        form, colour, size, texture = things[:, :4].astype(int).T
        u = looks[rows, k]
        low, high = np.array(_SPREAD)[size].T
        forms_drawn = drawing.PosedForms(
            form=form,
            colour=colour,
            texture=texture,
            middle=things[:, 4:] * side,
            body=side * (low + (high - low) * u[:, 0]) * _BULK[form],
            chance=u[:, 1:],
        )
        patch = drawing.patches(forms_drawn, ground[rows], forms, side, reach)
        at = patch.place(rows, reach)
        image[at] += patch.cover * (patch.paint - image[at])
        segments[at] = np.where(patch.cover[..., 0] > 0.5, k + 1, segments[at])
    image, segments = (
        a[:, reach : reach + side, reach : reach + side] for a in (image, segments)
    )
    return RenderedScenes(drawing.grained(image, noise), segments)
