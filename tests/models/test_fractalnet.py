import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.fractalnet import FractalBlock, FractalNet
from jaxnets.models.parts.norms import GroupNorm
from tests.golden.networks.fill import uniform
from tests.golden.networks.parity import filled

NET = FractalNet(10, columns=3, filters=(6, 8), norm=GroupNorm)
KEY = jax.random.key(2)


@pytest.fixture(scope="module")
def variables():
    return filled(NET, 8, 3)


@pytest.fixture(scope="module")
def columns(variables):
    """The logits of each column alone, for one image."""
    nets = [NET.clone(column=c) for c in (1, 2, 3)]
    alone = lambda x: [functional.predict(net, variables, x) for net in nets]
    return np.concatenate(jax.jit(alone)(image(1)))


def image(count):
    return jnp.repeat(uniform("fractal", (1, 8, 8, 3)), count, axis=0)


def test_columns_have_powers_of_two_convolutions(variables):
    names = sorted(variables.params["block1"])
    assert names == ["column1_1"] + [f"column{2}_{i}" for i in (1, 2)] + [
        f"column3_{i}" for i in (1, 2, 3, 4)
    ]


def test_global_drop_path_follows_one_column(variables, columns):
    @jax.jit
    def run(rate):
        paths = functional.forward(NET, variables, KEY, image(60), global_path=rate)
        return paths[0], functional.predict(NET, variables, image(1))

    distance = np.abs(np.asarray(run(1.0)[0])[:, None] - columns[None]).max(-1)
    np.testing.assert_allclose(distance.min(1), 0, atol=1e-4)
    counts = np.bincount(distance.argmin(1), minlength=3)
    assert np.all(counts > 8), counts
    half, joined = map(np.asarray, run(0.5))
    whole = np.abs(half - joined).max(-1) < 1e-4
    assert 15 < whole.sum() < 45


def test_local_drop_path_mixes_columns(variables):
    run = functools.partial(functional.forward, NET, drop_path=0.5)
    outputs, _ = jax.jit(run)(variables, KEY, image(40))
    assert len(np.unique(np.round(np.asarray(outputs), 4), axis=0)) > 5
    assert np.all(np.isfinite(outputs))


def test_a_column_needs_no_other_parameters(variables):
    """A column cut out of a fractal runs on its own parameters."""
    only = {
        block: {k: v for k, v in layers.items() if k.startswith("column2")}
        for block, layers in variables.params.items()
        if block.startswith("block")
    }
    params = {**only, "output": variables.params["output"]}
    net = NET.clone(column=2)
    predict = jax.jit(functools.partial(functional.predict, net))
    alone = predict(variables._replace(params=params), image(1))
    whole = predict(variables, image(1))
    np.testing.assert_array_equal(alone, whole)


def test_initial_variables_hold_all_columns():
    shapes = jax.eval_shape(lambda: functional.init(NET.clone(column=1), KEY, image(1)))
    whole = jax.eval_shape(lambda: functional.init(NET, KEY, image(1)))
    assert shapes == whole


def test_a_column_that_is_none_says_so():
    with pytest.raises(ValueError, match="column 4 of 3"):
        jax.eval_shape(lambda: functional.init(NET.clone(column=4), KEY, image(1)))


def test_dropout_grows_from_nothing_in_the_first_block_to_its_rate():
    """The paper's 0, 0.1, 0.2, 0.3, 0.4 (section 4.1)."""
    asked = []

    def record(run, arguments, options, context):
        block = isinstance(context.module, FractalBlock)
        if block and context.method_name == "__call__":
            asked.append(options["dropout"])
        return run(*arguments, **options)

    net = FractalNet(10, columns=1, filters=(2,) * 5)

    def trained(image):
        variables = functional.init(net, KEY, image)
        asked.clear()
        return functional.forward(net, variables, KEY, image, dropout=0.4)

    with nn.intercept_methods(record):
        jax.eval_shape(trained, jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32))
    np.testing.assert_allclose(asked, [0, 0.1, 0.2, 0.3, 0.4])
