"""Networks without a reference in torchvision draw what their papers say, by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxnets.models import functional
from jaxnets.models.parts.initial import scaled_normal
from jaxnets.models.zoo import ZOO

KEY = jax.random.key(0)

# Kurtosis of a normal and of a uniform distribution.
NORMAL, UNIFORM = 3.0, 1.8
ONES = ("conv2", "conv4", "conv5", "fc6", "fc7")


def fan_in(shape):
    return np.prod(shape[:-1])


def xavier_deviation(shape):
    taps = np.prod(shape[:-2])
    return np.sqrt(2 / (taps * (shape[-2] + shape[-1])))


def kaiming_deviation(shape):
    return np.sqrt(2 / fan_in(shape))


def fan_uniform(shape):
    return np.sqrt(1 / (3 * fan_in(shape)))


# Deviation of a kernel of this name and shape, its kurtosis; and the bias of its layer:
# a number, or the deviation of uniform ones by the kernel's shape.
PAPERS = {
    "alexnet_2012": lambda layer, shape: (0.01, NORMAL, float(layer in ONES)),
    "lenet5": lambda layer, shape: (
        2.4 / fan_in(shape) / np.sqrt(3),
        UNIFORM,
        2.4 / fan_in(shape) / np.sqrt(3),
    ),
    "nin": lambda layer, shape: (0.05, NORMAL, 0.0),
    "googlenet_2014": lambda layer, shape: (
        xavier_deviation(shape),
        UNIFORM,
        0.0 if layer == "output" else 0.2,
    ),
    "fractalnet20": lambda layer, shape: (
        xavier_deviation(shape),
        UNIFORM,
        0.0 if layer == "output" else None,
    ),
    "densenet_40_12": lambda layer, shape: (
        (fan_uniform(shape), UNIFORM, 0.0)
        if layer == "output"
        else (kaiming_deviation(shape), NORMAL, None)
    ),
    **dict.fromkeys(
        ("resnet20", "preact_resnet20", "wrn_16_4", "preact_resnet50"),
        lambda layer, shape: (
            (fan_uniform(shape), UNIFORM, fan_uniform(shape))
            if layer == "output"
            else (kaiming_deviation(shape), NORMAL, None)
        ),
    ),
}
# The same layers, fewer of them.
SHALLOW = {
    "alexnet_2012": {"hidden": 256, "grid": 1, "stem": 1},
    "densenet_40_12": {"depths": (2, 2, 2)},
    "googlenet_2014": {"stem": 1},
    **{name: {"depths": (1, 1, 1)} for name in ("resnet20", "preact_resnet20")},
}
LARGE = ("preact_resnet50", "fractalnet20", "wrn_16_4", "googlenet_2014")


def drawn(model, side=32, channels=3):
    """The variables of a network, one layer's numbers as XLA draws them in a batch."""
    return functional.init(model, KEY, jnp.ones((1, side, side, channels)))


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.campaign if n in LARGE else ()) for n in PAPERS],
)
@pytest.mark.one_python
def test_every_layer_is_drawn_as_the_paper_says(name):
    model = ZOO[name](10)
    params, _ = drawn(model.clone(**SHALLOW.get(name, {})))
    flat = {path: np.asarray(x) for path, x in flatten_dict(params).items()}
    for path, kernel in flat.items():
        if path[-1] != "kernel":
            continue
        layer = path[0]
        deviation, kurtosis, bias = PAPERS[name](layer, kernel.shape)
        check_drawn("/".join(path), kernel, deviation, kurtosis)
        here = flat.get((*path[:-1], "bias"))
        if bias is None:
            assert here is None, path
        elif bias in (0, 0.2, 1):
            np.testing.assert_array_equal(here, np.float32(bias), str(path))
        else:
            check_drawn("/".join(path) + " bias", here, bias, UNIFORM)
        if name != "lenet5" and kurtosis == NORMAL:
            assert np.abs(kernel).max() > 2.01 * deviation or kernel.size < 1000


def check_drawn(name, x, deviation, kurtosis):
    """Mean, deviation and shape, each to five deviations of its estimate."""
    count, z = x.size, (x / deviation).astype(np.float64)
    wide = 5 / np.sqrt(count)
    assert abs(z.mean()) < wide, name
    assert abs((z**2).mean() - 1) < wide * np.sqrt(kurtosis - 1), name
    if kurtosis == UNIFORM:
        assert np.abs(z).max() <= np.sqrt(3) * (1 + 1e-6), name
    if count > 2000:
        spread = {NORMAL: np.sqrt(96), UNIFORM: np.sqrt(2.79)}[kurtosis]
        assert abs((z**4).mean() - kurtosis) < wide * spread, name


def test_norms_begin_as_the_identity_also_before_a_sum():
    """No published network here has a last scale of zero: that came later."""
    shallow = ZOO["preact_resnet20"](10).clone(**SHALLOW["preact_resnet20"])
    params, _ = jax.jit(lambda: drawn(shallow))()
    for path, x in flatten_dict(params).items():
        if path[-1] == "scale":
            assert np.all(np.asarray(x) == 1), path


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "nin", "resnet18", "densenet121"])
def test_kernel_init_remains_a_choice(name):
    """Every kernel but those of dense layers follows it, without being computed."""
    seen = []

    def mine(key, shape, dtype=jnp.float32):
        seen.append(shape)
        return jnp.zeros(shape, dtype)

    model = ZOO[name](10, kernel_init=mine)
    image = jnp.ones((1, 64, 64, 3))
    params, _ = jax.eval_shape(lambda: functional.init(model, KEY, image))
    kernels = [x for path, x in flatten_dict(params).items() if path[-1] == "kernel"]
    assert len(seen) >= sum(x.ndim == 4 for x in kernels)


@pytest.mark.parametrize(
    "name", ["alexnet_2012", "googlenet_2014", "nin", "vgg11", "lenet5", "densenet121"]
)
def test_equal_networks_are_equal(name):
    """What is compiled for one is used for the other."""
    assert ZOO[name](10) == ZOO[name](10)
    assert hash(ZOO[name](10)) == hash(ZOO[name](10))
    assert ZOO[name](10) != ZOO[name](10, kernel_init=scaled_normal(0.3))
