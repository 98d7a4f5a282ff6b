"""A quickly compiled program computes what `jax.jit` does, to the bit for draws."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import once as module
from jaxnets.models import functional
from jaxnets.models.lenet import lenet5
from jaxnets.once import once

KEY = jax.random.key(3)
INITIALIZERS = {
    "he normal": nn.initializers.he_normal(),
    "lecun normal": nn.initializers.lecun_normal(),
    "glorot uniform": nn.initializers.glorot_uniform(),
    "orthogonal": nn.initializers.orthogonal(),
}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_draws_are_the_same_to_the_bit(name):
    draw = lambda key: INITIALIZERS[name](key, (37, 53), jnp.float32)
    np.testing.assert_array_equal(once(draw)(KEY), jax.jit(draw)(KEY))


def test_a_network_begins_the_same():
    model, image = lenet5(10), jnp.ones((2, 28, 28, 1))
    init = lambda key: functional.init(model, key, image)
    quick, usual = once(init)(KEY), jax.jit(init)(KEY)
    jax.tree.map(np.testing.assert_array_equal, quick, usual)


def test_only_a_cpu_is_asked_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(
        module.jax, "jit", lambda function, **options: asked.append(options)
    )
    once(jnp.sin)
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    once(jnp.sin)
    on_cpu, on_tpu = asked
    assert int(on_cpu["compiler_options"]["xla_backend_optimization_level"]) == 1
    assert on_tpu == {}
