"""Which number type a layer computes in."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def float32_or_wider(dtype: Any) -> Any:
    """The type of logits and statistics in a computation of type `dtype`."""
    return jnp.promote_types(dtype, jnp.float32)


def computed(dtype: Any, x: Array) -> Any:
    """The type that a layer of type `dtype` computes in when it is given `x`.

    That is `dtype`, but for float32, the default: a float64 input stays float64.
    """
    wide = jnp.dtype(dtype) == jnp.float32
    return jnp.promote_types(dtype, x.dtype) if wide else dtype
