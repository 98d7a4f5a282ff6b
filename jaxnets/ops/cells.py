"""One step of a recurrent network, as functions of the carry.

The input's share of a step, `projected` = x W_x + b_x, does not depend on the carry, so
it is computed for all steps at once, outside of the loop over time. What stays inside
is one product with the hidden units.

Gates stand in one array, in torch's order, so that weights carry over:

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

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class LSTMCarry(NamedTuple):
    """What an LSTM hands to its next step."""

    h: Float[Array, "b h"]  # the output
    c: Float[Array, "b h"]  # the cell, which only gates change


def rnn_step(
    h: Float[Array, "b h"],
    projected: Float[Array, "b h"],
    kernel: Float[Array, "h h"],
    bias: Float[Array, " h"],
    *,
    kept: Float[Array, "b h"] | None = None,
) -> Float[Array, "b h"]:
    """The next hidden units, h_t = tanh(W_hh h_{t-1} + W_xh x_t + b)."""
    return jnp.tanh(projected + _product(h, kernel, bias, kept))


def lstm_step(
    carry: LSTMCarry,
    projected: Float[Array, "b g"],
    kernel: Float[Array, "h g"],
    bias: Float[Array, " g"],
    *,
    kept: Float[Array, "b h"] | None = None,
) -> LSTMCarry:
    """The next carry: c_t = f c_{t-1} + i g, h_t = o tanh(c_t)."""
    gates = projected + _product(carry.h, kernel, bias, kept)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = jax.nn.sigmoid(f) * carry.c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return LSTMCarry(jax.nn.sigmoid(o) * jnp.tanh(c), c)


def gru_step(
    h: Float[Array, "b h"],
    projected: Float[Array, "b g"],
    kernel: Float[Array, "h g"],
    bias: Float[Array, " g"],
    *,
    kept: Float[Array, "b h"] | None = None,
) -> Float[Array, "b h"]:
    """The next hidden units, h_t = z h_{t-1} + (1 - z) n."""
    r_x, z_x, n_x = jnp.split(projected, 3, axis=-1)
    r_h, z_h, n_h = jnp.split(_product(h, kernel, bias, kept), 3, axis=-1)
    r, z = jax.nn.sigmoid(r_x + r_h), jax.nn.sigmoid(z_x + z_h)
    n = jnp.tanh(n_x + r * n_h)
    return z * h + (1 - z) * n


def _product(
    h: Float[Array, "b h"],
    kernel: Float[Array, "h g"],
    bias: Float[Array, " g"],
    kept: Float[Array, "b h"] | None,
) -> Float[Array, "b g"]:
    """The hidden units' share, computed in the kernel's type."""
    read = h if kept is None else h * kept
    return read.astype(kernel.dtype) @ kernel + bias[None, :]
