"""Random numbers that never change: what generated data sets are drawn from.

The methods of NumPy's `Generator` may give other numbers in another version; the raw
output of its bit generators may not. So everything here is computed from the raw 64-bit
words of Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
https://doi.org/10.1145/2063384.2063405) under a key that is a hash of a name.
"""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float, UInt64

T = TypeVar("T")


def uniforms(name: str, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """Numbers in [0, 1), multiples of 2^-53, in C order.

    A longer first axis only adds rows: the earlier ones stay as they are.

    Args:
        name: Another name, other numbers.
        shape: Of the result.
    """
    words = _philox(name).random_raw(int(np.prod(shape, dtype=np.int64)))
    return _unit(np.asarray(words, np.uint64)).reshape(shape)


def noise_bytes(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform bytes, uint8, in C order; eight come from each word."""
    count = int(np.prod(shape, dtype=np.int64))
    words = np.asarray(_philox(name).random_raw(-(-count // 8)), "<u8")
    return words.view(np.uint8)[:count].reshape(shape)


class Draws:
    """One number after another, for choices that depend on earlier ones."""

    def __init__(self, name: str) -> None:
        self._philox = _philox(name)
        self._block: list[float] = []

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number in [low, high)."""
        if not self._block:
            words = np.asarray(self._philox.random_raw(64), np.uint64)
            self._block = _unit(words)[::-1].tolist()
        return low + (high - low) * self._block.pop()

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""
        return int(self.uniform() * count)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.uniform() < probability

    def choice(self, options: Sequence[T]) -> T:
        """One of them, all equally likely."""
        return options[self.below(len(options))]

    def weighted(self, options: Sequence[T], weights: Sequence[float]) -> T:
        """One of them, likely in proportion to its weight."""
        left = self.uniform() * sum(weights)
        for option, weight in zip(options, weights, strict=True):
            left -= weight
            if left < 0:
                return option
        return options[-1]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """All of them, in an order where each is equally likely."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in options]


def _philox(name: str) -> np.random.Philox:
    key = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.Philox(key=np.frombuffer(key, "<u8").astype(np.uint64))


def _unit(words: UInt64[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return (words >> np.uint64(11)) * 2.0**-53
