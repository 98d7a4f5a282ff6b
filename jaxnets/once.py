"""Programs that run once, and so should above all be compiled quickly."""

from collections.abc import Callable
from typing import Any

import jax

_QUICKLY = {"xla_backend_optimization_level": 1}  # of LLVM; 3 is usual


def once(function: Callable[..., Any]) -> Any:
    """`jax.jit` for a program that runs once, as the one that draws parameters does.

    On a CPU its machine code is hardly optimised: LLVM unrolls the rounds of the random
    generator in every draw, which was most of a ResNet-20's time to its first step.
    That network's parameters are the same to the bit either way. Elsewhere it is
    `jax.jit`.

    Args:
        function: Of arrays and pytrees of them.
    """
    if jax.default_backend() != "cpu":
        return jax.jit(function)
    return jax.jit(function, compiler_options=_QUICKLY)
