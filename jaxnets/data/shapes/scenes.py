"""Scenes of one to four objects: what there is, where it lies, what it looks like.

A scene is a tuple of `SceneObject`s. Everything else follows from it: the picture, the
boxes, the masks, and which captions are true. Which scene stands at which place of a
split is a function of the split's name and the place.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int8, UInt8

from jaxnets.data.generated import fields
from jaxnets.data.generated.draws import Draws, noise_bytes, uniforms

FORMS = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "large")
TEXTURES = ("plain", "striped", "dotted", "checkered")
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
_HUES = np.array([0.0, 27.0, 55.0, 128.0, 181.0, 222.0, 274.0, 326.0])
_PERIOD = 0.1  # of a texture, in units of the image's side
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
    return (thing.colour, thing.form) in _HELD


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
    forms = form_fields()
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


def form_fields() -> Float[np.ndarray, "forms side side"]:
    """The signed distance field of each form, in units of its longer side."""
    line = ((np.arange(fields.SIDE) + 0.5) / fields.SIDE - 0.5) * fields.SPAN
    y, x = np.meshgrid(line, line, indexing="ij")
    r, wide, high = np.hypot(y, x), np.abs(x), np.abs(y)
    # A star's edge is a straight line from tip to notch; in the angle to the nearest
    # tip both lie at known places: (0.5, 0) and 0.22 at 36 degrees.
    angle = np.arctan2(x, -y)
    angle = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    notch_y, notch_x = 0.22 * np.cos(np.pi / 5), 0.22 * np.sin(np.pi / 5)
    tip = (0.5 - r * np.cos(angle)) * notch_x > r * np.sin(angle) * (0.5 - notch_y)
    # The sextic heart (X^2 + Y^2 - 1)^3 < X^2 Y^3, moved to the middle.
    hx, hy = 2.3 * x, 0.13 - 2.3 * y
    inside = {
        "circle": r < 0.5,
        "square": np.maximum(wide, high) < 0.5,
        "triangle": (high < 0.433) & (wide < (y + 0.433) / np.sqrt(3)),
        "star": tip,
        "cross": (np.minimum(wide, high) < 0.16) & (np.maximum(wide, high) < 0.5),
        "ring": (r < 0.5) & (r > 0.27),
        "diamond": wide / 0.38 + high / 0.5 < 1,
        "heart": (hx**2 + hy**2 - 1) ** 3 < hx**2 * hy**3,
    }
    unit = fields.SPAN / fields.SIDE
    return np.stack([fields.signed_distance(inside[form]) * unit for form in FORMS])


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
    image = _background(ground, side, reach)
    segments = np.zeros((len(scenes), wide, wide), np.int8)
    line = np.arange(-reach, reach)
    for k in range(OBJECTS):
        rows = np.array([i for i, things in enumerate(scenes) if len(things) > k], int)
        if not len(rows):
            continue
        things = np.array([scenes[i][k] for i in rows])
        form, colour, size, texture = things[:, :4].astype(int).T
        middle = things[:, 4:] * side
        corner = np.floor(middle).astype(int)
        u = looks[rows, k]
        low, high = np.array(_SPREAD)[size].T
        body = side * (low + (high - low) * u[:, 0]) * _BULK[form]
        turn = np.deg2rad(24 * u[:, 1] - 12)
        maps = fields.affine(body, body, turn, np.zeros_like(turn))
        offset = (line + 0.5) + (corner - middle)[:, :, None]
        y, x = offset[:, 0, :, None], offset[:, 1, None, :]
        points = maps[:, None, None, :, 0] * y[..., None]
        points = points + maps[:, None, None, :, 1] * x[..., None]
        points = points.reshape(len(rows), -1, 2).astype(np.float32)
        distance = fields.sample(forms, form, points) * body[:, None]
        cover = np.clip(distance + 0.5, 0, 1)
        along = points * (body / side)[:, None, None]  # units of the image's side
        pattern = _pattern(texture, along, np.pi * u[:, 2], side)
        tone, other = _tones(colour, u[:, 3:], ground[rows])
        paint = tone[:, None] + pattern[..., None] * (other - tone)[:, None]
        at = (
            rows[:, None, None],
            (corner[:, :1] + line + reach)[:, :, None],
            (corner[:, 1:] + line + reach)[:, None, :],
        )
        square = (len(rows), len(line), len(line))
        cover, paint = cover.reshape(*square, 1), paint.reshape(*square, 3)
        image[at] += cover * (paint - image[at])
        segments[at] = np.where(cover[..., 0] > 0.5, k + 1, segments[at])
    image, segments = (
        a[:, reach : reach + side, reach : reach + side] for a in (image, segments)
    )
    grain = noise_bytes(noise, image.shape) * (12 / 255) - 6
    bytes_ = np.clip(np.round(255 * image + grain), 0, 255).astype(np.uint8)
    return RenderedScenes(bytes_, segments)


def _background(
    u: Float[np.ndarray, "n 8"], side: int, reach: int
) -> Float[np.ndarray, "n wide wide 3"]:
    """A grey with a tint, lighter towards some side."""
    line = (np.arange(-reach, side + reach) + 0.5) / side - 0.5
    direction = 2 * np.pi * u[:, 0]
    steep = 0.04 + 0.2 * u[:, 1]
    slope_y = (steep * np.cos(direction))[:, None, None] * line[:, None]
    slope_x = (steep * np.sin(direction))[:, None, None] * line
    grey = _grey(u)[:, None, None] + slope_y + slope_x
    tint = 0.06 * (u[:, 3:6] - 0.5)
    image = grey[..., None] + tint[:, None, None]
    return np.clip(image, 0, 1).astype(np.float32)


def _grey(ground: Float[np.ndarray, "n 8"]) -> Float[np.ndarray, " n"]:
    return 0.12 + 0.8 * ground[:, 2]


def _tones(
    colour: np.ndarray, u: Float[np.ndarray, "n 5"], ground: Float[np.ndarray, "n 8"]
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """An object's colour, and the light or dark one that its texture adds."""
    hue = (_HUES[colour] + 10 * u[:, 0] - 5) % 360
    pink = colour == COLOURS.index("pink")
    saturation = np.where(pink, 0.5 + 0.12 * u[:, 1], 0.82 + 0.18 * u[:, 1])
    value = 0.84 + 0.16 * u[:, 2]
    # The standard conversion of hue, saturation and value, for all channels at once.
    k = (np.array([5.0, 3.0, 1.0]) + hue[:, None] / 60) % 6
    ramp = np.clip(np.minimum(k, 4 - k), 0, 1)
    tone = value[:, None] * (1 - saturation[:, None] * ramp)
    # Dark on dark would hide the outline, and light on light.
    far = np.where(_grey(ground) < 0.3 + 0.4 * u[:, 3], 0.97, 0.06)[:, None]
    other = tone + 0.85 * (far - tone)
    return tone.astype(np.float32), other.astype(np.float32)


def _pattern(
    texture: np.ndarray,
    along: Float[np.ndarray, "n points 2"],
    turn: Float[np.ndarray, " n"],
    side: int,
) -> Float[np.ndarray, "n points"]:
    """How much of the second tone each pixel shows, 0 to 1."""
    # A wave over its own slope in pixels is a distance to the edge, as for the outline.
    sharp = _PERIOD * side / (2 * np.pi)
    shown = np.zeros(along.shape[:2], np.float32)
    for kind, name in enumerate(TEXTURES):
        rows = texture == kind
        if name == "plain" or not rows.any():
            continue
        y, x = np.moveaxis(along[rows] * (2 * np.pi / _PERIOD), -1, 0)
        if name == "striped":
            wave = np.sin(
                np.cos(turn[rows])[:, None] * y + np.sin(turn[rows])[:, None] * x
            )
        elif name == "dotted":
            wave = np.cos(y) + np.cos(x) - 0.55
        else:
            wave = 1.4 * np.sin(0.8 * y) * np.sin(0.8 * x)
        shown[rows] = np.clip(0.5 + wave * sharp, 0, 1)
    return shown
