"""Sequence to sequence: one recurrent network reads, another one writes.

- Sutskever, Vinyals & Le, "Sequence to sequence learning with neural networks", 2014,
  https://arxiv.org/abs/1409.3215, section 2: the source becomes one vector, and from
  that vector comes the target. Without attention.
- Bahdanau, Cho & Bengio, "Neural machine translation by jointly learning to align and
  translate", 2014, https://arxiv.org/abs/1409.0473, sections 3 and A: a bidirectional
  encoder; before every word the decoder looks at all its outputs, with weights alpha_ij
  from its own last state (equation 6), and makes a context of them (5).
- Luong, Pham & Manning, 2015, https://arxiv.org/abs/1508.04025, section 3.1: the dot
  product as a score.

Departures: the encoder without attention is bidirectional as well (Sutskever et al.
read the source backwards, which is one of the two directions), and its last states
reach the decoder through a layer; Bahdanau et al. take the backward one only. The layer
before the logits (A.2.2) is a tanh of the new state, the word before and the context,
instead of a maxout of the old state and those. The dot score stands in the decoder of
Bahdanau et al. and has a matrix on either side.

Checkable: with E = 8, H = 16 (GRU, one layer, additive attention of width 12), source
and target vocabularies of 11 and 7, there are 7,071 parameters.
"""

import functools
from typing import Any, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.models.parts.attention import AdditiveAttention, DotAttention
from jaxnets.models.parts.blocks import Dense, Dropout, Rate, off
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.models.parts.recurrent import CELLS, Carry, Embedding, Recurrent, output_of
from jaxnets.models.parts.teacher_forcing import Projected, step_keys, teacher_forced
from jaxnets.ops.attention import weighted_sum
from jaxnets.ops.cells import LSTMCarry, plus
from jaxnets.ops.decoding import PAD
from jaxnets.types import Key

Attention: TypeAlias = Literal["plain", "additive", "dot"]


class SourceMemory(NamedTuple):
    """The encoded source, computed once and read by the decoder at every token."""

    output: Float[Array, "b s d"]  # of the encoder; no width without attention
    keys: Float[Array, "b s e"]  # as attention compares them with a state
    present: Bool[Array, "b s"]  # False where the source is padding


class Written(NamedTuple):
    """What a decoder says at each step, and what it looked at."""

    logits: Float[Array, "b t vocabulary"]  # of the token after each given one
    weights: Float[Array, "b t s"]  # alpha; sums to 1 over the source, or to 0


class Seq2Seq(nn.Module):
    """An encoder and a decoder; padding in the source counts nowhere.

    Attributes:
        source: Tokens of the vocabulary that is read.
        target: Tokens of the vocabulary that is written.
        features: Hidden units, of each direction of the encoder and of the decoder.
        embedding: Width of the vectors of tokens, and of the layer before the logits.
        attention: `plain` for none, `additive` or `dot`.
        compared: Width in which attention compares state and source.
        cell: Of encoder and decoder: `gru`, `lstm` or `rnn`.
        layers: Of the encoder; the decoder has one.
        dtype: Of the products; states and logits are float32 or wider.
        sharpness: Of the attention; see `jaxnets.models.parts.attention`.
    """

    source: int
    target: int
    features: int = 128
    embedding: int = 64
    attention: Attention = "additive"
    compared: int = 64
    cell: str = "gru"
    layers: int = 1
    dtype: Any = jnp.float32
    sharpness: float | int = 1.0

    def setup(self) -> None:
        """Names the layers."""
        dense = functools.partial(Dense, dtype=self.dtype)
        kind, features = CELLS[self.cell], self.features
        self.read = Embedding(self.source, self.embedding, dtype=self.dtype)
        self.encoder = Recurrent(
            kind, features, self.layers, bidirectional=True, dtype=self.dtype
        )
        self.bridge = dense(features)
        if self.cell == "lstm":
            self.bridge_cell = dense(features)
        self.written = Embedding(self.target, self.embedding, dtype=self.dtype)
        self.decoder = kind(features, dtype=self.dtype)
        self.state = dense(self.embedding)
        self.word = dense(self.embedding, use_bias=False)
        if self.attention != "plain":
            scores = {"additive": AdditiveAttention, "dot": DotAttention}
            self.attend = scores[self.attention](
                self.compared, self.dtype, self.sharpness
            )
            self.context = dense(kind.gates * features, use_bias=False)
            self.context_word = dense(self.embedding, use_bias=False)
        self.output = dense(self.target)
        self.drop = Dropout()

    @nn.nowrap
    def sharpened(self, factor: float | int) -> "Seq2Seq":
        """The same network with `factor` times the `sharpness` of its attention."""
        return self.clone(sharpness=factor * self.sharpness)

    def start(
        self, source: Int[Array, "b s"], *, train: bool = False, dropout: Rate = 0
    ) -> tuple[SourceMemory, Carry]:
        """Reads the source: what `step` needs of it, and the decoder's first carry."""
        present = source != PAD
        words = self.drop(self.read(source), dropout, train=train)
        output, carries = self.encoder(words, present, train=train)
        forward, backward = carries[-2:]  # of the top layer
        joined = _joined(output_of(forward), output_of(backward))
        h = jnp.tanh(self.bridge(joined)).astype(joined.dtype)
        carry: Carry = h
        if isinstance(forward, LSTMCarry):
            cells = _joined(forward.c, backward.c)
            carry = LSTMCarry(h, self.bridge_cell(cells).astype(cells.dtype))
        if self.attention == "plain":
            return SourceMemory(output[..., :0], output[..., :0], present), carry
        return SourceMemory(output, self.attend.keys(output), present), carry

    def step(
        self, memory: SourceMemory, carry: Carry, token: Int[Array, " b"]
    ) -> tuple[Carry, Float[Array, "b vocabulary"], Float[Array, "b s"]]:
        """One token: the carry after it, the logits of the next, what was looked at.

        With the memory bound it is a step of `jaxnets.ops.decoding`.
        """
        word, projected = self._read(token)
        carry, context, weights = self._advance(memory, carry, projected)
        return carry, self._said(word, output_of(carry), context), weights

    def __call__(
        self,
        source: Int[Array, "b s"],
        token: Int[Array, "b t"],
        *,
        train: bool,
        dropout: Rate = 0,
        sampling: Rate = 0,
    ) -> Written:
        """Returns the logits after each token: teacher forcing, all tokens are given.

        Args:
            source: What is read.
            token: `<start>` and the tokens of the target.
            train: Whether anything is dropped or drawn.
            dropout: Probability that a feature of a source token, or a unit in front of
                the logits, is dropped.
            sampling: Probability that the decoder is fed its own draw instead of the
                given token (scheduled sampling, `models.parts.teacher_forcing`).
        """
        memory, carry = self.start(source, train=train, dropout=dropout)
        keys = None
        if train and not off(sampling):
            times = jnp.arange(token.shape[1])
            keys = step_keys(self.make_rng("dropout"), times)

        def advance(
            module: Any, carry: Carry, projected: Projected, key: Key | None
        ) -> tuple[Carry, tuple[Array, Array, Array]]:
            del key
            carry, context, weights = module._advance(memory, carry, projected)
            return carry, (output_of(carry), context, weights)

        word, (h, context, weights) = teacher_forced(
            self,
            carry,
            token,
            read=Seq2Seq._read,
            advance=advance,
            logits=Seq2Seq._said,
            vocabulary=self.target,
            keys=keys,
            sampling=sampling,
        )
        said = self._said(word, h, context, train=train, dropout=dropout)
        return Written(said, weights)

    def _read(self, token: Int[Array, "*b"]) -> tuple[Float[Array, "*b e"], Projected]:
        word = self.written(token)
        return word, self.decoder.project(word)

    def _advance(
        self,
        memory: SourceMemory,
        carry: Carry,
        projected: Projected,
    ) -> tuple[Carry, Array, Array]:
        """The carry after a token, its context, and the weights that made it."""
        if self.attention == "plain":
            h = output_of(carry)
            context = jnp.zeros((h.shape[0], 0), h.dtype)
            weights = jnp.zeros(memory.present.shape, h.dtype)
            return self.decoder.step(carry, projected), context, weights
        h, keys, present = output_of(carry), memory.keys, memory.present
        weights = self.attend(h, keys, present)
        context = weighted_sum(weights, memory.output, memory.present)
        projected = plus(projected, self.context(context))
        return self.decoder.step(carry, projected), context, weights

    def _said(
        self,
        word: Float[Array, "*b e"],
        h: Float[Array, "*b h"],
        context: Float[Array, "*b d"],
        *,
        train: bool = False,
        dropout: Rate = 0,
    ) -> Float[Array, "*b vocabulary"]:
        deep = self.state(h) + self.word(word)
        if self.attention != "plain":
            deep = deep + self.context_word(context)
        deep = self.drop(jnp.tanh(deep), dropout, train=train)
        return self.output(deep).astype(float32_or_wider(self.dtype))


def _joined(forward: Array, backward: Array) -> Array:
    return jnp.concatenate([forward, backward], axis=-1)
