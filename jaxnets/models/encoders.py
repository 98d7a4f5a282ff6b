"""The networks that a captioner may look with, by name."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, PyTree

from jaxnets.models import functional, weights
from jaxnets.models.parts.grid import GridNet, LayerOf, WhitenedGridNet
from jaxnets.models.zoo import ZOO, suited
from jaxnets.types import Variables

# Of the images that published networks were trained on, on the scale [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLASSES = 1000  # of those networks; nobody asks for them here
GRIDS: dict[str, type[GridNet] | type[WhitenedGridNet]] = {
    "grid": GridNet,
    "whitened": WhitenedGridNet,
}
ENCODERS = (*GRIDS, *ZOO)


def encoder(name: str, layer: str, side: int, *, published: bool) -> nn.Module:
    """A network that returns a grid of features, or one vector.

    Args:
        name: `grid`, the small `GridNet`; `whitened`, the `WhitenedGridNet`; or a
            network of the zoo.
        layer: Of that network, as `functional.features` names it.
        side: Of the images, in pixels.
        published: Whether weights will come from a file, so that the network must stay
            as it was published, however small the images.
    """
    if name in GRIDS:
        return GRIDS[name]()
    network = ZOO[name](CLASSES)
    return LayerOf(network if published else suited(network, side), layer)


def sees(name: str) -> int | None:
    """Pixels along the side of what one cell of an encoder sees; None: not known."""
    return GRIDS[name]().receptive_field if name in GRIDS else None


def pretrained(model: nn.Module, side: int, path: Any) -> Variables:
    """The variables of the network in a `LayerOf`, from a file; see `weights.load`.

    The file's network may tell other classes apart, unless they are looked at: where
    the layer needs no head, the heads are zeros.

    Args:
        model: The encoder.
        side: Of the images, in pixels.
        path: Name of a `.safetensors` or `.npz` file.

    Raises:
        WeightsError: If the file does not hold this network's weights, or the encoder
            is the small network of this project, which nobody published.
    """
    if not isinstance(model, LayerOf):
        raise weights.WeightsError(
            "weights are for networks of the zoo: --encoder NAME"
        )
    image = jnp.zeros((1, side, side, 3))
    shapes = jax.eval_shape(
        lambda key: functional.init(model.network, key, image), jax.random.key(0)
    )
    unseen = not _has_head(shapes.params, model.layer)
    found = weights.load(model.network, shapes, path, new_head=unseen)

    def filled(leaf: Any) -> Array:
        missing = isinstance(leaf, jax.ShapeDtypeStruct)
        return jnp.zeros(leaf.shape, leaf.dtype) if missing else leaf

    return jax.tree.map(filled, found)


def _has_head(params: PyTree, layer: str) -> bool:
    """Whether a layer is a head, lies in one, or has one inside; the whole has."""
    heads = {
        "/".join(path[:-1])
        for path, own in flatten_dict(weights.head_mask(params)).items()
        if own
    }
    inside = lambda part, whole: not whole or f"{part}/".startswith(f"{whole}/")
    return any(inside(layer, head) or inside(head, layer) for head in heads)


def frozen(
    model: nn.Module,
    given: Variables,
    statistics: tuple[Sequence[float], Sequence[float]] = IMAGENET,
) -> Callable[[Any], Array]:
    """From bytes `[b, h, w, c]` to features, by a network that never learns.

    Args:
        model: A `LayerOf` a network.
        given: The network's variables.
        statistics: Mean and standard deviation of each channel, on the scale [0, 1].
    """
    inside = Variables(
        {"network": given.params},
        {name: {"network": tree} for name, tree in given.buffers.items()},
    )
    mean, std = (jnp.asarray(s).reshape(1, 1, 1, -1) for s in statistics)

    def encode(image: Any) -> Array:
        scaled = (jnp.asarray(image).astype(jnp.float32) / 255 - mean) / std
        return functional.predict(model, inside, scaled)

    return encode
