"""Pictures from signed distance fields: one drawing of a form, any pose and any stroke.

A field holds, for every point of a square, the distance to the outline of a form:
positive inside, negative outside. Moving its level makes strokes thicker or thinner,
and reading it through an affine map turns, shears and stretches the form; the grey of a
pixel follows from its distance to the outline, without jagged edges. Green, "Improved
alpha-tested magnification for vector textures and special effects", SIGGRAPH 2007
courses, https://doi.org/10.1145/1281500.1281665
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

SIDE = 128  # samples of a field along each axis
SPAN = 1.25  # what they cover; the form's longer side is 1, its middle is 0


def signed_distance(
    inside: Bool[np.ndarray, "side side"],
) -> Float[np.ndarray, "side side"]:
    """Distance of every sample to the outline, in units of `SPAN / side`.

    Half a sample is taken off, so that the outline lies between the last sample inside
    and the first outside.

    Args:
        inside: Which samples belong to the form; some do and some do not.
    """
    within = np.asarray(ndimage.distance_transform_edt(inside))
    without = np.asarray(ndimage.distance_transform_edt(~inside))
    return np.where(inside, within - 0.5, 0.5 - without).astype(np.float32)


def sample(
    fields: Float[np.ndarray, "forms side side"],
    which: Int[np.ndarray, " n"],
    points: Float[np.ndarray, "n points 2"],
) -> Float[np.ndarray, "n points"]:
    """Each field at its own points, by bilinear interpolation.

    Args:
        fields: As `signed_distance` makes them, in any unit of length.
        which: The field that each row of points reads.
        points: (y, x); the form's middle is 0, its longer side is 1. A point outside
            of a field reads its rim.
    """
    side = fields.shape[-1]
    place = (points.astype(np.float32) / SPAN + 0.5) * side - 0.5
    place = np.clip(place, 0, side - 1.001)
    corner = place.astype(np.int32)
    part = place - corner
    flat = corner[..., 0] * side + corner[..., 1] + (which * side**2)[:, None]
    values = fields.reshape(-1)
    top, bottom = values[flat], values[flat + side]
    top = top + part[..., 1] * (values[flat + 1] - top)
    bottom = bottom + part[..., 1] * (values[flat + side + 1] - bottom)
    return top + part[..., 0] * (bottom - top)


def affine(
    scale_y: Float[np.ndarray, " n"],
    scale_x: Float[np.ndarray, " n"],
    turn: Float[np.ndarray, " n"],
    shear: Float[np.ndarray, " n"],
) -> Float[np.ndarray, "n 2 2"]:
    """The maps from an offset in pixels (y, x) to a point of the form.

    The form is sheared, stretched, and turned, in this order; the map undoes that.

    Args:
        scale_y: Pixels that the form's unit takes up, downwards.
        scale_x: Likewise to the right.
        turn: Radians, clockwise.
        shear: How far the top moves to the right, in units of its height over the
            middle: positive leans like an italic letter.
    """
    cos, sin = np.cos(turn), np.sin(turn)
    # A turned pixel offset (y, x) first goes back to the upright axes,
    back = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    # is divided by the scales, and then y says how far x was sheared.
    back = back / np.stack([scale_y, scale_x], -1)[:, :, None]
    back[:, 1] += shear[:, None] * back[:, 0]
    return back
