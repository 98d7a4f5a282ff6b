"""A language model: what comes next, given everything so far.

Mikolov, Karafiat, Burget, Cernocky & Khudanpur, "Recurrent neural network based
language model", 2010, https://doi.org/10.21437/Interspeech.2010-343, section 2, with
the deep LSTMs of Graves, "Generating sequences with recurrent neural networks", 2013,
https://arxiv.org/abs/1308.0850, section 2. Departure from the latter: no connections
from the input to every layer, nor from every layer to the output.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxnets.models.parts.blocks import Head, Rate
from jaxnets.models.parts.recurrent import CELLS, Carry, Embedding, Recurrent, one_hot


class LanguageModel(nn.Module):
    """Tokens to logits of the next token, with the carry from piece to piece.

    One layer of an LSTM with h units on one-hot codes of v tokens has
    4h (v + h + 2) + v (h + 1) parameters.

    Attributes:
        vocabulary: Tokens.
        cell: A name of `CELLS`.
        features: Hidden units of each layer.
        layers: How many.
        embedding: Width of learned vectors for the tokens; 0 for one-hot codes.
        dtype: Of the computation; logits are float32 or wider.
    """

    vocabulary: int
    cell: str = "lstm"
    features: int = 256
    layers: int = 1
    embedding: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        token: Int[Array, "b t"],
        present: Bool[Array, "b t"] | None = None,
        carry: Carry | None = None,
        *,
        train: bool,
        dropout: Rate = 0,
    ) -> tuple[Float[Array, "b t vocabulary"], Carry]:
        """Returns the logits of what follows each token, and the carry at the end.

        Args:
            token: A piece of each text.
            present: False where there is no token; None if all are there.
            carry: After the piece before; None at the beginning.
            train: Whether anything is dropped.
            dropout: Variational dropout of the recurrent layers.
        """
        if self.embedding:
            width, dtype = self.embedding, self.dtype
            embed = Embedding(self.vocabulary, width, dtype=dtype, name="embed")
            x = embed(token)
        else:
            x = one_hot(token, self.vocabulary, self.dtype)
        stack = Recurrent(
            CELLS[self.cell],
            self.features,
            self.layers,
            dtype=self.dtype,
            name="recurrent",
        )
        x, carry = stack(x, present, carry, train=train, dropout=dropout)
        return Head(self.vocabulary, dtype=self.dtype, name="output")(x), carry
