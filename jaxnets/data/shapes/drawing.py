"""Draws the forms of generated scenes: smooth edges, shades, textures, noise.

Forms are read from signed distance fields (`jaxnets.data.generated.fields`).
"""

from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxnets.data.generated import fields
from jaxnets.data.generated.draws import noise_bytes

FORMS = ("circle", "square", "triangle", "star", "cross", "ring", "diamond", "heart")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
TEXTURES = ("plain", "striped", "dotted", "checkered")

STEEPEST = np.deg2rad(12)  # how far a form is turned at most, radians
_HUES = np.array([0.0, 27.0, 55.0, 128.0, 181.0, 222.0, 274.0, 326.0])
_PERIOD = 0.1  # of a texture, in units of the image's side

_Index: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


class PosedForms(NamedTuple):
    """One form an image: what it is, where it lies, and what chance decides."""

    form: Int[np.ndarray, " n"]  # position in FORMS
    colour: Int[np.ndarray, " n"]  # in COLOURS
    texture: Int[np.ndarray, " n"]  # in TEXTURES
    middle: Float[np.ndarray, "n 2"]  # (y, x) in pixels of the image
    body: Float[np.ndarray, " n"]  # pixels along the form's longer side
    chance: Float[np.ndarray, "n 7"]  # in [0, 1): turn, texture's turn, shades

    @property
    def turn(self) -> Float[np.ndarray, " n"]:
        """How far each is turned, radians clockwise, at most `STEEPEST`."""
        return np.deg2rad(24 * self.chance[:, 0] - 12)


class Patches(NamedTuple):
    """A square of pixels around the middle of each form."""

    corner: Int[np.ndarray, "n 2"]  # the pixel (y, x) of the image that it lies around
    cover: Float[np.ndarray, "n patch patch 1"]  # share of a pixel that the form covers
    paint: Float[np.ndarray, "n patch patch 3"]  # its colour there, in [0, 1]

    def place(self, rows: Int[np.ndarray, " n"], margin: int) -> _Index:
        """Where the patches lie in an array `[images, height, width]`.

        Args:
            rows: The image of each.
            margin: Pixels that the array has beyond the image, above and to the left.
        """
        reach = self.cover.shape[1] // 2
        line = np.arange(-reach, reach) + margin
        return (
            rows[:, None, None],
            (self.corner[:, :1] + line)[:, :, None],
            (self.corner[:, 1:] + line)[:, None, :],
        )


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


def patches(
    posed: PosedForms,
    ground: Float[np.ndarray, "n 8"],
    forms: Float[np.ndarray, "forms field field"],
    side: int,
    reach: int,
) -> Patches:
    """Draws each form in a square patch of its own.

    Args:
        posed: The forms.
        ground: What decides the grounds behind them, as `background` takes it: textures
            stand out from it.
        forms: From `form_fields`.
        side: Pixels along each edge of the image.
        reach: Half the side of a patch, in pixels.
    """
    middle, body, u = posed.middle, posed.body, posed.chance
    line = np.arange(-reach, reach)
    corner = np.floor(middle).astype(int)
    maps = fields.affine(body, body, posed.turn, np.zeros_like(body))
    offset = (line + 0.5) + (corner - middle)[:, :, None]
    y, x = offset[:, 0, :, None], offset[:, 1, None, :]
    points = maps[:, None, None, :, 0] * y[..., None]
    points = points + maps[:, None, None, :, 1] * x[..., None]
    points = points.reshape(len(body), -1, 2).astype(np.float32)
    distance = fields.sample(forms, posed.form, points) * body[:, None]
    cover = np.clip(distance + 0.5, 0, 1)
    along = points * (body / side)[:, None, None]  # units of the image's side
    pattern = _pattern(posed.texture, along, np.pi * u[:, 1], side)
    tone, other = _tones(posed.colour, u[:, 2:], ground)
    paint = tone[:, None] + pattern[..., None] * (other - tone)[:, None]
    square = (len(body), len(line), len(line))
    return Patches(corner, cover.reshape(*square, 1), paint.reshape(*square, 3))


def grained(
    image: Float[np.ndarray, "n h w 3"], noise: str
) -> UInt8[np.ndarray, "n h w 3"]:
    """Images in [0, 1] as bytes, with uniform noise of up to 6 levels.

    Args:
        image: Without noise.
        noise: Another name, other noise.
    """
    grain = noise_bytes(noise, image.shape) * (12 / 255) - 6
    return np.clip(np.round(255 * image + grain), 0, 255).astype(np.uint8)


def background(
    u: Float[np.ndarray, "n 8"], side: int, reach: int
) -> Float[np.ndarray, "n wide wide 3"]:
    """Grey grounds with a tint, lighter towards some side, values in [0, 1].

    Args:
        u: In [0, 1): what decides the ground of each image.
        side: Pixels along each edge of the image.
        reach: Pixels added on all four sides.
    """
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
