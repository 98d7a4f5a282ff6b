"""Decoders of captions: recurrent networks that look at vectors and write a sentence.

Xu, Ba, Kiros, Cho, Courville, Salakhutdinov, Zemel & Bengio, "Show, attend and tell:
neural image caption generation with visual attention", 2015,
https://arxiv.org/abs/1502.03044. An image is `l` annotation vectors a_i (section
3.1.1), cells of a feature grid say. For every word (section 3.1.2) attention gives each
of them a weight alpha_ti, from the hidden units before that word (equations 4 and 5),
the context z_t is made from them (6), and the next word follows from the word before
it, the hidden units and the context (7). The first hidden units and cell come from the
mean annotation through two networks of one hidden layer.

- `VectorCaptioner` sees the mean annotation only, at every word: the image as one
  vector. On annotations `[b, 1, d]` that is the vector itself.
- `SoftAttentionCaptioner` (section 4.2): z_t = beta_t sum_i alpha_ti a_i, where the
  gate beta_t is a number in [0, 1] from the hidden units (4.2.1).
- `HardAttentionCaptioner` (section 4.1): z_t is the annotation of one location, drawn
  with the probabilities alpha_t; for half of the images it is their mean, as the
  section's end has it. Departure: it has the gate as well, which the paper describes
  for soft attention.

In equations 4 and 5 attention follows from h_{t-1}, which does not know the word before
yet: after "a red" it cannot look for what is red. With `reads_first` the cell first
reads that word, with the context before, and attention follows from h_t: z_t joins the
hidden units in equation 7, and the cell at the word after (Luong, Pham & Manning,
"Effective approaches to attention-based neural machine translation", 2015,
https://arxiv.org/abs/1508.04025, sections 3 and 3.3; for images Lu, Xiong, Parikh &
Socher, "Knowing when to look", 2016, https://arxiv.org/abs/1612.01887, section 2.2).
Before the first word the context is 0. It is off by default, as in Xu et al.

Equation 7 is linear in the hidden units and the context, so a word cannot follow from
how the two compare: "the same shape" from the shape in the hidden units and that in the
context. With `deep` there is a tanh in front of L_o, as in the deep output that the
paper takes from Pascanu, Gulcehre, Cho & Bengio, "How to construct deep recurrent
neural networks", 2013, https://arxiv.org/abs/1312.6026, section 3.3.2. Off by default,
as in equation 7.

With `places` the decoder remembers where it looked, and attention and context follow
from that as well; see `jaxnets.models.parts.places`. None by default, as in Xu et al.

The decoders know nothing of images: annotations may be any `Float[b l d]`. Several
sentences about an image share its annotations: then rows are sentences, those of an
image one after the other, and nothing of the image is copied.

Departures: the hidden layers of equation 7 have biases; annotations are not
standardised; the embedding of the word before enters the recurrent product through a
matrix of its own, which is the same as one matrix for the joined vector.
"""

import functools
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.models.parts.attention import AdditiveAttention
from jaxnets.models.parts.blocks import Dense, Dropout, Rate, off
from jaxnets.models.parts.places import Looked, Places, Terrain
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.models.parts.recurrent import (
    Carry,
    Embedding,
    LSTMCell,
    RNNCell,
    output_of,
)
from jaxnets.models.parts.teacher_forcing import Projected, step_keys, teacher_forced
from jaxnets.ops.attention import weighted_sum
from jaxnets.ops.cells import LSTMCarry, plus
from jaxnets.ops.decoding import repeated
from jaxnets.types import Key

# Xu et al., section 4.1: "with probability 0.5 for a given image, we set the sampled
# attention location to its expected value".
EXPECTED = 0.5


class ImageMemory(NamedTuple):
    """The encoded image, computed once and read by the decoder at every word."""

    annotations: Float[Array, "b l d"]
    keys: Float[Array, "b l e"]  # as attention compares them with hidden units
    terrain: Terrain | None  # of the locations, if `places` need it


class Speaking(NamedTuple):
    """A decoder in the middle of a sentence."""

    carry: Carry  # of the recurrent cell
    context: Float[Array, "r d"]  # z, of the word before
    looked: Looked | None  # where, if that is remembered


class Attended(NamedTuple):
    """What a decoder looked at before it said a word."""

    weights: Float[Array, "r l"]  # alpha_t
    used: Float[Array, "r l"]  # what made the context: alpha_t, or one location
    gate: Float[Array, " r"]  # beta_t


class Captioned(NamedTuple):
    """What a captioner says at each step, and what it looked at."""

    logits: Float[Array, "r t vocabulary"]  # of the token after each given one
    attended: Attended  # with a time axis: [r t l], [r t l], [r t]
    drawn: Bool[Array, " r"]  # whose locations were sampled


class CaptionDecoder(nn.Module):
    """What the three decoders share; see the top of this module.

    Attributes:
        vocabulary: Tokens.
        features: Hidden units of the recurrent cell.
        embedding: Width of the vectors of words, and of the hidden layer before the
            logits.
        attention: Width of the hidden layer of the attention network.
        reads_first: Whether the cell reads the word before first, and attention follows
            from the hidden units after it; see the top of this module.
        places: How many maps of where it looked it keeps; 0: it does not remember.
        deep: Whether the hidden layer before the logits has a tanh.
        cell: `LSTMCell` or `RNNCell`.
        dtype: Of the products; logits are float32 or wider.
        sharpness: Of the attention; see `jaxnets.models.parts.attention`.
    """

    vocabulary: int
    features: int = 512
    embedding: int = 256
    attention: int = 256
    reads_first: bool = False
    places: int = 0
    deep: bool = False
    cell: type[LSTMCell] | type[RNNCell] = LSTMCell
    dtype: Any = jnp.float32
    sharpness: float | int = 1.0

    draws: ClassVar[bool] = False  # locations, in training
    looks: ClassVar[bool] = True  # at one location rather than another

    def setup(self) -> None:
        """Names the layers."""
        dense = functools.partial(Dense, dtype=self.dtype)
        self.words = Embedding(self.vocabulary, self.embedding, dtype=self.dtype)
        self.recurrent = self.cell(self.features, dtype=self.dtype)
        columns = self.cell.gates * self.features
        self.context = dense(columns, use_bias=False)
        self.initial_h = _Network(self.features, self.dtype)
        if self.cell is LSTMCell:
            self.initial_c = _Network(self.features, self.dtype)
        self.gate = dense(1)
        self.output_h = dense(self.embedding)
        self.output_z = dense(self.embedding, use_bias=False)
        self.output = dense(self.vocabulary)
        self.drop = Dropout()
        self._attention()

    def _attention(self) -> None:
        self.attend = AdditiveAttention(self.attention, self.dtype, self.sharpness)
        if self.places:
            self.remembered = Places(self.places, self.attention, dtype=self.dtype)

    def remember(
        self,
        annotations: Float[Array, "b l d"],
        where: Float[Array, "l x"] | None = None,
    ) -> ImageMemory:
        """The image as `step` wants it."""
        terrain = None
        if self.places and where is not None:
            terrain = self.remembered.terrain(where)
        return ImageMemory(annotations, self.attend.keys(annotations), terrain)

    def look(
        self,
        query: Float[Array, "r q"],
        memory: ImageMemory,
        looked: Looked | None,
    ) -> Float[Array, "r l"]:
        """The weight of each location, alpha_t; they sum to 1."""
        hint = None
        if looked is not None:
            hint = self.remembered.hint(looked, memory.terrain)
        return self.attend(query, memory.keys, hint=hint)

    def choose(self, weights: Float[Array, "r l"]) -> Float[Array, "r l"]:
        """What makes the context, when nothing is drawn."""
        return weights

    def first(self, annotations: Float[Array, "b l d"]) -> Carry:
        """The carry before the first word, from the mean annotation."""
        mean = jnp.mean(annotations.astype(float32_or_wider(self.dtype)), axis=1)
        h = jnp.tanh(self.initial_h(mean)).astype(mean.dtype)
        if self.cell is RNNCell:
            return h
        return LSTMCarry(h, self.initial_c(mean).astype(mean.dtype))

    def start(
        self,
        annotations: Float[Array, "b l d"],
        where: Float[Array, "l x"] | None = None,
    ) -> tuple[ImageMemory, Speaking]:
        """What `step` needs: the memory, which stays, and the first state.

        Args:
            annotations: Of each image.
            where: Position of each location, x_i, which `places` are made of; from -1
                to 1 along each axis, say.
        """
        batch, locations, width = annotations.shape
        kind = jnp.result_type(annotations, self.dtype)  # of a context, gated
        looked = None
        if self.places and self.looks:
            looked = self.remembered.start(batch, locations)
            width += 0 if where is None else where.shape[-1] * (1 + self.places)
        nothing = jnp.zeros((batch, width), kind)
        state = Speaking(self.first(annotations), nothing, looked)
        return self.remember(annotations, where), state

    def step(
        self, memory: ImageMemory, state: Speaking, token: Int[Array, " r"]
    ) -> tuple[Speaking, Float[Array, "r vocabulary"], Attended]:
        """One word: the state after `token`, the logits of the next, what was seen.

        The state may have several rows a row of the memory, one after the other. Of
        the shape that `jaxnets.ops.decoding` wants, once the memory is bound.
        """
        word, projected = self._read(token)
        state, attended = self._advance(memory, state, projected)
        return state, self._said(word, output_of(state.carry), state.context), attended

    def __call__(
        self,
        annotations: Float[Array, "b l d"],
        token: Int[Array, "r t"],
        where: Float[Array, "l x"] | None = None,
        *,
        train: bool,
        dropout: Rate = 0,
        sampling: Rate = 0,
    ) -> Captioned:
        """Returns the logits after each token, all tokens being given.

        Args:
            annotations: Of each image.
            token: `<start>` and the words of a caption; as many rows as there are
                images, or a multiple of that: the first image's captions come first.
            where: Position of each location; see `start`.
            train: Whether anything is dropped or drawn.
            dropout: Probability that a unit in front of the logits is dropped.
            sampling: Probability that the model is fed its own draw instead of the
                given token (scheduled sampling, `models.parts.teacher_forcing`).
        """
        batch, times = token.shape
        drawing = train and (self.draws or not off(sampling))
        key = self.make_rng("dropout") if drawing else None
        memory, state = self.start(annotations, where)
        state = repeated(state, batch // len(annotations))
        keys = None if key is None else step_keys(key, jnp.arange(1, times + 1))
        drawn = jnp.zeros(batch, bool)
        if self.draws and key is not None:
            drawn = jax.random.uniform(jax.random.fold_in(key, 0), (batch,)) >= EXPECTED

        def advance(
            module: Any, state: Speaking, projected: Projected, key: Key | None
        ) -> tuple[Speaking, tuple[Array, Array, Attended]]:
            place = (drawn, key) if module.draws and key is not None else None
            state, attended = module._advance(memory, state, projected, place=place)
            return state, (output_of(state.carry), state.context, attended)

        word, (h, context, attended) = teacher_forced(
            self,
            state,
            token,
            read=CaptionDecoder._read,
            advance=advance,
            logits=CaptionDecoder._said,
            vocabulary=self.vocabulary,
            keys=keys,
            sampling=sampling,
        )
        said = self._said(word, h, context, train=train, dropout=dropout)
        return Captioned(said, attended, drawn)

    def _read(self, token: Int[Array, "*b"]) -> tuple[Float[Array, "*b e"], Projected]:
        word = self.words(token)
        return word, self.recurrent.project(word)

    def _advance(
        self,
        memory: ImageMemory,
        state: Speaking,
        projected: Projected,
        place: Any = None,
    ) -> tuple[Speaking, Attended]:
        """The state after a word, with its context z_t, and what was looked at."""
        carry, context, looked = state
        if self.reads_first:
            carry = self.recurrent.step(carry, plus(projected, self.context(context)))
        h = output_of(carry)
        weights = self.look(h, memory, looked)
        used = self.choose(weights)
        if place is not None:
            drawn, key = place
            location = jax.random.categorical(key, jnp.log(weights))
            one = jax.nn.one_hot(location, weights.shape[-1], dtype=weights.dtype)
            used = jnp.where(drawn[:, None], one, weights)
        beta = jax.nn.sigmoid(self.gate(h)[:, 0])
        context = beta[:, None] * weighted_sum(used, memory.annotations)
        if looked is not None:
            if memory.terrain is not None:
                here = self.remembered.relative(used, looked, memory.terrain)
                context = jnp.concatenate([context, here.astype(context.dtype)], -1)
            looked = self.remembered.after(looked, used, h)
        if not self.reads_first:
            carry = self.recurrent.step(carry, plus(projected, self.context(context)))
        return Speaking(carry, context, looked), Attended(weights, used, beta)

    def _said(
        self,
        word: Float[Array, "*b e"],
        h: Float[Array, "*b h"],
        context: Float[Array, "*b d"],
        *,
        train: bool = False,
        dropout: Rate = 0,
    ) -> Float[Array, "*b vocabulary"]:
        """Equation 7: L_o (E y_{t-1} + L_h h_t + L_z z_t), or L_o tanh(...)."""
        hidden = word + self.output_h(h) + self.output_z(context)
        if self.deep:
            hidden = jnp.tanh(hidden)
        hidden = self.drop(hidden, dropout, train=train)
        return self.output(hidden).astype(float32_or_wider(self.dtype))


class _Network(nn.Module):
    """One hidden layer, as wide as the output."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b h"]:
        x = jnp.tanh(Dense(self.features, dtype=self.dtype, name="hidden")(x))
        return Dense(self.features, dtype=self.dtype, name="output")(x)


class SoftAttentionCaptioner(CaptionDecoder):
    """A decoder that sees a weighted mean of the annotations, another one each word."""


class HardAttentionCaptioner(CaptionDecoder):
    """A decoder that sees one annotation at a time; see `tasks.captioning`.

    When nothing is drawn, as in deployment, it looks at the most probable location.
    """

    draws: ClassVar[bool] = True

    def choose(self, weights: Float[Array, "r l"]) -> Float[Array, "r l"]:
        """The most probable location, and nothing else."""
        best = jnp.argmax(weights, axis=-1)
        return jax.nn.one_hot(best, weights.shape[-1], dtype=weights.dtype)


class VectorCaptioner(CaptionDecoder):
    """A decoder that sees the mean annotation at every word; it has no `places`."""

    looks: ClassVar[bool] = False

    def _attention(self) -> None:
        pass

    def remember(
        self,
        annotations: Float[Array, "b l d"],
        where: Float[Array, "l x"] | None = None,
    ) -> ImageMemory:
        """The mean annotation, as the only one."""
        del where
        mean = jnp.mean(annotations, axis=1, keepdims=True)
        return ImageMemory(mean, mean[..., :0], None)

    def look(
        self,
        query: Float[Array, "r q"],
        memory: ImageMemory,
        looked: Looked | None,
    ) -> Float[Array, "r l"]:
        """All of it."""
        return jnp.ones((query.shape[0], 1), query.dtype)


DECODERS: dict[str, type[CaptionDecoder]] = {
    "none": VectorCaptioner,
    "soft": SoftAttentionCaptioner,
    "hard": HardAttentionCaptioner,
}
