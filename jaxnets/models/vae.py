"""The variational autoencoder, dense and convolutional.

Kingma & Welling, "Auto-encoding variational Bayes", 2013,
https://arxiv.org/abs/1312.6114, section 2.3 and appendix C: an encoder gives mean and
scale of a normal posterior, element by element; z = mean + scale * noise; a decoder
gives the distribution of the pixels. Hidden layers are tanh, as in appendix C.

Departures: Glorot's initialisation instead of N(0, 0.01). `ConvVAE` is no network of
the paper: two strided convolutions and a dense layer; the same backwards, where pixels
are repeated before each convolution (Odena, Dumoulin & Olah, "Deconvolution and
checkerboard artifacts", 2016, https://doi.org/10.23915/distill.00003).

Checkable: 784-400-20-400-784 with Bernoulli pixels has 652,824 parameters.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Activation, Conv, Dense
from jaxnets.models.parts.initial import xavier
from jaxnets.models.parts.latent import Coded, Decoded
from jaxnets.models.parts.precision import float32_or_wider
from jaxnets.ops.distributions import BERNOULLI, Likelihood, reparameterised


class DenseLayers(nn.Module):
    """Hidden layers over flattened rows."""

    widths: Sequence[int]
    activation: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n e"]:
        """Returns the last hidden layer."""
        for index, width in enumerate(self.widths, start=1):
            dense = Dense(
                width, kernel_init=xavier, dtype=self.dtype, name=f"dense{index}"
            )
            x = self.activation(dense(x))
        return x


class VAE(nn.Module):
    """Dense layers on both sides of a code: `dense_vae`.

    Attributes:
        shape: Height, width and channels of an image.
        likelihood: What the output says about the pixels.
        latent: Numbers in a code.
        widths: Units of the encoder's hidden layers; the decoder has them backwards.
        activation: Of hidden layers.
        dtype: Of the products; codes and outputs are float32 or wider.
    """

    shape: tuple[int, int, int]
    likelihood: Likelihood = BERNOULLI
    latent: int = 20
    widths: Sequence[int] = (400,)
    activation: Activation = jnp.tanh
    dtype: Any = jnp.float32

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The shape of one code."""
        return (self.latent,)

    def setup(self) -> None:
        """Names the layers."""
        wide = float32_or_wider(self.dtype)
        dense = functools.partial(Dense, kernel_init=xavier, dtype=wide)
        self.mean, self.log_scale = dense(self.latent), dense(self.latent)
        self._sides()

    def _sides(self) -> None:
        layers = functools.partial(
            DenseLayers, activation=self.activation, dtype=self.dtype
        )
        self.encoder = layers(tuple(self.widths))
        self.decoder = layers(tuple(self.widths)[::-1])
        count = math.prod(self.shape) * self.likelihood.outputs
        wide = float32_or_wider(self.dtype)
        self.output = Dense(count, kernel_init=xavier, dtype=wide)

    def _seen(self, image: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        return self.encoder(image.reshape(len(image), -1))

    def _painted(self, code: Float[Array, "n z"]) -> Float[Array, "n h w c"]:
        height, width, channels = self.shape
        flat = self.output(self.decoder(code))
        outputs = channels * self.likelihood.outputs
        return flat.reshape(len(code), height, width, outputs)

    def decode(self, code: Float[Array, "b z"]) -> Decoded:
        """Images from codes: what the likelihood takes."""
        return Decoded(self._painted(code))

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        noise: Float[Array, "b k z"],
        *,
        train: bool,
    ) -> Coded:
        """Returns the posterior of each image, and what `k` codes of it decode to."""
        del train
        seen = self._seen(image)
        mean, log_scale = (
            jnp.broadcast_to(layer(seen)[:, None, :], noise.shape)
            for layer in (self.mean, self.log_scale)
        )
        code = reparameterised(mean, log_scale, noise)
        painted = self._painted(code.reshape(-1, self.latent))
        output = painted.reshape(*noise.shape[:2], *painted.shape[1:])
        return Coded(output, mean, log_scale, code)


class ConvVAE(VAE):
    """Convolutions on both sides of a code: `conv_vae`.

    Attributes:
        channels: Maps after the first and after the second convolution; `widths` are
            those of dense layers between them and the code.
    """

    channels: tuple[int, int] = (32, 64)

    def _sides(self) -> None:
        conv = functools.partial(Conv, dtype=self.dtype)
        first, second = self.channels
        height, width, depth = self.shape
        self.conv1, self.conv2 = conv(first, stride=2), conv(second, stride=2)
        layers = functools.partial(
            DenseLayers, activation=self.activation, dtype=self.dtype
        )
        self.encoder = layers(tuple(self.widths))
        self.small = (-(-height // 4), -(-width // 4), second)
        backwards = (*tuple(self.widths)[::-1], math.prod(self.small))
        self.decoder = layers(backwards)
        self.conv3 = conv(first)
        outputs = depth * self.likelihood.outputs
        wide = float32_or_wider(self.dtype)
        self.output = Conv(outputs, kernel_init=xavier, dtype=wide)

    def _seen(self, image: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        x = self.activation(self.conv2(self.activation(self.conv1(image))))
        return self.encoder(x.reshape(len(image), -1))

    def _painted(self, code: Float[Array, "n z"]) -> Float[Array, "n h w c"]:
        height, width, _ = self.shape
        x = self.decoder(code).reshape(len(code), *self.small)
        x = self.activation(self.conv3(_doubled(x)))
        return self.output(_doubled(x))[:, :height, :width, :]


def _doubled(x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """Every pixel four times."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def dense_vae(shape: tuple[int, int, int], **options: Any) -> VAE:
    """784-400-20-400-784 for 28x28 images: 652,824 parameters.

    `options` are attributes of `VAE`.
    """
    return VAE(shape, **options)


def conv_vae(shape: tuple[int, int, int], **options: Any) -> ConvVAE:
    """Two convolutions and a dense layer of 256 units on each side of the code.

    `options` are attributes of `ConvVAE`.
    """
    settings: dict[str, Any] = {"activation": nn.relu, "widths": (256,), **options}
    return ConvVAE(shape, **settings)


# For command lines.
VAES = {"dense": dense_vae, "conv": conv_vae}
