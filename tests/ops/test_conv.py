from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models.parts.blocks import Conv
from jaxnets.ops.conv import conv, conv_transpose
from tests.golden.networks.fill import fill, uniform

REFERENCES = Path(__file__).parents[1] / "golden/networks/references.npz"


def by_hand(x, kernel, stride, padding, dilation, groups):
    """The sum over the taps, written with loops."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), *padding, (0, 0)))
    kernel = np.asarray(kernel, np.float64)
    kh, kw, inside, outputs = kernel.shape
    height = (x.shape[1] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    width = (x.shape[2] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((x.shape[0], height, width, outputs))
    each = outputs // groups
    for group in range(groups):
        maps = x[..., group * inside : (group + 1) * inside]
        out = slice(group * each, (group + 1) * each)
        for i in range(height):
            for j in range(width):
                for u in range(kh):
                    for v in range(kw):
                        row = i * stride[0] + u * dilation[0]
                        column = j * stride[1] + v * dilation[1]
                        pixel = maps[:, row, column]
                        y[:, i, j, out] += pixel @ kernel[u, v][:, out]
    return y


@pytest.mark.parametrize(
    ("side", "stride", "padding", "dilation", "groups"),
    [
        ((3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
        ((5, 3), (2, 1), ((2, 1), (0, 3)), (1, 1), 2),
        ((3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 4),
        ((1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1), 1),
    ],
)
def test_convolution_is_its_definition(side, stride, padding, dilation, groups):
    x = jnp.asarray(uniform("x", (2, 8, 9, 4)))
    kernel = jnp.asarray(uniform("kernel", (*side, 4 // groups, 8)))
    ours = conv(
        x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    reference = by_hand(x, kernel, stride, padding, dilation, groups)
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


def test_a_layer_is_torch_s():
    x = jnp.asarray(uniform("layers", (3, 8, 7, 9)).transpose(0, 2, 3, 1))
    layer = Conv(6, 3, stride=2, padding=1, dilation=2, groups=2)
    kernel = jnp.asarray(fill("weight", (6, 4, 3, 3)).transpose(2, 3, 1, 0))
    params = {"kernel": kernel, "bias": jnp.asarray(fill("bias", (6,)))}
    with np.load(REFERENCES, allow_pickle=False) as file:
        reference = file["layer/conv"]
    ours = layer.apply({"params": params}, x)
    np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


def test_groups_must_divide_the_channels():
    with pytest.raises(
        ValueError, match="4 channels in and 6 out do not divide into 3"
    ):
        Conv(6, groups=3).init(jax.random.key(0), jnp.ones((1, 5, 5, 4)))


@pytest.mark.parametrize(
    ("side", "size", "stride", "padding"),
    [(8, 4, (2, 2), ((1, 1), (1, 1))), (7, 3, (1, 2), ((0, 1), (1, 1)))],
)
def test_a_transposed_convolution_is_the_gradient_of_one(side, size, stride, padding):
    kernel = jnp.asarray(uniform("transpose", (size, size, 3, 2)))
    image = jnp.zeros((2, side, side, 2))

    def forward(x):
        back = jnp.swapaxes(kernel, 2, 3)
        return conv(x, back, stride=stride, padding=padding)

    maps, pull = jax.vjp(forward, image)
    y = jnp.asarray(uniform("transposed", maps.shape))
    ours = conv_transpose(y, kernel, stride=stride, padding=padding)
    (expected,) = pull(y)
    np.testing.assert_allclose(ours, expected[:, : ours.shape[1]], rtol=1e-5, atol=1e-6)
