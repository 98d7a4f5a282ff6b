"""A quickly compiled program computes what `jax.jit` does, to the bit for draws."""

import textwrap

import jax.numpy as jnp

from jaxnets import once as module
from jaxnets.once import once


def test_draws_and_a_network_begin_the_same_to_the_bit(warm, here, surroundings):
    """As users compile: in a process of its own, since this one compiles quickly."""
    program = textwrap.dedent("""
        import flax.linen as nn
        import jax, jax.numpy as jnp, numpy as np
        from jaxnets.models import functional
        from jaxnets.models.lenet import lenet5
        from jaxnets.once import _QUICKLY, once

        assert _QUICKLY == {"xla_backend_optimization_level": 1}
        key, image = jax.random.key(3), jnp.ones((2, 28, 28, 1))
        model, init = lenet5(10), nn.initializers
        kinds = [init.he_normal(), init.glorot_uniform(), init.orthogonal()]
        draws = [lambda k, kind=kind: kind(k, (37, 53), jnp.float32) for kind in kinds]
        for draw in (*draws, lambda k: functional.init(model, k, image)):
            quick, usual = once(draw)(key), jax.jit(draw)(key)
            jax.tree.map(np.testing.assert_array_equal, quick, usual)
    """)
    # Another value of XLA_FLAGS than that of the tests: a true start.
    done = warm.run(["-c", program], cwd=here, env=surroundings(XLA_FLAGS=""))
    assert done.returncode == 0, done.stderr


def test_only_a_cpu_is_asked_for_it(monkeypatch):
    asked = []
    monkeypatch.setattr(
        module.jax, "jit", lambda function, **options: asked.append(options)
    )
    once(jnp.sin)
    monkeypatch.setattr(module.jax, "default_backend", lambda: "tpu")
    once(jnp.sin)
    on_cpu, on_tpu = asked
    assert on_cpu == {"compiler_options": module._QUICKLY}
    assert on_tpu == {}
