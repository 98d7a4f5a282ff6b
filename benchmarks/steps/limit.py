"""The hardware's limit: one large matrix product, by XLA, in float32 or bfloat16."""

from typing import Any

import jax
import jax.numpy as jnp
from serve import Built, serve

SIDE = 2048


def build(name: str, options: dict[str, Any]) -> Built:
    """Whatever the workload: products of 2048 x 2048 matrices."""
    del name
    dtype = jnp.dtype(options.get("dtype", "float32"))
    a, b = (jax.random.normal(jax.random.key(i), (SIDE, SIDE), dtype) for i in (0, 1))
    product = jax.jit(jnp.matmul)

    def run(steps: int) -> None:
        for _ in range(steps):
            jax.block_until_ready(product(a, b))

    return Built(run, 0, {"multiply_adds": SIDE**3})


if __name__ == "__main__":
    serve(build)
