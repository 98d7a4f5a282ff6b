"""What a decoder remembers of where it looked."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.models import functional
from jaxnets.models.parts.places import Looked, Places
from tests.golden.networks.fill import uniform
from tests.models.numbers import numbered

WHERE = jnp.asarray(uniform("where", (6, 2)))
WEIGHTS = jnp.exp(3 * uniform("weights", (4, 5, 6)))
WEIGHTS /= WEIGHTS.sum(axis=-1, keepdims=True)  # [t r l]
HIDDEN = jnp.asarray(2 * uniform("hidden", (5, 7)))


class Walk(Places):
    """Some looks, one after the other, and what is known in the end."""

    def __call__(self, where, *, train):
        looked = self.start(5, 6)
        for weights in WEIGHTS:
            looked = self.after(looked, weights, HIDDEN)
        if where is None:
            return looked, self.hint(looked, None), None
        terrain = self.terrain(where)
        apart = self.relative(WEIGHTS[0], looked, terrain)
        return looked, self.hint(looked, terrain), apart


def walked(where, gate=None):
    model = Walk(2, 3)
    variables = numbered(model, where, middles={"reach": 0.5})
    if gate is not None:
        params = {
            **variables.params,
            "gate": {"kernel": np.zeros((7, 2), np.float32), "bias": gate},
        }
        variables = variables._replace(params=params)
    return walk(model, variables, where), variables


walk = jax.jit(functional.predict, static_argnums=0)


def test_a_gate_keeps_a_place_or_follows():
    (looked, *_), _ = walked(WHERE, gate=np.array([-50, 50], np.float32))
    np.testing.assert_allclose(looked.total, WEIGHTS.sum(0), rtol=1e-6)
    np.testing.assert_allclose(looked.maps[:, 0], 1 / 6, atol=1e-6)
    np.testing.assert_allclose(looked.maps[:, 1], WEIGHTS[-1], atol=1e-6)
    (looked, *_), _ = walked(WHERE)
    np.testing.assert_allclose(np.sum(looked.maps, axis=-1), 1, atol=1e-6)


def test_only_distances_matter_to_attention():
    (hint, apart), (moved, apart_moved) = (
        map(np.asarray, walked(where)[0][1:]) for where in (WHERE, WHERE + 3)
    )
    np.testing.assert_allclose(hint, moved, atol=1e-5)
    # What joins the context also says where it is: two numbers, and two a map.
    assert apart.shape == (5, 6)
    np.testing.assert_allclose(apart_moved[:, :2] - apart[:, :2], 3, rtol=1e-5)
    np.testing.assert_allclose(apart_moved[:, 2:], apart[:, 2:], atol=1e-5)


def test_a_look_counts_at_its_neighbours_and_hardly_far_away():
    model = Walk(1, 3)
    line = jnp.array([[0], [0.25], [2]])
    looked = Looked(jnp.array([[1.0, 0.0, 0.0]]), jnp.zeros((1, 1, 3)))

    @jax.jit
    def hinted():
        variables = functional.init(model, jax.random.key(3), WHERE)
        params = {**variables.params, "coverage": jnp.ones((2, 3))}
        params["offset"] = {"kernel": jnp.zeros((1, 3))}
        bound = model.bind({"params": params})
        return bound.hint(looked, bound.terrain(line))[0, :, 0]

    hint = hinted()
    np.testing.assert_allclose(hint, [1, np.exp(-0.5), 0], atol=1e-6)


def test_it_has_the_parameters_that_it_states():
    for where, more in ((WHERE, 2 * 2 * 3), (None, 0)):
        _, variables = walked(where)
        k, e, d = 2, 3, 7
        count = sum(x.size for x in jax.tree.leaves(variables.params))
        assert count == (k + 1) * e + (d + 2) * k + 1 + more
