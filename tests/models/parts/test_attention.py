"""Attention against torch's, and what holds of all kinds of it."""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.parts.attention import (
    AdditiveAttention,
    DotAttention,
    MultiHeadAttention,
    ScaledDotAttention,
    SelfAttentionEncoder,
)
from jaxnets.ops import attention as ops
from jaxnets.testing.models import check_model
from jaxnets.types import Variables
from tests.golden.networks.fill import uniform

GOLDEN = dict(
    np.load(Path(__file__).parents[2] / "golden" / "recurrent" / "references.npz")
)
KEY = jax.random.key(0)
PRESENT = jnp.arange(5)[None, :] < jnp.array([5, 2, 4])[:, None]
near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def weigh(x):
    return jnp.sum(x.reshape(-1) * jnp.cos(jnp.arange(x.size, dtype=x.dtype)))


def dense(get, name):
    return {"kernel": get(f"{name}weight").T, "bias": get(f"{name}bias")}


def heads(get, prefix=""):
    """torch keeps query, key and value in one matrix."""
    kernels = np.split(get(f"{prefix}in_proj_weight"), 3)
    biases = np.split(get(f"{prefix}in_proj_bias"), 3)
    params = {
        name: {"kernel": kernel.T, "bias": bias}
        for name, kernel, bias in zip(
            ("query", "key", "value"), kernels, biases, strict=True
        )
    }
    return {**params, "output": dense(get, f"{prefix}out_proj.")}


def norm(get, name):
    return {"scale": get(f"{name}weight"), "bias": get(f"{name}bias")}


def block(get, i):
    start = f"layers.{i}."
    return {
        "attention": heads(get, f"{start}self_attn."),
        "norm1": norm(get, f"{start}norm1."),
        "norm2": norm(get, f"{start}norm2."),
        "dense1": dense(get, f"{start}linear1."),
        "dense2": dense(get, f"{start}linear2."),
    }


def encoder(get):
    return {
        "layer0": block(get, 0),
        "layer1": block(get, 1),
        "norm": norm(get, "norm."),
    }


def golden(kind, gradient=""):
    return lambda name: jnp.asarray(GOLDEN[f"{kind}/{gradient}{name}"])


@pytest.mark.parametrize("kind", ["attention", "encoder"])
def test_values_and_gradients_are_torchs(kind):
    names = {"attention": ("query", "memory"), "encoder": ("x",)}[kind]
    params_of = {"attention": heads, "encoder": encoder}[kind]
    model = {
        "attention": MultiHeadAttention(8, 2),
        "encoder": SelfAttentionEncoder(8, 2, 2, 12),
    }[kind]

    def total(params, inputs):
        output, weights = functional.predict(
            model, Variables(params, {}), *inputs, PRESENT
        )
        return weigh(output), (output, weights)

    graded = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))
    inputs = [golden(kind)(name) for name in names]
    (grads, dx), (output, weights) = graded(params_of(golden(kind)), inputs)
    near(output, GOLDEN[f"{kind}/output"])
    if kind == "attention":
        near(weights, GOLDEN["attention/weights"])
    gradient = golden(kind, "gradient/")
    jax.tree.map(near, dx, [gradient(name) for name in names])
    jax.tree.map(near, dict(grads), params_of(gradient))


def test_nothing_is_read_from_padding():
    model, x = SelfAttentionEncoder(8, 2, 2, 12), golden("encoder")("x")
    variables = Variables(encoder(golden("encoder")), {})
    run = jax.jit(lambda x: functional.predict(model, variables, x, PRESENT))
    spoilt = jnp.where(PRESENT[:, :, None], x, jnp.nan)
    jax.tree.map(np.testing.assert_array_equal, run(spoilt), run(x))


@pytest.mark.parametrize("kind", [AdditiveAttention, DotAttention, ScaledDotAttention])
def test_weights_are_a_distribution_over_what_is_there(kind):
    attention = kind(6)
    query = jnp.asarray(uniform("query", (3, 4)))
    memory = jnp.asarray(2 * uniform("memory", (3, 5, 7)))

    def weights_of(module, query, memory):
        return module(query, module.keys(memory), PRESENT)

    params = jax.jit(functools.partial(attention.init, method=weights_of))(
        KEY, query, memory
    )
    run = jax.jit(
        lambda memory: attention.apply(params, query, memory, method=weights_of)
    )
    weights = run(memory)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert not np.any(np.where(PRESENT, 0, weights))
    assert (np.where(PRESENT, weights, 1) > 0).all()
    spoilt = jnp.where(PRESENT[:, :, None], memory, np.float32(1e9))
    np.testing.assert_array_equal(run(spoilt), weights)
    # Sharper, it is a power of the same distribution.
    sharp = attention.clone(sharpness=2.5)
    found = jax.jit(lambda m: sharp.apply(params, query, m, method=weights_of))(memory)
    power = np.asarray(weights, np.float64) ** 2.5
    near(found, power / power.sum(1, keepdims=True))


def test_scores_by_hand():
    query, keys = jnp.array([[1.0, 2.0]]), jnp.array([[[3.0, 4.0], [0.0, 1.0]]])
    plain = DotAttention().apply({}, query, keys)
    near(plain, jax.nn.softmax(jnp.array([[11.0, 2.0]])))
    scaled = ScaledDotAttention().apply({}, query, keys)
    near(scaled, jax.nn.softmax(jnp.array([[11.0, 2.0]]) / np.sqrt(2)))
    with pytest.raises(ValueError, match="give the attention its `features`"):
        DotAttention().apply({}, query[:, :1], keys)
    weights = {
        "query": {"kernel": jnp.array([[1.0], [-1.0]]), "bias": jnp.full(1, 0.5)},
        "score": {"kernel": jnp.full((1, 1), 2.0)},
    }
    additive = AdditiveAttention(1).apply({"params": weights}, query, keys[..., :1])
    near(additive, jax.nn.softmax(2 * np.tanh([[1 - 2 + 0.5 + 3, 1 - 2 + 0.5 + 0]])))


def test_a_softmax_over_nothing_is_zero_and_so_is_its_gradient():
    none = jnp.zeros((1, 3), bool)
    scores = jnp.array([[1, np.inf, -2]], jnp.float32)
    values = lambda s: (ops.softmax(s, none).sum(), ops.softmax(s, none))
    gradient, weights = jax.jit(jax.grad(values, has_aux=True))(scores)
    assert not np.any(weights)
    assert not np.any(gradient)


def test_a_causal_query_sees_nothing_later():
    model, x = MultiHeadAttention(8, 2), golden("encoder")("x")
    variables = Variables(heads(golden("attention")), {})

    @jax.jit
    def both():
        run = lambda x: model.apply(
            {"params": variables.params}, x, x, train=False, causal=True
        )
        return *run(x), run(x[:, :3])[0]

    output, weights, begun = map(np.asarray, both())
    assert not np.any(np.triu(weights, 1))
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(begun, output[:, :3], atol=1e-6)


def test_positions_of_an_odd_width_and_a_bad_number_of_heads():
    table = ops.sinusoids(3, 5)
    near(
        table[1],
        [np.sin(1), np.cos(1)]
        + [f(1e4**-0.4) for f in (np.sin, np.cos)]
        + [np.sin(1e4**-0.8)],
    )
    with pytest.raises(ValueError, match="does not divide into 3 heads"):
        MultiHeadAttention(8, 3).init(
            KEY, jnp.ones((1, 2, 8)), jnp.ones((1, 2, 8)), train=False
        )


class Reader(nn.Module):
    @nn.compact
    def __call__(self, x, *, train, dropout=0):
        encoder = SelfAttentionEncoder(8, 1, 2, 12, name="encoder")
        return encoder(x, train=train, dropout=dropout).output


def test_a_model_of_it_keeps_the_contract():
    check_model(Reader(), jnp.asarray(uniform("reader", (2, 3, 8))))
