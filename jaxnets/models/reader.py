"""Networks that read a text and say what it is: from counted words to self-attention.

Every one of them takes tokens `[b, t]`, of which 0 is padding that counts nowhere.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxnets.models.parts.attention import SelfAttentionEncoder
from jaxnets.models.parts.blocks import Dense, Dropout, Head, Rate
from jaxnets.models.parts.recurrent import (
    CELLS,
    Embedding,
    Recurrent,
    one_hot,
    output_of,
)


class BagOfWords(nn.Module):
    """Counts of the words times a matrix: (vocabulary + 1) classes parameters.

    Attributes:
        vocabulary: Tokens.
        classes: How many logits.
        width: Of the embeddings that are averaged first; 0 for counts.
    """

    vocabulary: int
    classes: int
    width: int = 0

    @nn.compact
    def __call__(
        self, token: Int[Array, "b t"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each text.

        Args:
            token: A text a row.
            train: Whether anything is dropped.
            dropout: Probability that a feature of the average is dropped.
        """
        here = (token > 0)[:, :, None]
        if not self.width:
            # Counts times a matrix, as a sum of its rows.
            zeros = nn.initializers.zeros
            rows = Embedding(self.vocabulary, self.classes, zeros, name="counts")(token)
            bias = self.param("bias", zeros, (self.classes,), jnp.float32)
            return jnp.sum(jnp.where(here, rows, 0), axis=1) + bias[None, :]
        rows = Embedding(self.vocabulary, self.width, name="embed")(token)
        x = _average(rows, here)
        x = Dropout(name="drop")(x, dropout, train=train)
        return Dense(self.classes, name="output")(x)


class RecurrentReader(nn.Module):
    """What a recurrent network has in mind after the last word.

    Attributes:
        vocabulary: Tokens.
        classes: How many logits.
        cell: A name of `CELLS`.
        features: Hidden units.
        width: Of the embeddings; 0 for one-hot codes.
        bidirectional: Whether a second network reads backwards, to the first word.
        dtype: Of the computation.
    """

    vocabulary: int
    classes: int
    cell: str = "lstm"
    features: int = 64
    width: int = 32
    bidirectional: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, token: Int[Array, "b t"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each text.

        Args:
            token: A text a row.
            train: Whether anything is dropped.
            dropout: Variational dropout of the recurrent layer.
        """
        if self.width:
            x = Embedding(self.vocabulary, self.width, dtype=self.dtype, name="embed")(
                token
            )
        else:
            x = one_hot(token, self.vocabulary, self.dtype)
        stack = Recurrent(
            CELLS[self.cell],
            self.features,
            bidirectional=self.bidirectional,
            dtype=self.dtype,
            name="recurrent",
        )
        _, carries = stack(x, token > 0, train=train, dropout=dropout)
        ends = jnp.concatenate([output_of(carry) for carry in carries], axis=-1)
        ends = Dropout(name="drop")(ends, dropout, train=train)
        return Head(self.classes, dtype=self.dtype, name="output")(ends)


class SelfAttentionReader(nn.Module):
    """The average of a self-attention encoder over the words.

    Attributes:
        vocabulary: Tokens.
        classes: How many logits.
        features: Width of embeddings and layers.
        layers: Of the encoder.
        heads: Of each layer.
        dtype: Of the computation.
    """

    vocabulary: int
    classes: int
    features: int = 64
    layers: int = 2
    heads: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, token: Int[Array, "b t"], *, train: bool, dropout: Rate = 0
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each text.

        Args:
            token: A text a row.
            train: Whether anything is dropped.
            dropout: As in `SelfAttentionEncoder`.
        """
        here = token > 0
        x = Embedding(self.vocabulary, self.features, dtype=self.dtype, name="embed")(
            token
        )
        encoder = SelfAttentionEncoder(
            self.features, self.layers, self.heads, dtype=self.dtype, name="encoder"
        )
        x = _average(
            encoder(x, here, train=train, dropout=dropout).output, here[:, :, None]
        )
        return Head(self.classes, dtype=self.dtype, name="output")(x)


def _average(rows: Array, here: Array) -> Array:
    """The mean over the words that are there; 0 where none is."""
    total = jnp.sum(jnp.where(here, rows, 0), axis=1)
    return total / jnp.maximum(jnp.sum(here, axis=1), 1).astype(rows.dtype)


def _recurrent(cell: str, **options: Any) -> Any:
    def made(vocabulary: int, classes: int) -> RecurrentReader:
        return RecurrentReader(vocabulary, classes, cell, **options)

    return made


READERS: dict[str, Any] = {
    "bag": BagOfWords,
    "average": lambda vocabulary, classes: BagOfWords(vocabulary, classes, width=32),
    "onehot_rnn": _recurrent("rnn", width=0),
    "rnn": _recurrent("rnn"),
    "lstm": _recurrent("lstm"),
    "gru": _recurrent("gru"),
    "bidirectional": _recurrent("lstm", bidirectional=True),
    "attention": SelfAttentionReader,
}
"""Name to a function of the vocabulary's size and the number of classes."""
