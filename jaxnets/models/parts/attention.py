"""Attention: of a decoder over a memory, and of a sequence over itself.

- Bahdanau, Cho & Bengio, "Neural machine translation by jointly learning to align and
  translate", 2014, https://arxiv.org/abs/1409.0473, section A.1.2:
  `AdditiveAttention`.
- Luong, Pham & Manning, "Effective approaches to attention-based neural machine
  translation", 2015, https://arxiv.org/abs/1508.04025, section 3.1: `DotAttention`.
- Vaswani et al., "Attention is all you need", 2017, https://arxiv.org/abs/1706.03762,
  sections 3.2 and 3.5: `ScaledDotAttention`, `MultiHeadAttention`,
  `SelfAttentionEncoder`.

The first three return weights, so that a decoder can keep them for a picture; the
context is `ops.attention.weighted_sum` of the weights and the memory. What concerns the
memory alone is computed once: `keys = attention.keys(memory)`. Their `sharpness`, above
0, is the inverse temperature of the softmax: 1 as in these papers, more to look at less
(Chorowski et al., "Attention-based models for speech recognition", 2015,
https://arxiv.org/abs/1506.07503, section 2.3). Each weight is raised to that power, and
their sum is 1 again. A decoder hands its own attribute `sharpness` to its attention;
what was trained with 1 may decode better with more.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnets.models.parts.blocks import Dense, Dropout, Rate
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.ops import attention as ops


class AdditiveAttention(nn.Module):
    """Scores v . tanh(W q + U k + b): (dq + dk + 2) features parameters.

    Attributes:
        features: Width of the hidden layer that compares query and key.
        dtype: Of the computation; softmax is float32 or wider.
        sharpness: See the top of this module.
    """

    features: int
    dtype: Any = jnp.float32
    sharpness: float | int = 1.0

    def setup(self) -> None:
        """Names the layers."""
        self.query = Dense(self.features, dtype=self.dtype)
        self.key = Dense(self.features, use_bias=False, dtype=self.dtype)
        self.score = Dense(1, use_bias=False, dtype=self.dtype)

    def keys(self, memory: Float[Array, "b n d"]) -> Float[Array, "b n e"]:
        """The memory as `__call__` compares it with queries."""
        return self.key(memory)

    def __call__(
        self,
        query: Float[Array, "r d"],
        keys: Float[Array, "b n e"],
        present: Bool[Array, "b n"] | None = None,
        *,
        hint: Float[Array, "r n e"] | None = None,
    ) -> Float[Array, "r n"]:
        """Returns how much each place of the memory is attended to.

        Args:
            query: One a row of the memory: a decoder's hidden units. Or several, one
                after the other, as in `weighted_sum`.
            keys: What `keys` returned.
            present: False where the memory is padding.
            hint: What is known of each place besides, joined in front of the tanh.
        """
        rows, (batch, places, _) = len(query), keys.shape
        asked = self.query(query).reshape(batch, -1, 1, self.features)
        hidden = asked + keys[:, None]
        if hint is not None:
            hidden = hidden + hint.reshape(*asked.shape[:2], places, -1)
        scores = self.score(jnp.tanh(hidden))[..., 0]
        if present is not None:
            present = jnp.broadcast_to(present[:, None], scores.shape)
        return _weights(self.sharpness * scores, present).reshape(rows, places)


class DotAttention(nn.Module):
    """Scores q . k, without parameters unless `features` are given.

    Attributes:
        features: Query and memory are first mapped to this width, each by a matrix
            (Luong's "general" has the product of the two); None where their widths are
            equal already.
        dtype: Of the computation; softmax is float32 or wider.
        sharpness: See the top of this module.
    """

    features: int | None = None
    dtype: Any = jnp.float32
    sharpness: float | int = 1.0

    def setup(self) -> None:
        """Names the layers."""
        if self.features is not None:
            self.query = Dense(self.features, use_bias=False, dtype=self.dtype)
            self.key = Dense(self.features, use_bias=False, dtype=self.dtype)

    def keys(self, memory: Float[Array, "b n d"]) -> Float[Array, "b n e"]:
        """The memory as `__call__` compares it with queries."""
        return memory.astype(self.dtype) if self.features is None else self.key(memory)

    def __call__(
        self,
        query: Float[Array, "b d"],
        keys: Float[Array, "b n e"],
        present: Bool[Array, "b n"] | None = None,
    ) -> Float[Array, "b n"]:
        """Returns how much each place of the memory is attended to.

        Args:
            query: One a row.
            keys: What `keys` returned.
            present: False where the memory is padding.

        Raises:
            ValueError: If query and keys differ in width.
        """
        query = query.astype(self.dtype)
        query = query if self.features is None else self.query(query)
        if query.shape[-1] != keys.shape[-1]:
            raise ValueError(
                f"a query of width {query.shape[-1]} has no dot product with keys of "
                f"width {keys.shape[-1]}: give the attention its `features`"
            )
        scores = jnp.einsum("bd,bnd->bn", query, keys) * self._scale(query.shape[-1])
        return _weights(self.sharpness * scores, present)

    def _scale(self, width: int) -> float:
        del width
        return 1.0


class ScaledDotAttention(DotAttention):
    """Scores q . k / sqrt(width): of unit variance where queries and keys have it."""

    def _scale(self, width: int) -> float:
        return width**-0.5


class MultiHeadAttention(nn.Module):
    """Several scaled dot products side by side; equal to torch's.

    Attributes:
        features: Width of the output; the heads share it.
        heads: How many.
        dtype: Of the computation; softmax is float32 or wider.
    """

    features: int
    heads: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        query: Float[Array, "b t d"],
        memory: Float[Array, "b n e"],
        present: Bool[Array, "b n"] | None = None,
        *,
        train: bool,
        dropout: Rate = 0,
        causal: bool = False,
    ) -> tuple[Float[Array, "b t d"], Float[Array, "b heads t n"]]:
        """Returns what each query gathers from the memory, and with which weights.

        Args:
            query: Who asks.
            memory: Who is asked; `query` itself for self-attention.
            present: False where the memory is padding.
            train: Whether weights are dropped.
            dropout: Probability that a weight is dropped, after the softmax.
            causal: Query i sees the memory up to place i only.

        Raises:
            ValueError: If the width does not divide into the heads.
        """
        if self.features % self.heads:
            raise ValueError(
                f"a width of {self.features} does not divide into {self.heads} heads"
            )

        def headed(x: Array, name: str) -> Array:
            x = Dense(self.features, dtype=self.dtype, name=name)(x)
            return x.reshape(*x.shape[:2], self.heads, -1)

        if present is not None:
            memory = jnp.where(present[:, :, None], memory, 0)
        q, k, v = headed(query, "query"), headed(memory, "key"), headed(memory, "value")
        scores = jnp.einsum("bthd,bnhd->bhtn", q, k) * q.shape[-1] ** -0.5
        seen = jnp.ones((1, 1, *scores.shape[-2:]), bool)
        seen = jnp.tril(seen) if causal else seen
        if present is not None:
            seen = seen & present[:, None, None, :]
        weights = _weights(scores, jnp.broadcast_to(seen, scores.shape))
        used = Dropout(name="drop")(weights, dropout, train=train).astype(v.dtype)
        joined = jnp.einsum("bhtn,bnhd->bthd", used, v).reshape(*query.shape[:2], -1)
        return Dense(self.features, dtype=self.dtype, name="output")(joined), weights


class Encoded(NamedTuple):
    """A sequence that has looked at itself."""

    output: Float[Array, "b t d"]
    weights: Float[Array, "b layers heads t t"]  # query, then memory


class SelfAttentionEncoder(nn.Module):
    """Layers of self-attention and a position-wise network, over sinusoidal positions.

    Departure from section 3.1 of the paper: norms stand in front of what they feed and
    not behind the sum, with one more at the end, which trains without a warm-up (Xiong
    et al., "On layer normalization in the transformer architecture", 2020,
    https://arxiv.org/abs/2002.04745, section 3). Equal to torch's
    `TransformerEncoder(TransformerEncoderLayer(norm_first=True), norm=LayerNorm)`.
    A layer has 4 d^2 + 2 d m + 9 d + m parameters for width d and m hidden units.

    Attributes:
        features: Width; the input must have it.
        layers: How many.
        heads: Of each layer.
        hidden: Units of the position-wise network; None: four times the width.
        dtype: Of the computation; norms are float32.
    """

    features: int
    layers: int = 2
    heads: int = 4
    hidden: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t d"],
        present: Bool[Array, "b t"] | None = None,
        *,
        train: bool,
        dropout: Rate = 0,
    ) -> Encoded:
        """Returns each place of `x` in its context, 0 where it is padding.

        Args:
            x: Embeddings; their positions are added here.
            present: False where `x` is padding, which then counts nowhere.
            train: Whether anything is dropped.
            dropout: Probability for the sum with positions, attention weights, hidden
                units and the output of every sublayer (section 5.4).
        """
        x = x + ops.sinusoids(x.shape[1], self.features)[None].astype(x.dtype)
        if present is not None:
            x = jnp.where(present[:, :, None], x, 0)
        x = Dropout(name="drop")(x, dropout, train=train)
        kept = []
        for index in range(self.layers):
            block = _Block(
                self.features,
                self.heads,
                self.hidden or 4 * self.features,
                self.dtype,
                name=f"layer{index}",
            )
            x, weights = block(x, present, train=train, dropout=dropout)
            kept.append(weights)
        x = _norm(self.dtype, "norm")(x)
        if present is not None:
            x = jnp.where(present[:, :, None], x, 0)
        return Encoded(x, jnp.stack(kept, axis=1))


class _Block(nn.Module):
    features: int
    heads: int
    hidden: int
    dtype: Any

    @nn.compact
    def __call__(
        self, x: Array, present: Array | None, *, train: bool, dropout: Rate
    ) -> tuple[Array, Array]:
        """Returns the sequence after one layer, and the layer's weights."""
        attention = MultiHeadAttention(
            self.features, self.heads, self.dtype, name="attention"
        )
        y = _norm(self.dtype, "norm1")(x)
        y, weights = attention(y, y, present, train=train, dropout=dropout)
        x = x + Dropout(name="drop1")(y, dropout, train=train)
        y = _norm(self.dtype, "norm2")(x)
        y = nn.relu(Dense(self.hidden, dtype=self.dtype, name="dense1")(y))
        y = Dropout(name="drop2")(y, dropout, train=train)
        y = Dense(self.features, dtype=self.dtype, name="dense2")(y)
        return x + Dropout(name="drop3")(y, dropout, train=train), weights


def _norm(dtype: Any, name: str) -> nn.LayerNorm:
    """Over the features of each place: padding and other places do not enter."""
    return nn.LayerNorm(
        epsilon=1e-5, dtype=dtype, use_fast_variance=False, reduction_axes=-1, name=name
    )


def _weights(scores: Array, present: Array | None) -> Array:
    return ops.softmax(scores.astype(float32_or_wider(scores.dtype)), present)
