"""Metrics that add up: each batch yields a sum and a weight; division comes last.

Inside `jit` a total is float32, or float64 of values that are, and a weight int32. The
host adds both up in double precision (`to_host`), so that no counter saturates however
long the run: float32 stops counting at 2^24 = 16,777,216.
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


class Mean(NamedTuple):
    """A weighted mean that is still being accumulated.

    The leaves may have a shape: one mean a class, or one a member of a population.
    """

    total: Any  # Float[Array, "..."]: the weighted sum of the values
    weight: Any  # Int[Array, "..."]: how many values are in it

    def merge(self, other: "Mean") -> "Mean":
        """The mean over both sets of examples."""
        return Mean(self.total + other.total, self.weight + other.weight)

    def compute(self) -> Any:
        """The mean so far, as float64 on the host; NaN where nothing was counted."""
        total = np.asarray(self.total, np.float64)
        weight = np.asarray(self.weight, np.float64)
        empty = np.full(np.broadcast_shapes(total.shape, weight.shape), np.nan)
        return np.divide(total, weight, out=empty, where=weight != 0)[()]


Metrics: TypeAlias = dict[str, Mean]


def mean(values: Float[Array, "b ..."], mask: Bool[Array, " b"]) -> Mean:
    """Averages `values` over the rows where `mask` is True; other axes are kept.

    Padding may hold anything, NaN too. A NaN in a row that counts stays a NaN.

    Raises:
        ValueError: If `mask` is not one flag a row, which would broadcast silently.
    """
    if mask.shape != values.shape[:1]:
        raise ValueError(
            f"a mask of shape {mask.shape} does not match values of shape "
            f"{values.shape}: it must hold one flag a row"
        )
    rows = mask.reshape(mask.shape + (1,) * (values.ndim - 1))
    wide = values.astype(jnp.promote_types(values.dtype, jnp.float32))
    total = jnp.sum(jnp.where(rows, wide, 0.0), axis=0)
    weight = jnp.sum(mask, dtype=jnp.int32)
    return Mean(total, jnp.broadcast_to(weight, total.shape))


def merge(left: Metrics, right: Metrics) -> Metrics:
    """Merges two dictionaries of metrics that have the same names.

    Raises:
        ValueError: If the names differ: one of them would be averaged over less.
    """
    if left.keys() != right.keys():
        raise ValueError(f"cannot merge metrics {sorted(left)} with {sorted(right)}")
    return {name: left[name].merge(right[name]) for name in left}


def to_host(metrics: Metrics) -> Metrics:
    """The same metrics as NumPy arrays that add up without loss."""
    fetched = jax.device_get(metrics)
    return {
        name: Mean(np.float64(value.total), np.int64(value.weight))
        for name, value in fetched.items()
    }


def merged(parts: Iterable[Metrics]) -> Metrics:
    """Merges any number of parts on the host, in order.

    Raises:
        ValueError: If there is no part.
    """
    hosted = [to_host(part) for part in parts]
    if not hosted:
        raise ValueError("there is no batch to merge metrics of")
    return functools.reduce(merge, hosted)
