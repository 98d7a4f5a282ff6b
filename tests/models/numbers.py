"""Variables for tests that compare, without a program that draws them."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.models import functional
from tests.golden.networks.fill import uniform


def numbered(model, *inputs, scale=3.0, middle=0.1, middles=None):
    """Variables of `model` that its names and shapes decide.

    To compile what draws them takes longer than all that a small network does with
    them. They are larger than drawn ones: nothing is nearly linear or nearly even.

    Args:
        model: A Flax Linen module.
        *inputs: A batch for it.
        scale: Of weights from one input; from `n` they are the root of `n` smaller, and
            vectors a tenth of it.
        middle: Of all numbers.
        middles: In place of `middle`, by the last name of the path.
    """
    inputs = jax.tree.map(jnp.asarray, inputs)
    shapes = jax.eval_shape(
        lambda key: functional.init(model, key, *inputs), jax.random.key(0)
    )

    def numbers(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        inside = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 100
        around = (middles or {}).get(name.split("/")[-1], middle)
        return jnp.asarray(scale / np.sqrt(inside) * uniform(name, leaf.shape) + around)

    return jax.tree_util.tree_map_with_path(numbers, shapes)
