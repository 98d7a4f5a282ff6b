"""Recurrent networks: cells, deep and bidirectional stacks of them, embeddings.

The cells' equations and sources stand in `jaxnets.ops.cells`. Stacks: Graves, Mohamed &
Hinton, "Speech recognition with deep recurrent neural networks", 2013,
https://arxiv.org/abs/1303.5778, section 2, equations 8 to 11; bidirectional: Schuster &
Paliwal, "Bidirectional recurrent neural networks", 1997,
https://doi.org/10.1109/78.650093. As in torch, both directions of a layer read the
joined outputs of the layer below.

Weights start orthogonal from hidden to hidden, gate by gate (Saxe, McClelland &
Ganguli, 2013, https://arxiv.org/abs/1312.6120), and Glorot-uniform from the input; an
LSTM's forget gate starts with a bias of 1 (Jozefowicz, Zaremba & Sutskever, "An
empirical exploration of recurrent network architectures", 2015,
https://proceedings.mlr.press/v37/jozefowicz15.html, section 3.2). torch draws all of
them uniformly instead.
"""

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnets.models.parts.blocks import Rate, off
from jaxnets.models.parts.initial import Initializer
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.ops import cells
from jaxnets.ops.cells import LSTMCarry
from jaxnets.ops.dropout import dropout as dropped

Carry: TypeAlias = PyTree  # of arrays [b, h]


class Affine(nn.Module):
    """A kernel and a bias that somebody else multiplies with."""

    columns: int
    kernel_init: Initializer
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, rows: int) -> tuple[Float[Array, "rows g"], Float[Array, " g"]]:
        """Returns the kernel and the bias, as float32."""
        kernel = self.param(
            "kernel", self.kernel_init, (rows, self.columns), jnp.float32
        )
        return kernel, self.param("bias", self.bias_init, (self.columns,), jnp.float32)


class _Cell(nn.Module):
    """What the three cells share; see them.

    Attributes:
        features: Hidden units.
        dtype: Of the products; the carry stays float32.
    """

    features: int
    dtype: Any = jnp.float32

    gates: ClassVar[int] = 1
    advance: ClassVar[Callable[..., Carry]] = cells.rnn_step

    def setup(self) -> None:
        columns = self.gates * self.features
        by_gate = functools.partial(_by_gate, self.gates)
        uniform = by_gate(nn.initializers.xavier_uniform())
        self.input = Affine(columns, uniform, self._bias())
        self.hidden = Affine(columns, by_gate(nn.initializers.orthogonal()))

    def _bias(self) -> Initializer:
        return nn.initializers.zeros

    def start(self, batch: int) -> Carry:
        """The carry before the first step: zeros."""
        return jnp.zeros((batch, self.features), float32_or_wider(self.dtype))

    def project(self, x: Float[Array, "*b d"]) -> tuple[Float[Array, "*b h"], ...]:
        """The input's share of each gate, in any number of steps at once."""
        x, wide = x.astype(self.dtype), float32_or_wider(self.dtype)
        kernels, biases = self._apart(self.input(x.shape[-1]))
        everywhere = (None,) * (x.ndim - 1)
        return tuple(
            (x @ kernel + bias[everywhere]).astype(wide)
            for kernel, bias in zip(kernels, biases, strict=True)
        )

    def stepper(self) -> Callable[..., Carry]:
        """The pure function `(carry, projected, *, kept=None) -> carry`.

        It holds the weights: this is what may run inside `lax.scan`, where Flax
        forbids a module.
        """
        kernel, bias = self._apart(self.hidden(self.features))
        advance = type(self).advance

        def step(
            carry: Carry,
            projected: cells.Gates,
            *,
            kept: Float[Array, "b h"] | None = None,
        ) -> Carry:
            return advance(carry, projected, kernel, bias, kept=kept)

        return step

    def step(self, carry: Carry, projected: cells.Gates) -> Carry:
        """The carry after one step."""
        return self.stepper()(carry, projected)

    def _apart(self, weights: tuple[Array, Array]) -> list[tuple[Array, ...]]:
        return [cells.apart(w.astype(self.dtype), self.gates) for w in weights]

    def __call__(
        self, carry: Carry, x: Float[Array, "b d"]
    ) -> tuple[Carry, Float[Array, "b h"]]:
        """Returns the carry after one step, and the step's output."""
        carry = self.step(carry, self.project(x))
        return carry, output_of(carry)


class RNNCell(_Cell):
    """A vanilla cell: (d + h + 2) h parameters for inputs of width d.

    As in torch there are two biases, `input/bias` and `hidden/bias`; only their sum
    matters.
    """


class LSTMCell(_Cell):
    """Long short-term memory: four gates, (d + h + 2) 4h parameters."""

    gates: ClassVar[int] = 4
    advance: ClassVar[Callable[..., Carry]] = cells.lstm_step

    def start(self, batch: int) -> LSTMCarry:
        """The carry before the first step: zeros."""
        zeros = jnp.zeros((batch, self.features), float32_or_wider(self.dtype))
        return LSTMCarry(zeros, jnp.zeros_like(zeros))

    def _bias(self) -> Initializer:
        def forgetful(key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
            del key
            gate = jnp.arange(shape[-1]) // self.features
            return jnp.where(gate == 1, 1.0, 0.0).astype(dtype)

        return forgetful


class GRUCell(_Cell):
    """Gated recurrent unit: three gates, (d + h + 2) 3h parameters."""

    gates: ClassVar[int] = 3
    advance: ClassVar[Callable[..., Carry]] = cells.gru_step


CELLS: dict[str, type[_Cell]] = {"rnn": RNNCell, "lstm": LSTMCell, "gru": GRUCell}


def output_of(carry: Carry) -> Float[Array, "b h"]:
    """The hidden units that a step shows to what follows."""
    return carry.h if isinstance(carry, LSTMCarry) else carry


class Recurrent(nn.Module):
    """Layers of one kind of cell over whole sequences.

    Steps that are not `present` do not happen: the carry passes through, the output is
    0, and whatever stands in the input counts nowhere. So a sequence padded to any
    length gives the same numbers, and the reversed direction starts at its true end.

    Parameters are those of the cells `layer0`, `layer1`, ..., and `layer0_reverse` and
    so on of the other direction.

    Attributes:
        cell: `RNNCell`, `LSTMCell` or `GRUCell`.
        features: Hidden units of each layer and direction.
        layers: How many on top of each other.
        bidirectional: Whether a second network reads every layer's input backwards.
        dtype: Of the products.
    """

    cell: type[_Cell]
    features: int
    layers: int = 1
    bidirectional: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Names the cells."""
        self.stack = [
            self.cell(self.features, dtype=self.dtype, name=f"layer{i}{direction}")
            for i in range(self.layers)
            for direction in self._directions
        ]

    @property
    def _directions(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def start(self, batch: int) -> Carry:
        """The carries before the first step, bottom layer first, as in torch."""
        return tuple(cell.start(batch) for cell in self.stack)

    def __call__(
        self,
        x: Float[Array, "b t d"],
        present: Bool[Array, "b t"] | None = None,
        carry: Carry | None = None,
        *,
        train: bool,
        dropout: Rate = 0,
    ) -> tuple[Float[Array, "b t h"], Carry]:
        """Returns the top layer's output at every step, and the carries at the end.

        A reversed network ends at the first step.

        Args:
            x: One sequence a row.
            present: False where there is no step, padding say. All are by default.
            carry: Where to start, as `start` gives it.
            train: Whether anything is dropped.
            dropout: Variational dropout (Gal & Ghahramani, see `jaxnets.ops.cells`):
                one mask a sequence, the same at every step, on the input of every
                layer, on the hidden units and on the output. Departure: embeddings are
                dropped by feature and not by word.
        """
        batch, rate = x.shape[0], 0 if not train else dropout
        carries = self.start(batch) if carry is None else tuple(carry)
        if present is not None:
            x = jnp.where(present[:, :, None], x, 0)
        after = []
        x = jnp.moveaxis(x, 1, 0)  # before the products: they are wider than it
        for layer in range(self.layers):
            x = self._thinned(x, rate)
            outputs = []
            for place, _ in enumerate(self._directions):
                index = layer * len(self._directions) + place
                cell, reverse = self.stack[index], place == 1
                kept = self._kept((batch, self.features), rate)
                output, last = unrolled(
                    cell.stepper(),
                    carries[index],
                    cell.project(x),
                    present,
                    kept=kept,
                    reverse=reverse,
                )
                outputs.append(output.astype(self.dtype))
                after.append(last)
            x = jnp.concatenate(outputs, axis=-1)
        return jnp.moveaxis(self._thinned(x, rate), 0, 1), tuple(after)

    def _thinned(self, x: Float[Array, "t b d"], rate: Rate) -> Float[Array, "t b d"]:
        kept = self._kept((1, *x.shape[1:]), rate)
        return x if kept is None else x * kept.astype(x.dtype)

    def _kept(self, shape: tuple[int, ...], rate: Rate) -> Array | None:
        """A mask that scales up what it keeps; None where nothing is dropped."""
        if off(rate):
            return None
        return dropped(jnp.ones(shape), rate, self.make_rng("dropout"))


def unrolled(
    step: Callable[..., Carry],
    carry: Carry,
    projected: tuple[Float[Array, "t b g"], ...],
    present: Bool[Array, "b t"] | None,
    *,
    kept: Float[Array, "b h"] | None = None,
    reverse: bool = False,
) -> tuple[Float[Array, "t b h"], Carry]:
    """The outputs of all steps, and the last carry: one `lax.scan` over time.

    Args:
        step: `(carry, projected, *, kept) -> carry`, pure: a cell's `stepper()`.
        carry: Before the first step.
        projected: The input's share of every step, gate by gate.
        present: False where there is no step; None if all are there.
        kept: The mask of variational dropout, if any.
        reverse: From the last step to the first.
    """

    def body(carry: Carry, inputs: Any) -> tuple[Carry, Array]:
        now, here = inputs
        after = step(carry, now, kept=kept)
        if here is None:
            return after, output_of(after)
        here = here[:, None]
        after = jax.tree.map(lambda new, old: jnp.where(here, new, old), after, carry)
        return after, jnp.where(here, output_of(after), 0)

    over_time = projected, None if present is None else present.T
    carry, outputs = jax.lax.scan(body, carry, over_time, reverse=reverse)
    return outputs, carry


class Embedding(nn.Module):
    """A vector a token: vocabulary times features parameters.

    Mikolov et al., "Efficient estimation of word representations in vector space",
    2013, https://arxiv.org/abs/1301.3781, section 2: the projection layer, shared
    between positions. Equal to the one-hot code times a matrix, but without the zeros.

    Attributes:
        vocabulary: Tokens.
        features: Width of the vectors.
        table_init: Draws them. As in torch by default: vectors of length 1 instead
            would hardly be heard at first.
        dtype: Of the output.
    """

    vocabulary: int
    features: int
    table_init: Initializer = nn.initializers.normal(1.0)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, token: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        """Returns the vector of each token; NaN for what is not in the vocabulary."""
        shape = (self.vocabulary, self.features)
        table = self.param("embedding", self.table_init, shape, jnp.float32)
        known = jnp.where(token < 0, self.vocabulary, token)  # -1 would be the last
        rows = table.at[known].get(mode="fill", fill_value=jnp.nan)
        return rows.astype(self.dtype)


def one_hot(
    token: Int[Array, "*b"], vocabulary: int, dtype: Any = jnp.float32
) -> Float[Array, "*b vocabulary"]:
    """The code without learned vectors; NaN for what is not in the vocabulary."""
    code = jax.nn.one_hot(token, vocabulary, dtype=dtype)
    known = (token >= 0) & (token < vocabulary)
    return jnp.where(known[..., None], code, jnp.nan)


def _by_gate(gates: int, one: Initializer) -> Initializer:
    """Draws every gate's block of columns on its own."""

    def draw(key: Any, shape: Any, dtype: Any = jnp.float32) -> Array:
        rows, columns = shape
        keys = jax.random.split(key, gates)
        blocks = [one(k, (rows, columns // gates), dtype) for k in keys]
        return jnp.concatenate(blocks, axis=-1)

    return draw
