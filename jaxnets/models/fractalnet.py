"""FractalNet: depth without residuals, by a rule that expands itself.

Larsson, Maire & Shakhnarovich, "FractalNet: ultra-deep neural networks without
residuals", 2016, https://arxiv.org/abs/1605.07648: equation 1, figure 1, section 3
(drop-path), section 4.1 (CIFAR).

f_1 is one convolution; f_(c+1) runs f_c twice, beside one convolution, and joins the
two by their mean. Written out, a block of C columns has 2^(C-1) rows, and column c,
from 1, has 2^(c-1) convolutions, each as long as 2^(C-c) rows; where several columns
end, their mean goes on in all of them.

Initial weights: Xavier's (section 4), biases 0.

Departures: joins stand before the pool, not after it; drop-path draws for each image,
not for the mini-batch; dropout comes after the activation.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnets.models.parts.blocks import (
    Activation,
    Dropout,
    Head,
    Rate,
    Unit,
    configured,
    global_average,
    off,
)
from jaxnets.models.parts.initial import Initializer, xavier
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.ops.drop_path import join, survivors
from jaxnets.ops.pool import max_pool


class FractalBlock(nn.Module):
    """A block of `columns` columns; the deepest has 2^(columns - 1) convolutions.

    Attributes:
        features: Channels out.
        columns: How many columns there are.
        column: The one column to run alone, from 1; None runs and joins them all.
        kernel_init: Draws the kernels.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    features: int
    columns: int
    column: int | None = None
    kernel_init: Initializer = xavier
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        follow: Bool[Array, "columns b"] | None = None,
        drop_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b h w co"]:
        """Returns the joined features.

        Args:
            x: The block's input, which every column starts from.
            train: Whether batch norm uses the batch, and rates count.
            follow: Which column each image follows alone (global drop path), none True
                where all are joined.
            drop_path: Probability that a join loses an input (local drop path).
            dropout: Probability that an output of a convolution is dropped.
        """
        rows = 2 ** (self.columns - 1)
        chosen = list(range(1, self.columns + 1))
        if self.column is not None and not self.is_initializing():
            chosen = [self.column]
        heads = dict.fromkeys(chosen, x)
        for row in range(1, rows + 1):
            ending = [c for c in chosen if row % 2 ** (self.columns - c) == 0]
            outputs = []
            for column in ending:
                index = row // 2 ** (self.columns - column)
                unit = configured(Unit, self)
                unit = unit(self.features, name=f"column{column}_{index}")
                y = unit(heads[column], train=train)
                drop = Dropout(name=f"drop{column}_{index}")
                outputs.append(drop(y, dropout, train=train))
            if ending:  # a column alone does not end in every row
                joined = self._join(outputs, ending, follow, drop_path, train=train)
                heads |= dict.fromkeys(ending, joined)
        return heads[chosen[0]]

    def _join(
        self,
        outputs: list[Array],
        ending: list[int],
        follow: Array | None,
        drop_path: Rate,
        *,
        train: bool,
    ) -> Array:
        if len(outputs) == 1:
            return outputs[0]
        images = outputs[0].shape[0]
        alive = jnp.ones((len(outputs), images), bool)
        if train and not off(drop_path):
            key = self.make_rng("dropout")
            alive = survivors(key, drop_path, len(outputs), images)
        if follow is not None:
            globally = jnp.any(follow, axis=0, keepdims=True)
            followed = jnp.stack([follow[column - 1] for column in ending])
            alive = jnp.where(globally, followed, alive)
        return join(jnp.stack(outputs), alive)


class FractalNet(nn.Module):
    """Fractal blocks with a pool after each, global average pooling, one dense layer.

    Attributes:
        classes: How many logits to return.
        columns: Of each block, the paper's C.
        filters: Channels of each block; as many blocks as entries, the paper's B.
        column: The one column to run alone, from 1 (the shallowest); None runs them
            all. The variables are those of the whole network, so that
            `net.clone(column=2)` cuts a plain network out of a trained fractal.
        stem: How much a first convolution, absent for 1, shrinks the image: 1 for
            images near 32 pixels, 2 near 64, 4 (7x7 with stride 2, and a pool) near
            224.
        kernel_init: Draws the kernels.
        norm: Makes the norms after the convolutions, or None.
        activation: Of every layer.
        dtype: Of the computation.
    """

    classes: int = 10
    columns: int = 3
    filters: Sequence[int] = (64, 128, 256, 512, 512)
    column: int | None = None
    stem: int = 1
    kernel_init: Initializer = xavier
    norm: Norm | None = BatchNorm
    activation: Activation = nn.relu
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        *,
        train: bool,
        drop_path: Rate = 0,
        global_path: Rate = 0,
        dropout: Rate = 0,
    ) -> Float[Array, "b classes"]:
        """Returns the logits of each image.

        Args:
            image: Any size that the pools leave a pixel of.
            train: Whether batch norm uses the batch, and rates count.
            drop_path: Probability that a join loses an input, in [0, 1] (local drop
                path; the paper's is 0.15). One input always lives.
            global_path: Probability that an image follows one column, drawn uniformly,
                through the whole network, in [0, 1] (the paper's is 0.5).
            dropout: Probability that an output of a convolution is dropped in the last
                block, in [0, 1); it grows linearly from 0 in the first. The paper's
                0, 0.1, 0.2, 0.3, 0.4 is `dropout=0.4`.

        Raises:
            ValueError: If there is no such column, `stem` is not 1, 2 or 4, or the
                pools leave nothing of the image.
        """
        if self.column is not None and not 1 <= self.column <= self.columns:
            raise ValueError(f"column {self.column} of {self.columns} does not exist")
        if self.stem not in (1, 2, 4):
            raise ValueError(f"FractalNet's stem is 1, 2 or 4, not {self.stem}")
        x = image
        if self.stem > 1:
            side = 7 if self.stem == 4 else 3
            x = configured(Unit, self)(64, side, stride=2, name="conv1")(x, train=train)
        if self.stem == 4:
            x = max_pool(x, 3, stride=2, padding=1)
        follow = self._follow(image.shape[0], global_path) if train else None
        for index, features in enumerate(self.filters):
            block = configured(FractalBlock, self)(
                features, self.columns, self.column, name=f"block{index + 1}"
            )
            share = index / max(1, len(self.filters) - 1)
            ramp = 0 if index == 0 or off(dropout) else share * dropout
            rates = {"drop_path": drop_path, "dropout": ramp}
            x = max_pool(block(x, train=train, follow=follow, **rates), 2, stride=2)
        head = configured(Head, self)(self.classes, name="output")
        return head(global_average(x))

    def _follow(self, images: int, rate: Rate) -> Array | None:
        if off(rate):
            return None
        which, whether = jax.random.split(self.make_rng("dropout"))
        column = jax.random.randint(which, (1, images), 0, self.columns)
        globally = jax.random.uniform(whether, (1, images)) < rate
        return globally & (column == jnp.arange(self.columns)[:, None])


def fractalnet20(classes: int = 10, **options: Any) -> FractalNet:
    """Five blocks of 3 columns, 20 layers deep: 33,724,618 parameters for 10.

    `options`, here and below, are attributes of `FractalNet`.
    """
    return FractalNet(classes, **options)


def fractalnet40(classes: int = 10, **options: Any) -> FractalNet:
    """Five blocks of 4 columns, 40 layers deep: 76,106,634 parameters for 10."""
    return FractalNet(classes, **{"columns": 4, **options})
