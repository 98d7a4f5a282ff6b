"""Filters that whiten patches of images: principal components of unit variance."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.ops.norm import widen


def whitening_filters(
    image: Float[Array, "b h w c"], side: int, count: int, *, epsilon: float = 1e-2
) -> Float[Array, "side side c count"]:
    """Projections of patches on their principal components, largest first.

    Each is divided by the root of its second moment and `epsilon`: what a filter says
    about these patches has mean square l / (l + epsilon), where l is the moment, and
    what two filters say is uncorrelated. Coates, Ng & Lee, "An analysis of single-layer
    networks in unsupervised feature learning", AISTATS 2011,
    https://proceedings.mlr.press/v15/coates11a.html, section 3.1, have the same of
    centred patches: here the mean is left in, which for normalised images is nearly 0.

    Args:
        image: The patches are all of these images', from edge to edge.
        side: Of a patch, in pixels.
        count: How many components; there are `side * side * c`.
        epsilon: Keeps components that hardly occur from being blown up.

    Raises:
        ValueError: If there are fewer components, or an image is smaller than a patch.
    """
    _, height, width, channels = image.shape
    size = side * side * channels
    if not 1 <= count <= size:
        raise ValueError(f"patches of {size} numbers have no {count} components")
    if min(height, width) < side:
        raise ValueError(f"no patch of {side} pixels in {height}x{width}")
    x = widen(image)
    rows, columns = height - side + 1, width - side + 1
    shifted = [
        x[:, down : down + rows, right : right + columns]
        for down in range(side)
        for right in range(side)
    ]
    patches = jnp.concatenate(shifted, axis=-1).reshape(-1, size)
    moments = patches.T @ patches / len(patches)
    values, vectors = jnp.linalg.eigh(moments)  # rising
    values, vectors = values[: -count - 1 : -1], vectors[:, : -count - 1 : -1]
    scale = jax.lax.rsqrt(jnp.maximum(values, 0) + epsilon)
    return (vectors * scale[None, :]).reshape(side, side, channels, count)
