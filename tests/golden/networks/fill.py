"""Numbers that the torch side and the JAX side can both compute from a name.

Philox's raw bits are the same in every version of NumPy, so that golden files need to
hold nothing but the logits.
"""

import math
import zlib

import numpy as np


def uniform(name, shape):
    """Numbers in [-1, 1), decided by the name alone."""
    size = math.prod(shape)
    bits = np.random.Philox(key=zlib.crc32(name.encode())).random_raw(-(-size // 2))
    numbers = bits.view(np.uint32)[:size].astype(np.float32)
    return (numbers * np.float32(2.0**-31) - 1).reshape(shape)


def fill(name, shape, damping=1.0):
    """An array of a state_dict: Kaiming's variance, running statistics near 0 and 1.

    Weights are `damping` times as large.
    """
    numbers = uniform(name, shape)
    if len(shape) > 1:
        return numbers * np.float32(damping * math.sqrt(6 / math.prod(shape[1:])))
    if name.endswith("running_var"):
        return 1 + numbers / 2
    if name.endswith("weight"):
        return 1 + numbers / 5
    return numbers / 10


def images(name, count, size, channels):
    """Images `[count, size, size, channels]` in [-1, 1)."""
    return uniform(f"image of {name}", (count, size, size, channels))
