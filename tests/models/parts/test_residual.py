import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.parts.norms import GroupNorm
from jaxnets.models.parts.residual import BasicBlock, Bottleneck, ResidualNetwork
from jaxnets.models.wide_resnet import wrn
from tests.golden.networks.fill import uniform
from tests.golden.networks.parity import filled

KEY = jax.random.key(4)
TINY = {"widths": (8, 16), "stem": 1, "stem_features": 8}


def images(count, size=8):
    return jnp.asarray(uniform("residual", (count, size, size, 3)))


@pytest.mark.parametrize(
    "preactivated", [False, pytest.param(True, marks=pytest.mark.campaign)]
)
def test_a_scan_over_blocks_gives_the_same_numbers(preactivated):
    block = wrn(10, 10, 1).block if preactivated else BasicBlock
    loop = ResidualNetwork(
        10, block, (1, 3), preactivated=preactivated, scan=True, **TINY
    )
    plain, image = loop.clone(scan=False), images(4)
    variables = filled(loop, 8, 3)

    @functools.partial(jax.jit, static_argnums=0)
    def run(model, params):
        def loss(params):
            whole = variables._replace(params=params)
            rates = {"drop_path": jnp.float32(0.4), "dropout": jnp.float32(0.2)}
            output, buffers = functional.forward(model, whole, KEY, image, **rates)
            return jnp.sum(jnp.sin(output)), buffers

        predicted = functional.predict(model, variables, image)
        return *jax.value_and_grad(loss, has_aux=True)(params), predicted

    (value, buffers), grads, predicted = run(loop, variables.params)
    (value_, buffers_), grads_, predicted_ = run(plain, variables.params)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    close(value, value_)
    close(predicted, predicted_)
    jax.tree.map(close, buffers, buffers_)
    grads, grads_ = jax.tree.map(np.asarray, (grads, grads_))
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(grads_))
    jax.tree.map(lambda x, y: close(x / scale, y / scale), grads, grads_)
    moved = jax.tree.map(
        lambda x, y: np.any(np.asarray(x) != np.asarray(y)), buffers, variables.buffers
    )
    assert all(jax.tree.leaves(moved))


def test_a_scan_shortens_the_program():
    net = ResidualNetwork(10, BasicBlock, (8,), widths=(8,), stem=1, stem_features=8)
    variables = filled(net, 8, 3)

    def operations(model):
        run = lambda x: functional.forward(model, variables, KEY, x)
        return str(jax.make_jaxpr(run)(images(2))).count("convolution_form")

    assert operations(net) == 17
    assert operations(net.clone(scan=True)) == 5


def test_features_are_the_same_with_a_scan():
    loop = ResidualNetwork(10, BasicBlock, (3, 2), scan=True, **TINY)
    variables, image = filled(loop, 8, 3), images(2)
    order = {}

    @functools.partial(jax.jit, static_argnums=0)
    def run(model):
        found = functional.features(model, variables, image)
        order[model.scan] = list(found)
        return found

    ours, theirs = run(loop), run(loop.clone(scan=False))
    assert order[True] == order[False]  # that of the calls
    assert "conv2_3/conv2/norm" in ours
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        ours,
        theirs,
    )


def test_a_scan_shortens_the_program_of_features_as_well():
    net = ResidualNetwork(10, BasicBlock, (8,), widths=(8,), stem=1, stem_features=8)
    net = net.clone(scan=True)
    variables = filled(net, 8, 3)
    jaxpr = jax.make_jaxpr(lambda x: functional.features(net, variables, x))(images(2))
    assert str(jaxpr).count("convolution_form") == 5


def test_stochastic_depth_skips_the_last_block_most():
    """At rate 1 nobody runs the last block, and half run the first of two."""
    net = ResidualNetwork(
        10, BasicBlock, (2,), widths=(8,), stem=1, stem_features=8, norm=GroupNorm
    )
    variables, image = filled(net, 8, 3), np.repeat(images(1), 64, axis=0)
    forward = jax.jit(functools.partial(functional.forward, net, drop_path=1.0))
    outputs, _ = forward(variables, KEY, image)
    kinds = np.unique(np.round(np.asarray(outputs), 3), axis=0)
    assert len(kinds) == 2
    predict = jax.jit(functools.partial(functional.predict, net.clone(depths=(1,))))
    for rate in (0.0, 1.0):  # scaled by two where it was kept, or nothing at all
        params = jax.tree.map(np.asarray, dict(variables.params))
        params.pop("conv2_2")
        norm = params["conv2_1"]["conv2"]["norm"]
        norm |= {name: value * 2 * rate for name, value in norm.items()}
        alone = predict(variables._replace(params=params), image[:1])
        distances = np.max(np.abs(kinds - np.asarray(alone)), axis=1)
        assert np.min(distances) < 2e-3


def test_the_paper_s_bottleneck_strides_first():
    image = images(2)
    make = lambda first: ResidualNetwork(
        10, functools.partial(Bottleneck, stride_first=first), (1, 1), **TINY
    )
    found = {}
    for first in (True, False):
        model, variables = make(first), filled(make(first), 8, 3)
        run = functools.partial(functional.features, model, variables)
        shapes = jax.eval_shape(run, image)
        found[first] = shapes["conv3_1/conv1"].shape[1], shapes["conv3_1"].shape[1]
    assert found == {True: (4, 4), False: (8, 4)}


def test_option_a_pads_channels_on_both_sides():
    block = BasicBlock(8, stride=2, projection=False, norm=None)
    x = jnp.abs(images(1))[..., :1].repeat(4, axis=-1)
    shapes = jax.eval_shape(lambda: block.init(KEY, x, train=False))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    y = np.asarray(jax.jit(lambda v, x: block.apply(v, x, train=False))(zeros, x))
    np.testing.assert_array_equal(y[..., 2:6], x[:, ::2, ::2])
    assert not np.any(y[..., :2])
    assert not np.any(y[..., 6:])


def test_depths_that_do_not_exist_say_so():
    with pytest.raises(ValueError, match="10, 16, 22"):
        wrn(10, 20, 2)
