"""Generators and discriminators: of DCGAN, and small residual ones.

- `DCGANGenerator`, `DCGANDiscriminator`: Radford, Metz & Chintala, "Unsupervised
  representation learning with deep convolutional generative adversarial networks",
  2015, https://arxiv.org/abs/1511.06434, section 3 and figure 1.
- `ResNetGenerator`, `ResNetDiscriminator`: Gulrajani, Ahmed, Arjovsky, Dumoulin &
  Courville, "Improved training of Wasserstein GANs", 2017,
  https://arxiv.org/abs/1704.00028, appendix F; Miyato, Kataoka, Koyama & Yoshida,
  "Spectral normalization for generative adversarial networks", 2018,
  https://arxiv.org/abs/1802.05957, tables 3 and 4.
- On a class: the generator is given a vector of it beside the noise (Mirza &
  Osindero, "Conditional generative adversarial nets", 2014,
  https://arxiv.org/abs/1411.1784, section 3.2); the discriminator projects its features
  on one (Miyato & Koyama, "cGANs with projection discriminator", 2018,
  https://arxiv.org/abs/1802.05637, equation 4).

Images are in [-1, 1]. The maps begin at the side that is left when the image is halved
while it is even and larger than 4: 7 for 28, 4 for 32, 16 and 8.

Departures from DCGAN: kernels of 4 and not 5, which divide by the stride (Odena,
Dumoulin & Olah, "Deconvolution and checkerboard artifacts", 2016,
https://doi.org/10.23915/distill.00003), normal noise and not uniform, and as many
layers as the images ask for. From the residual networks: the class beside the noise in
place of conditional batch norm, Glorot's initialisation everywhere.

Checkable, for grey images of 28x28 at the defaults and 64 numbers of noise: DCGAN has
533,889 and 138,689 parameters.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxnets.models.parts.blocks import Conv, Dense, biased
from jaxnets.models.parts.initial import Initializer, scaled_normal, xavier
from jaxnets.models.parts.norms import BatchNorm, Norm
from jaxnets.models.parts.precision import computed, float32_or_wider
from jaxnets.models.parts.spectral import convolution, dense
from jaxnets.ops.conv import conv_transpose
from jaxnets.ops.pool import ImageSizeError, avg_pool

_EMBEDDING = 32  # numbers that say the class, beside the noise
_DCGAN = scaled_normal(0.02)  # Radford et al., section 4: all weights
_SLOPE = 0.2  # likewise, of the leaky ReLU

Labels = Int[Array, " b"] | None


def doublings(side: int) -> int:
    """How often an image of this side is halved on its way to the smallest maps."""
    return 1 + doublings(side // 2) if side > 4 and side % 2 == 0 else 0


class ConvTranspose(nn.Module):
    """A transposed convolution that doubles the image: 4x4, stride 2.

    Attributes:
        features: Channels out.
        use_bias: Whether a bias is added.
        kernel_init: Draws the kernel.
        dtype: Of the computation; the parameters stay float32.
    """

    features: int
    use_bias: bool = True
    kernel_init: Initializer = _DCGAN
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b ho wo co"]:
        """Returns maps of twice the side."""
        shape = (4, 4, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        kind, border = computed(self.dtype, x), ((1, 1), (1, 1))
        x = conv_transpose(x.astype(kind), kernel, stride=(2, 2), padding=border)
        return biased(self, x) if self.use_bias else x


class DCGANGenerator(nn.Module):
    """Transposed convolutions, batch norm and ReLU, from noise to images.

    Attributes:
        side: Of the images, in pixels.
        channels: Of the images.
        features: Channels before the last layer; twice as many before each layer below.
        classes: How many there are to be told; 0 for none.
        norm: Makes the norm of all layers but the last, or None.
        dtype: Of the computation.
    """

    side: int = 28
    channels: int = 1
    features: int = 64
    classes: int = 0
    norm: Norm | None = BatchNorm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, noise: Float[Array, "b z"], label: Labels = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Returns images in [-1, 1], one a row of noise."""
        ups = doublings(self.side)
        grid, width = self.side >> ups, self.features << (ups - 1)
        x = _told(self, noise, label)
        x = x.astype(computed(self.dtype, x))
        plain = self.norm is None
        options: dict[str, Any] = {"kernel_init": _DCGAN, "dtype": self.dtype}
        x = Dense(grid * grid * width, use_bias=plain, name="project", **options)(x)
        x = x.reshape(-1, grid, grid, width)
        for index in range(ups):
            if self.norm is not None:
                norm = self.norm(dtype=self.dtype, name=f"norm{index}")
                x = norm(x, train=train)
            x, last = nn.relu(x), index == ups - 1
            width = self.channels if last else width // 2
            up = ConvTranspose(
                width, use_bias=plain or last, name=f"up{index}", **options
            )
            x = up(x)
        return jnp.tanh(x.astype(float32_or_wider(x.dtype)))


class DCGANDiscriminator(nn.Module):
    """Strided convolutions and leaky ReLU, from images to a number: large is real.

    Attributes:
        features: Channels of the first layer, which doubles with each one after it.
        classes: How many it is told; 0 for none.
        norm: Makes the norm of all layers but the first, or None. Batch norm lets an
            image's score depend on the batch: leave it out under a gradient penalty.
        spectral: Whether every layer has spectral norm 1, which takes the norm's place.
        dtype: Of the computation.
    """

    features: int = 64
    classes: int = 0
    norm: Norm | None = BatchNorm
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], label: Labels = None, *, train: bool
    ) -> Float[Array, " b"]:
        """Returns how real each image in [-1, 1] looks: a logit, or any score."""
        x, norm = image, None if self.spectral else self.norm
        for index in range(doublings(min(image.shape[1:3]))):
            normed = norm is not None and index > 0
            options = {"stride": 2, "padding": 1, "use_bias": not normed}
            width = self.features << index
            x = convolution(
                self, x, width, 4, _DCGAN, f"down{index}", train=train, **options
            )
            if norm is not None and normed:
                x = norm(dtype=self.dtype, name=f"norm{index}")(x, train=train)
            x = nn.leaky_relu(x, _SLOPE)
        return _score(self, x.reshape(x.shape[0], -1), label, _DCGAN, train=train)


class ResidualBlock(nn.Module):
    """Norm, ReLU, 3x3 convolution, twice, and a shortcut: pre-activated.

    Attributes:
        features: Channels out.
        change: `up` doubles the side before the first convolution, `down` halves it
            after the second.
        norm: Makes the norms, or None.
        first: Whether it sees the image itself, which is not to be rectified.
        spectral: Whether every convolution has spectral norm 1.
        dtype: Of the computation.
    """

    features: int
    change: str = ""
    norm: Norm | None = None
    first: bool = False
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b ho wo co"]:
        """Returns the feature maps of `x`."""
        short, width = x, self.features
        if not self.first:
            x = _active(self, x, "norm1", train)
        if self.change == "up":
            x, short = _doubled(x), _doubled(short)
        x = convolution(self, x, width, 3, xavier, "conv1", train=train)
        x = _active(self, x, "norm2", train)
        x = convolution(self, x, width, 3, xavier, "conv2", train=train)
        if self.change == "down":  # pooling and a 1x1 convolution commute
            x, short = avg_pool(x, 2, stride=2), avg_pool(short, 2, stride=2)
        if self.change or short.shape[-1] != width:
            short = convolution(self, short, width, 1, xavier, "shortcut", train=train)
        return x + short


class ResNetGenerator(nn.Module):
    """A residual block for each doubling, all equally wide.

    Attributes:
        side: Of the images, in pixels.
        channels: Of the images.
        features: Channels of every block.
        classes: How many there are to be told; 0 for none.
        norm: Makes the norms, or None.
        dtype: Of the computation.
    """

    side: int = 28
    channels: int = 1
    features: int = 64
    classes: int = 0
    norm: Norm | None = BatchNorm
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, noise: Float[Array, "b z"], label: Labels = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        """Returns images in [-1, 1], one a row of noise."""
        ups, width = doublings(self.side), self.features
        grid = self.side >> ups
        x = _told(self, noise, label)
        x = x.astype(computed(self.dtype, x))
        options: dict[str, Any] = {"kernel_init": xavier, "dtype": self.dtype}
        x = Dense(grid * grid * width, name="project", **options)(x)
        x = x.reshape(-1, grid, grid, width)
        for index in range(ups):
            block = ResidualBlock(
                width, "up", self.norm, dtype=self.dtype, name=f"block{index}"
            )
            x = block(x, train=train)
        x = _active(self, x, "last_norm", train)
        x = Conv(self.channels, name="output", **options)(x)
        return jnp.tanh(x.astype(float32_or_wider(x.dtype)))


class ResNetDiscriminator(nn.Module):
    """Two residual blocks that halve the image, two that do not, and a sum.

    Attributes:
        features: Channels of every block.
        classes: How many it is told; 0 for none.
        norm: Makes the norms, or None, as in the papers.
        spectral: Whether every layer has spectral norm 1, which takes the norm's place.
        dtype: Of the computation.
    """

    features: int = 64
    classes: int = 0
    norm: Norm | None = None
    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, image: Float[Array, "b h w c"], label: Labels = None, *, train: bool
    ) -> Float[Array, " b"]:
        """Returns how real each image in [-1, 1] looks: a logit, or any score."""
        x, norm = image, None if self.spectral else self.norm
        for index, change in enumerate(("down", "down", "", "")):
            block = ResidualBlock(
                self.features,
                change,
                norm,
                first=index == 0,
                spectral=self.spectral,
                dtype=self.dtype,
                name=f"block{index}",
            )
            x = block(x, train=train)
        x = jnp.sum(nn.relu(x), axis=(1, 2))
        return _score(self, x, label, xavier, train=train)


NETWORKS: dict[str, tuple[Any, Any]] = {
    "dcgan": (DCGANGenerator, DCGANDiscriminator),
    "resnet": (ResNetGenerator, ResNetDiscriminator),
}


def players(
    name: str,
    image: tuple[int, int, int],
    features: int = 64,
    classes: int = 0,
    *,
    normed: bool = True,
    spectral: bool = False,
) -> tuple[nn.Module, nn.Module]:
    """A generator and its discriminator.

    Args:
        name: Of the architecture, in `NETWORKS`.
        image: Height, width and channels of the images, which are square.
        features: Channels next to the image.
        classes: How many both are told; 0 for none.
        normed: Whether the discriminator has batch norm; the generator always has.
        spectral: Whether it has spectral norm, in that one's place.

    Raises:
        ImageSizeError: If the images are not square, or cannot be halved.
    """
    height, width, channels = image
    if height != width or not doublings(height):
        raise ImageSizeError(
            f"images of {height} x {width} pixels: these networks need squares of an "
            "even side above 4; --size 32 brings images there"
        )
    generator, discriminator = NETWORKS[name]
    return (
        generator(height, channels, features, classes),
        discriminator(features, classes, BatchNorm if normed else None, spectral),
    )


def _told(module: Any, noise: Array, label: Labels) -> Array:
    """The noise, and beside it a learned vector of the class."""
    if not module.classes:
        return noise
    code = _one_hot(module, label, noise.dtype)
    vector = Dense(
        _EMBEDDING,
        use_bias=False,
        kernel_init=scaled_normal(1.0),  # as large as the noise
        dtype=noise.dtype,
        name="class",
    )(code)
    return jnp.concatenate([noise, vector], axis=1)


def _score(
    module: Any, x: Array, label: Labels, drawn: Initializer, *, train: bool
) -> Array:
    """A linear function of the features, and their projection on the class's vector."""
    wide = float32_or_wider(x.dtype)
    score = dense(module, x.astype(wide), 1, "output", drawn, train=train)
    if not module.classes:
        return score[:, 0]
    code = _one_hot(module, label, wide)
    width = x.shape[1]
    vector = dense(module, code, width, "class", drawn, train=train, use_bias=False)
    return score[:, 0] + jnp.sum(vector * x.astype(wide), axis=1)


def _one_hot(module: Any, label: Labels, dtype: Any) -> Array:
    if label is None:
        raise ValueError(f"a network for {module.classes} classes needs labels")
    return jax.nn.one_hot(label, module.classes, dtype=dtype)


def _active(module: Any, x: Array, name: str, train: bool) -> Array:  # noqa: FBT001
    if module.norm is not None:
        x = module.norm(dtype=module.dtype, name=name)(x, train=train)
    return nn.relu(x)


def _doubled(x: Array) -> Array:
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
