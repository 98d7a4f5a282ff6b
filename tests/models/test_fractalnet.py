import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.blocks import GroupNorm
from jaxnets.models.fractalnet import FractalNet
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
    return np.concatenate(
        [
            functional.predict(NET.clone(column=c), variables, image(1))
            for c in (1, 2, 3)
        ]
    )


def image(count):
    return jnp.tile(jnp.asarray(uniform("fractal", (1, 8, 8, 3))), (count, 1, 1, 1))


def test_columns_have_powers_of_two_convolutions(variables):
    names = sorted(variables.params["block1"])
    assert names == ["column1_1"] + [f"column{2}_{i}" for i in (1, 2)] + [
        f"column3_{i}" for i in (1, 2, 3, 4)
    ]


def test_global_drop_path_follows_one_column(variables, columns):
    run = jax.jit(
        lambda rate: functional.forward(
            NET, variables, KEY, image(60), global_path=rate
        )[0]
    )
    distance = np.abs(np.asarray(run(1.0))[:, None] - columns[None]).max(-1)
    np.testing.assert_allclose(distance.min(1), 0, atol=1e-4)
    counts = np.bincount(distance.argmin(1), minlength=3)
    assert np.all(counts > 8), counts
    joined = functional.predict(NET, variables, image(1))
    half = np.asarray(run(0.5))
    whole = np.abs(half - np.asarray(joined)).max(-1) < 1e-4
    assert 15 < whole.sum() < 45


def test_local_drop_path_mixes_columns(variables):
    outputs, _ = functional.forward(NET, variables, KEY, image(40), drop_path=0.5)
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
    alone = functional.predict(net, variables._replace(params=params), image(1))
    whole = functional.predict(net, variables, image(1))
    np.testing.assert_array_equal(alone, whole)


def test_initial_variables_hold_all_columns():
    shapes = jax.eval_shape(lambda: functional.init(NET.clone(column=1), KEY, image(1)))
    whole = jax.eval_shape(lambda: functional.init(NET, KEY, image(1)))
    assert shapes == whole


def test_a_column_that_is_none_says_so():
    with pytest.raises(ValueError, match="column 4 of 3"):
        jax.eval_shape(lambda: functional.init(NET.clone(column=4), KEY, image(1)))
