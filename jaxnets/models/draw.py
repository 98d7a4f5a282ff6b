"""DRAW: a picture painted in steps, by a network that looks at it in between.

Gregor, Danihelka, Graves, Rezende & Wierstra, "DRAW: a recurrent neural network for
image generation", 2015, https://arxiv.org/abs/1502.04623, equations 3 to 8, with the
attention of section 3.2 (equations 19 to 29, in `jaxnets.ops.filterbank`) or without it
(17 and 18). In every step the encoder reads the image and what the canvas lacks, the
posterior of a code follows from it, and the decoder adds a stroke to the canvas. The
prior of every code is N(0, I). The first canvas and states are learned.

Departures: the likelihood may be another than Bernoulli's, and then sigma(c) of
equation 3 is the mean that the canvas stands for; a canvas has as many numbers a pixel
as the likelihood takes, and one window for all of them. The matrix of the encoder's
input is kept in parts, so that the image's own share without attention is computed once
for all steps.

Checkable: for 28x28 images and 16 steps, with 256 hidden units, codes of 32 and windows
of 8x8 there are 991,642 parameters.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Dense
from jaxnets.models.parts.initial import xavier
from jaxnets.models.parts.latent import Coded, Decoded, Drawing
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.models.parts.recurrent import LSTMCell
from jaxnets.ops import filterbank
from jaxnets.ops.cells import LSTMCarry, plus
from jaxnets.ops.distributions import BERNOULLI, Likelihood, reparameterised


class DRAW(nn.Module):
    """See the top of this module.

    Attributes:
        shape: Height, width and channels of an image.
        likelihood: What the canvas says about the pixels.
        steps: Strokes, T.
        features: Hidden units of encoder and decoder, each an LSTM.
        latent: Numbers in the code of a step.
        read: Filters along each side of the window that is read; 0: no attention.
        write: Of the window that is written; 0: no attention.
        dtype: Of the products; codes and canvas are float32 or wider.
    """

    shape: tuple[int, int, int]
    likelihood: Likelihood = BERNOULLI
    steps: int = 16
    features: int = 256
    latent: int = 32
    read: int = 8
    write: int = 8
    dtype: Any = jnp.float32

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of one code: one a step."""
        return (self.steps, self.latent)

    def setup(self) -> None:
        """Names the layers."""
        height, width, channels = self.shape
        outputs = channels * self.likelihood.outputs
        wide = float32_or_wider(self.dtype)
        dense = functools.partial(Dense, kernel_init=xavier)
        self.encoder = LSTMCell(self.features, dtype=self.dtype)
        self.decoder = LSTMCell(self.features, dtype=self.dtype)
        gates = 4 * self.features
        # No layer: it may be used outside of the scan, whose layers' named features
        # have an axis of time.
        inputs = self.read**2 * channels if self.read else math.prod(self.shape)
        self.image = self.param("image", xavier, (inputs, gates), jnp.float32)
        self.error = dense(gates, use_bias=False, dtype=self.dtype)
        self.mean = dense(self.latent, dtype=wide)
        self.log_scale = dense(self.latent, dtype=wide)
        if self.read:
            self.read_window = dense(filterbank.PARAMETERS, dtype=wide)
        if self.write:
            self.write_window = dense(filterbank.PARAMETERS, dtype=wide)
            self.patch = dense(self.write**2 * outputs, dtype=wide)
        else:
            self.patch = dense(height * width * outputs, dtype=wide)
        zeros = nn.initializers.zeros
        self.canvas = self.param("canvas", zeros, (height, width, outputs), jnp.float32)
        self.first = {
            f"{side}_{part}": self.param(
                f"{side}_{part}", zeros, (self.features,), jnp.float32
            )
            for side in ("encoder", "decoder")
            for part in ("h", "c")
        }

    def decode(self, code: Float[Array, "b t z"]) -> Decoded:
        """Images from codes, and the frames on the way to them (section 2.3)."""
        _, decoder, canvas = self._start(len(code))

        def body(own: "DRAW", carry: Any, code: Any) -> tuple[Any, Any]:
            decoder, canvas = carry
            decoder = own.decoder.step(decoder, own.decoder.project(code))
            canvas, written = own._written(decoder.h, canvas)
            return (decoder, canvas), (canvas, written)

        made = _scanned(body)(self, (decoder, canvas), jnp.moveaxis(code, 1, 0))
        (_, canvas), (canvases, written) = made
        frames = self.likelihood.mean(canvases)
        drawing = Drawing(frames, written, None)
        return Decoded(canvas, jax.tree.map(_batch_first, drawing))

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        noise: Float[Array, "b k t z"],
        *,
        train: bool,
    ) -> Coded:
        """Returns posteriors and canvases of `k` drawings of each image.

        Args:
            image: What is to be drawn.
            noise: Standard normal; zeros draw the posteriors' means.
            train: Changes nothing here.
        """
        del train
        batch, count = noise.shape[:2]
        noise = jnp.moveaxis(noise.reshape(batch * count, *noise.shape[2:]), 1, 0)
        image = jnp.repeat(image, count, axis=0)
        projected = None if self.read else self._product(image)

        def body(own: "DRAW", carry: Any, noise: Any) -> tuple[Any, Any]:
            encoder, decoder, canvas = carry
            gates, read = own._read(image, projected, decoder.h, canvas)
            encoder = own.encoder.step(
                encoder, plus(own.encoder.project(decoder.h), gates)
            )
            mean, log_scale = own.mean(encoder.h), own.log_scale(encoder.h)
            code = reparameterised(mean, log_scale, noise)
            decoder = own.decoder.step(decoder, own.decoder.project(code))
            canvas, written = own._written(decoder.h, canvas)
            made = mean, log_scale, code, canvas, written, read
            return (encoder, decoder, canvas), made

        carry, made = _scanned(body)(self, self._start(len(image)), noise)
        made = jax.tree.map(_batch_first, made)
        output, made = jax.tree.map(
            lambda x: x.reshape(batch, count, *x.shape[1:]), (carry[-1], made)
        )
        mean, log_scale, code, canvases, written, read = made
        drawing = Drawing(self.likelihood.mean(canvases), written, read)
        return Coded(output, mean, log_scale, code, drawing)

    def _start(self, rows: int) -> tuple[LSTMCarry, LSTMCarry, Array]:
        wide = float32_or_wider(self.dtype)
        first = {
            name: jnp.broadcast_to(value.astype(wide), (rows, *value.shape))
            for name, value in {**self.first, "canvas": self.canvas}.items()
        }
        encoder = LSTMCarry(first["encoder_h"], first["encoder_c"])
        decoder = LSTMCarry(first["decoder_h"], first["decoder_c"])
        return encoder, decoder, first["canvas"]

    def _product(self, image: Array) -> Array:
        """What an image, or a glimpse of it, adds to the encoder's gates."""
        flat = image.reshape(len(image), -1).astype(self.dtype)
        return flat @ self.image.astype(self.dtype)

    def _read(
        self, image: Array, projected: Array | None, h: Array, canvas: Array
    ) -> tuple[Array, Array | None]:
        """What [x, x^] adds to the encoder's gates, and the window it was read from."""
        error = image - self.likelihood.mean(canvas)
        if projected is not None:
            return projected + self.error(error.reshape(len(error), -1)), None
        at = filterbank.window(self.read_window(h), *self.shape[:2], self.read)
        both = jnp.concatenate([image, error], axis=-1)
        seen = filterbank.glimpse(both, at, self.read)
        own, lacking = jnp.split(seen, 2, axis=-1)
        gates = self._product(own) + self.error(lacking.reshape(len(own), -1))
        return gates, filterbank.outline(at, self.read)

    def _written(self, h: Array, canvas: Array) -> tuple[Array, Array | None]:
        """The canvas after a stroke, and the stroke's window."""
        patch = self.patch(h)
        if not self.write:
            return canvas + patch.reshape(canvas.shape), None
        height, width, _ = self.shape
        at = filterbank.window(self.write_window(h), height, width, self.write)
        patch = patch.reshape(len(h), self.write, self.write, canvas.shape[-1])
        added = filterbank.stroke(patch, at, height, width)
        return canvas + added, filterbank.outline(at, self.write)


def _scanned(body: Any) -> Any:
    # The named features of a step, time first, where somebody asks for them.
    return nn.scan(
        body,
        variable_broadcast="params",
        variable_axes={"intermediates": 0},
        split_rngs={"params": False},
    )


def _batch_first(x: Array) -> Array:
    return jnp.moveaxis(x, 0, 1)


def draw(shape: tuple[int, int, int], **options: Any) -> DRAW:
    """With attention for reading and writing: 16 steps, 8x8 windows.

    `options` are attributes of `DRAW`; without attention `read=0, write=0`.
    """
    return DRAW(shape, **options)
