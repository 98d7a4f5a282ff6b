"""One step of a recurrent network, as functions of the carry.

The input's share of a step, `projected` = x W_x + b_x, does not depend on the carry, so
it is computed for all steps at once, outside of the loop over time. What stays inside
are the products with the hidden units.

Gates stand side by side in one array, in torch's order, so that weights carry over, or
in a tuple of one array a gate: four products of `[b, h]` by `[h, h]` are faster on a
CPU than one by `[h, 4h]` that is cut up afterwards.

- Elman, "Finding structure in time", Cognitive Science 14, 1990,
  https://doi.org/10.1207/s15516709cog1402_1: `rnn_step`, with tanh.
- Hochreiter & Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997,
  https://doi.org/10.1162/neco.1997.9.8.1735, with the forget gate of Gers, Schmidhuber
  & Cummins, "Learning to forget", 2000, https://doi.org/10.1162/089976600300015015:
  `lstm_step`, without peepholes. Gates i, f, g, o.
- Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014,
  https://arxiv.org/abs/1406.1078, equations 5 to 8: `gru_step`. Gates r, z, n.
  Departures, both torch's: the reset gate acts after the hidden product, bias and all,
  and z is the share of the old state that is kept, as in the paper's equation 7.

Every step takes `kept`, the mask of variational dropout (Gal & Ghahramani, "A
theoretically grounded application of dropout in recurrent neural networks", 2016,
https://arxiv.org/abs/1512.05287, equation 7): it multiplies the hidden units in the
product only, and what is carried on past the gates stays whole.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Gates: TypeAlias = Array | tuple[Array, ...]  # [*b, g], or one [*b, h] a gate


class LSTMCarry(NamedTuple):
    """What an LSTM hands to its next step."""

    h: Float[Array, "b h"]  # the output
    c: Float[Array, "b h"]  # the cell, which only gates change


def apart(gates: Gates, count: int) -> tuple[Array, ...]:
    """One array a gate, of gates side by side or already apart."""
    if isinstance(gates, tuple):
        return gates
    return tuple(jnp.split(gates, count, axis=-1))


def plus(gates: tuple[Array, ...], more: Gates) -> tuple[Array, ...]:
    """The sums of gates and further shares of them, apart."""
    both = zip(gates, apart(more, len(gates)), strict=True)
    return tuple(one + other for one, other in both)


def rnn_step(
    h: Float[Array, "b h"],
    projected: Gates,
    kernel: Gates,
    bias: Gates,
    *,
    kept: Float[Array, "b h"] | None = None,
) -> Float[Array, "b h"]:
    """The next hidden units, h_t = tanh(W_hh h_{t-1} + W_xh x_t + b)."""
    (x,), (read,) = apart(projected, 1), _products(h, kernel, bias, kept, 1)
    return jnp.tanh(x + read)


def lstm_step(
    carry: LSTMCarry,
    projected: Gates,
    kernel: Gates,
    bias: Gates,
    *,
    kept: Float[Array, "b h"] | None = None,
) -> LSTMCarry:
    """The next carry: c_t = f c_{t-1} + i g, h_t = o tanh(c_t)."""
    read = _products(carry.h, kernel, bias, kept, 4)
    i, f, g, o = (x + y for x, y in zip(apart(projected, 4), read, strict=True))
    c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return LSTMCarry(jax.nn.sigmoid(o) * jnp.tanh(c), c)


def gru_step(
    h: Float[Array, "b h"],
    projected: Gates,
    kernel: Gates,
    bias: Gates,
    *,
    kept: Float[Array, "b h"] | None = None,
) -> Float[Array, "b h"]:
    """The next hidden units, h_t = z h_{t-1} + (1 - z) n."""
    r_x, z_x, n_x = apart(projected, 3)
    r_h, z_h, n_h = _products(h, kernel, bias, kept, 3)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + r * n_h)
    return z * h + (1 - z) * n


def _products(
    h: Float[Array, "b h"],
    kernel: Gates,
    bias: Gates,
    kept: Float[Array, "b h"] | None,
    count: int,
) -> list[Float[Array, "b h"]]:
    """The hidden units' share of each gate, computed in the kernel's type."""
    kernels, biases = apart(kernel, count), apart(bias, count)
    read = (h if kept is None else h * kept).astype(kernels[0].dtype)
    return [read @ k + b[None, :] for k, b in zip(kernels, biases, strict=True)]
