"""Comparisons of trees that say which promise was broken."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def close(
    left: Any,
    right: Any,
    what: str,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    of_largest: float = 0.0,
) -> None:
    """Asserts that all leaves agree within the tolerances, which add up."""
    for a, b in zip(_numbers(left), _numbers(right), strict=True):
        least = atol + of_largest * np.max(np.abs(b), initial=0) if of_largest else atol
        np.testing.assert_allclose(a, b, rtol=rtol, atol=least, err_msg=what)


def close_but(
    left: Any,
    right: Any,
    exceptions: Iterable[str],
    what: str,
    rtol: float,
    atol: float,
    of_largest: float = 0.0,
) -> None:
    """As `close`, without the leaves whose path holds one of `exceptions`."""
    skipped = tuple(exceptions)
    ours = jax.tree_util.tree_leaves_with_path(left)
    theirs = jax.tree_util.tree_leaves_with_path(right)
    for (path, mine), (_, other) in zip(ours, theirs, strict=True):
        name = jax.tree_util.keystr(path)
        if not any(part in name for part in skipped):
            close(mine, other, f"{what}: {name}", rtol, atol, of_largest)


def same(left: Any, right: Any) -> bool:
    """Whether all leaves agree to the bit; a NaN agrees with a NaN."""
    pairs = zip(_numbers(left), _numbers(right), strict=True)
    return all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs)


def finite(tree: Any) -> bool:
    """Whether every float is."""
    numbers = (x for x in _numbers(tree) if jnp.issubdtype(x.dtype, jnp.floating))
    return all(np.isfinite(x).all() for x in numbers)  # bfloat16, too


def shapes(tree: Any) -> Any:
    """The shape and type of every leaf."""
    return jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)


def on_host(tree: Any) -> Any:
    """The same numbers as NumPy arrays; of keys, what they are made of."""

    def numbers(leaf: Any) -> np.ndarray:
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(numbers, tree)


def _numbers(tree: Any) -> list[np.ndarray]:
    return jax.tree.leaves(on_host(tree))
