import json
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.optimize import linprog

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.optimizers import POLAR, RULES, Extras, composed, kernels
from jaxnets.ranges import RangeError

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "optimizers.json").read_text()
)
SCALE = jnp.array([1.0, 2.0, 4.0])


class Hyper(NamedTuple):
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    plateau_factor: float = 0.5
    newton_damping: float = 0.0
    backbone_rate: float = 1.0


def value(params):
    x = params["kernel"]
    return jnp.sum(SCALE * x**2) + jnp.sum(x**4) / 4


def walk(optimizer, hyper, steps=10, function=value, start=None):
    start = {"kernel": jnp.array([1.0, -2.0, 0.5])} if start is None else start
    rule = optax.with_extra_args_support(optimizer(hyper))

    def step(carry, _):
        params, state = carry
        grads = jax.grad(function)(params)
        updates, state = rule.update(
            grads, state, params, value=function(params), grad=grads, value_fn=function
        )
        params = optax.apply_updates(params, updates)
        return (params, state), params

    _, path = jax.lax.scan(step, (start, rule.init(start)), length=steps)
    return path


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_rules_walk_as_torchs_do(name):
    extras = Extras(l2=name != "adamw")
    path = jax.jit(
        lambda hyper: walk(composed(RULES[name], schedules.constant(), extras), hyper)
    )(Hyper())
    np.testing.assert_allclose(path["kernel"], GOLDEN[name], rtol=2e-5, atol=1e-5)


def test_every_other_rule_has_a_golden_walk():
    assert set(RULES) - set(GOLDEN) == {"newton", "muon"}


# A first step of NAdam at a tenth of the rate 0.05, by hand: the sign of the gradient,
# and ahead of it the share 0.9 of the moment 0.1, corrected for two steps by 0.19.
FIRST = 0.005 * (1 + 0.9 * 0.1 / 0.19)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (3, 3, 4, 12)])
def test_muon_steps_along_the_nearest_orthogonal_matrix(shape):
    """Against the singular value decomposition; two iterations reach it roughly."""
    gradient = jax.random.normal(jax.random.key(0), shape)
    params = {"kernel": jnp.zeros(shape), "bias": jnp.ones(3)}
    rule = composed(RULES["muon"], schedules.constant())(Hyper(weight_decay=0.0))
    grads = {"kernel": gradient, "bias": jnp.array([1.0, -2.0, 0.5])}
    updates, _ = jax.jit(rule.update)(grads, rule.init(params), params)
    matrix = np.asarray(gradient, np.float64).reshape(-1, shape[-1])
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    assert values.min() > 0.04 * np.sum(values**4) ** 0.25
    step = -np.asarray(updates["kernel"]).reshape(matrix.shape)
    factor = 0.05 * max(1, shape[-1] / matrix.shape[0]) ** 0.5
    found = left.T @ step @ right.T / factor
    assert np.all(np.abs(np.diag(found) - 1) < 0.2865), np.diag(found)
    np.testing.assert_allclose(found - np.diag(np.diag(found)), 0, atol=1e-3)
    expected = -FIRST * np.array([1, -1, 1])
    np.testing.assert_allclose(updates["bias"], expected, rtol=1e-4)


def test_no_odd_quintics_are_nearer_to_one_than_those_of_muon():
    """The best on an interval, and on what it makes of it, by linear programming."""
    low, high = 0.04, 1.0
    for coefficients in POLAR:
        x = np.geomspace(low, high, 2001)
        powers = np.stack([x, x**3, x**5], axis=1)
        error = np.hstack([powers, -np.ones((len(x), 1))])
        below = np.hstack([-powers, -np.ones((len(x), 1))])
        best = linprog(
            [0, 0, 0, 1],
            A_ub=np.vstack([error, below]),
            b_ub=np.repeat([1.0, -1.0], len(x)),
            bounds=[(None, None)] * 3 + [(0, None)],
        )
        np.testing.assert_allclose(coefficients, best.x[:3], rtol=2e-4)
        low, high = 1 - best.x[3], 1 + best.x[3]
    assert 0.713 < low < 0.715


def test_muon_leaves_thin_kernels_and_embeddings_to_adam():
    params = {"embedding": jnp.ones((9, 9)), "thin": {"kernel": jnp.ones((9, 7))}}
    hyper = Hyper(weight_decay=0.0)
    rule = composed(RULES["muon"], schedules.constant())(hyper)
    updates, _ = rule.update(params, rule.init(params), params)
    for leaf in jax.tree.leaves(updates):
        np.testing.assert_allclose(leaf, -FIRST, rtol=1e-4)


def test_newton_ends_a_quadratic_in_one_step():
    matrix = jnp.array([[3.0, 1.0], [1.0, 2.0]])
    target = jnp.array([1.0, -1.0])

    def quadratic(params):
        x = params["kernel"]
        return 0.5 * x @ matrix @ x - target @ x

    start = {"kernel": jnp.array([5.0, 7.0])}
    optimizer = composed(RULES["newton"], schedules.constant())
    path = walk(optimizer, Hyper(learning_rate=1.0), 1, quadratic, start)
    expected = np.linalg.solve(matrix, target)
    np.testing.assert_allclose(path["kernel"][0], expected, rtol=1e-5)


def test_newton_with_much_damping_is_descent():
    heavy = Hyper(learning_rate=1e4, newton_damping=1e6)
    newton = walk(composed(RULES["newton"], schedules.constant()), heavy, 3)
    plain = walk(composed(RULES["sgd"], schedules.constant()), Hyper(0.01), 3)
    np.testing.assert_allclose(newton["kernel"], plain["kernel"], rtol=1e-3)


def test_weight_decay_is_for_kernels_only():
    params = {
        "conv": {"kernel": 1, "bias": 1},
        "norm": {"scale": 1, "bias": 1},
        "embed": {"embedding": 1},
    }
    assert kernels(params) == {
        "conv": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "embed": {"embedding": True},
    }


@pytest.mark.parametrize("skip", [True, False])
def test_the_l2_penalty_skips_biases_when_asked(skip):
    extras = Extras(l2=True, skip_biases=skip)
    rule = composed(RULES["sgd"], schedules.constant(), extras)(Hyper())
    params = {"kernel": jnp.ones(1), "bias": jnp.ones(1)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = rule.update(zeros, rule.init(params), params)
    np.testing.assert_allclose(updates["kernel"], -0.05 * 0.1)
    np.testing.assert_allclose(updates["bias"], 0 if skip else -0.05 * 0.1)


def test_the_gradient_is_clipped_to_its_norm():
    rule = composed(RULES["sgd"], schedules.constant(), Extras(clip=True))(Hyper(1.0))
    params = {"kernel": jnp.zeros(2)}
    for gradient, expected in (([3.0, 4.0], [-0.6, -0.8]), ([0.3, 0.4], [-0.3, -0.4])):
        grads = {"kernel": jnp.array(gradient)}
        updates, _ = rule.update(grads, rule.init(params), params)
        np.testing.assert_allclose(updates["kernel"], expected, rtol=1e-6)


def test_accumulated_batches_are_one_large_batch():
    extras = Extras(accumulate=4)
    small = composed(RULES["adam"], schedules.cosine(5), extras)(Hyper())
    large = composed(RULES["adam"], schedules.cosine(5))(Hyper())
    params = {"kernel": jnp.array([1.0, -2.0, 0.5])}
    a, b = params, params
    state_a, state_b = small.init(a), large.init(b)
    gradients = jax.random.normal(jax.random.key(0), (3, 4, 3))
    for group in gradients:
        for gradient in group:
            updates, state_a = small.update({"kernel": gradient}, state_a, a)
            a = optax.apply_updates(a, updates)
        updates, state_b = large.update({"kernel": group.mean(0)}, state_b, b)
        b = optax.apply_updates(b, updates)
    np.testing.assert_allclose(a["kernel"], b["kernel"], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_takes_traced_hyperparameters_and_extras(name):
    extras = Extras(l2=True, clip=True, plateau=2, accumulate=2)
    optimizer = composed(
        RULES[name], schedules.warmed_up(schedules.cosine(8), 2), extras
    )
    rates = jnp.array([0.01, 0.1])
    hypers = jax.tree.map(lambda x: jnp.full(2, x), Hyper())._replace(
        learning_rate=rates
    )
    hypers = hypers._replace(newton_damping=jnp.ones(2))
    paths = jax.jit(jax.vmap(lambda hyper: walk(optimizer, hyper, 6)))(hypers)
    alone = walk(optimizer, Hyper(learning_rate=0.1, newton_damping=1.0), 6)
    np.testing.assert_allclose(paths["kernel"][1], alone["kernel"], rtol=1e-5)
    assert np.abs(paths["kernel"][0] - paths["kernel"][1]).max() > 1e-3


class Whole(NamedTuple):
    """The fields of a configuration that `from_config` reads."""

    optimizer: str = "adam"
    schedule: str = "cosine"
    warmup: int = 0
    accumulate: int = 1
    skip_biases: bool = True
    hyper: Hyper = Hyper()


def test_accumulation_longer_than_the_run_is_refused():
    with pytest.raises(
        RangeError, match=r"--accumulate must be in \[1, 21\], not 100: the run has 21"
    ):
        optimizers.from_config(Whole(accumulate=100), 21)
    with pytest.raises(RangeError, match=r"newton takes --accumulate 1, not 3"):
        optimizers.from_config(Whole("newton", accumulate=3), 21)


def test_batches_that_make_no_update_are_said():
    with pytest.warns(schedules.ScheduleWarning, match=r"last 1 of 21 batches"):
        optimizers.from_config(Whole(accumulate=4), 21)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizers.from_config(Whole(accumulate=3), 21)


@pytest.mark.parametrize("count", [optimizers.NEWTON_PARAMETERS + 1, 269_000])
def test_newton_refuses_a_network_whose_hessian_is_too_large(count):
    rule = optimizers.newton(Hyper(), schedules.constant())
    few = {"kernel": jax.ShapeDtypeStruct((optimizers.NEWTON_PARAMETERS,), jnp.float32)}
    jax.eval_shape(rule.init, few)
    many = {"kernel": jax.ShapeDtypeStruct((count,), jnp.float32)}
    words = f"at most 16,384 parameters, not {count:,}.*need {4 * count**2:,} bytes"
    with pytest.raises(RangeError, match=words):
        jax.eval_shape(rule.init, many)


def test_optax_rules_with_a_line_search_get_what_they_ask_for():
    path = walk(lambda hyper: optax.lbfgs(), Hyper(), 12)
    np.testing.assert_allclose(path["kernel"][-1], 0, atol=1e-4)


def test_descent_is_what_its_formula_says():
    shape = schedules.stepwise([1], factor=0.5)
    path = walk(lambda hyper: optimizers.descent(hyper, shape), Hyper(0.1), 2)
    x = np.array([1.0, -2.0, 0.5])
    for rate in (0.1, 0.05):
        x = x - rate * (2 * np.asarray(SCALE) * x + x**3)
    np.testing.assert_allclose(path["kernel"][-1], x, rtol=1e-5)
