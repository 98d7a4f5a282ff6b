"""Recurrent layers against torch's, and the properties of padding."""

import functools
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.parts import recurrent
from jaxnets.models.parts.recurrent import CELLS, Embedding, Recurrent, one_hot
from jaxnets.ops.cells import LSTMCarry
from jaxnets.testing.models import check_model
from jaxnets.types import Variables
from tests.golden.networks.fill import uniform
from tests.models.numbers import numbered

GOLDEN = dict(
    np.load(Path(__file__).parents[2] / "golden" / "recurrent" / "references.npz")
)
LAYERS, HIDDEN, LENGTHS = 2, 3, (5, 2, 4)
KEY = jax.random.key(0)


def initial(model, *inputs):
    return jax.jit(lambda key: functional.init(model, key, *inputs))(KEY)


def weigh(x):
    """The scalar of the script that made the golden file."""
    return jnp.sum(x.reshape(-1) * jnp.cos(jnp.arange(x.size, dtype=x.dtype)))


def ours(kind, prefix=""):
    """torch's parameters, or their gradients, in this project's tree."""
    params = {}
    for layer in range(LAYERS):
        for direction in ("", "_reverse"):
            end = f"l{layer}{direction}"
            get = lambda name, end=end: GOLDEN[f"{kind}/{prefix}{name}_{end}"]
            params[f"layer{layer}{direction}"] = {
                "input": {"kernel": get("weight_ih").T, "bias": get("bias_ih")},
                "hidden": {"kernel": get("weight_hh").T, "bias": get("bias_hh")},
            }
    return params


def carry_of(kind, values):
    if kind == "lstm":
        return tuple(LSTMCarry(h, c) for h, c in zip(*values, strict=True))
    return tuple(values[0])


def values_of(kind, carry):
    """The carries as torch stacks them."""
    if kind == "lstm":
        return [jnp.stack([c.h for c in carry]), jnp.stack([c.c for c in carry])]
    return [jnp.stack(carry)]


@pytest.fixture(scope="module", params=["rnn", "lstm", "gru"])
def layer(request):
    kind = request.param
    model = Recurrent(CELLS[kind], HIDDEN, LAYERS, bidirectional=True)

    def total(params, x, starts, present):
        output, last = functional.predict(
            model, Variables(params, {}), x, present, carry_of(kind, starts)
        )
        lasts = values_of(kind, last)
        return weigh(output) + sum(map(weigh, lasts)), (output, lasts)

    return kind, jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))


def starts_of(kind, prefix=""):
    names = ("start_h", "start_c")[: 2 if kind == "lstm" else 1]
    return [jnp.asarray(GOLDEN[f"{kind}/{prefix}{name}"]) for name in names]


def present(lengths):
    return jnp.arange(5)[None, :] < jnp.asarray(lengths)[:, None]


@pytest.mark.parametrize(("case", "lengths"), [("full", (5,) * 3), ("padded", LENGTHS)])
def test_values_and_gradients_are_torchs(layer, case, lengths):
    kind, graded = layer
    x = jnp.asarray(GOLDEN[f"{kind}/x"])
    (grads, dx, dstarts), (output, lasts) = graded(
        ours(kind), x, starts_of(kind), present(lengths)
    )
    near = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    near(output, GOLDEN[f"{kind}/{case}/output"])
    for name, value in zip("hc", lasts, strict=False):
        near(value, GOLDEN[f"{kind}/{case}/last_{name}"])
    near(dx, GOLDEN[f"{kind}/{case}/gradient/x"])
    jax.tree.map(near, dstarts, starts_of(kind, f"{case}/gradient/"))
    jax.tree.map(near, dict(grads), ours(kind, f"{case}/gradient/"))


def test_padding_changes_nothing_whatever_stands_in_it(layer):
    kind, graded = layer
    x = GOLDEN[f"{kind}/x"]
    mask = present(LENGTHS)
    other = jnp.where(mask[:, :, None], x, jnp.nan)
    one = graded(ours(kind), jnp.asarray(x), starts_of(kind), mask)
    two = graded(ours(kind), other, starts_of(kind), mask)
    jax.tree.map(np.testing.assert_array_equal, one, two)
    output = two[1][0]
    assert not np.any(np.where(mask[:, :, None], 0, output))


def test_a_longer_padding_gives_the_same_numbers():
    model = Recurrent(CELLS["gru"], 4, bidirectional=True)
    x = jnp.asarray(uniform("recurrent", (2, 3, 5)))
    variables = numbered(model, x)
    run = jax.jit(lambda x, mask: functional.predict(model, variables, x, mask))
    short, last = run(x, np.ones((2, 3), bool))
    for before, behind in ((0, 4), (2, 2)):
        wide = np.pad(x, ((0, 0), (before, behind), (0, 0)), constant_values=9.0)
        mask = np.pad(np.ones((2, 3), bool), ((0, 0), (before, behind)))
        long, last_long = run(wide, mask)
        same = np.asarray(long)[:, before : before + 3]
        np.testing.assert_allclose(same, short, atol=1e-6)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, atol=1e-6), last, last_long
        )


def test_two_pieces_with_the_carry_are_the_whole():
    model = Recurrent(CELLS["lstm"], 4, layers=2)
    x = jnp.asarray(uniform("recurrent", (2, 6, 5)))
    variables = numbered(model, x)
    run = functools.partial(functional.predict, model, variables)

    @jax.jit
    def ways(x):
        first, middle = run(x[:, :2])
        return run(x), run(x[:, 2:], None, middle), first

    (whole, end), (second, last), first = ways(x)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), last, end)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_alone_takes_the_steps_of_the_layer(kind):
    cell, x = CELLS[kind](4), uniform("recurrent", (2, 3, 5))
    params = jax.jit(lambda x: cell.init(KEY, cell.bind({}).start(2), x))(x[:, 0])
    assert set(params["params"]) == {"input", "hidden"}
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == (5 + 4 + 2) * 4 * {"rnn": 1, "gru": 3, "lstm": 4}[kind]

    @jax.jit
    def ways(x):
        carry, outputs = cell.bind({}).start(2), []
        for t in range(3):
            carry, output = cell.apply(params, carry, x[:, t])
            outputs.append(output)
        stack = Variables({"layer0": params["params"]}, {})
        whole, _ = functional.predict(Recurrent(CELLS[kind], 4), stack, x)
        return jnp.stack(outputs, 1), whole

    outputs, whole = ways(x)
    np.testing.assert_allclose(outputs, whole, atol=1e-6)


def test_a_vanilla_step_by_hand():
    cell = CELLS["rnn"](1)
    weights = {
        "input": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 0.5)},
        "hidden": {"kernel": jnp.full((1, 1), -3.0), "bias": jnp.zeros(1)},
    }
    carry, output = cell.apply(
        {"params": weights}, jnp.full((1, 1), 0.25), jnp.full((1, 1), 0.1)
    )
    assert float(output[0, 0]) == pytest.approx(np.tanh(2 * 0.1 + 0.5 - 3 * 0.25))
    np.testing.assert_array_equal(carry, output)


def test_initial_weights():
    variables = initial(Recurrent(CELLS["lstm"], 8), jnp.zeros((1, 2, 3)))
    cell = variables.params["layer0"]
    np.testing.assert_array_equal(
        cell["input"]["bias"], np.repeat([0.0, 1.0, 0.0, 0.0], 8)
    )
    for gate in np.split(np.asarray(cell["hidden"]["kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-5)


def test_variational_dropout_drops_the_same_at_every_step():
    model = Recurrent(CELLS["gru"], 16)
    x = jnp.ones((4, 6, 3))
    variables = numbered(model, x)
    run = jax.jit(
        lambda key, rate: functional.forward(
            model, variables, key, x, None, dropout=rate
        )[0][0]
    )
    output = np.asarray(run(KEY, 0.4))
    gone = output == 0
    assert 0.2 < gone.mean() < 0.6
    assert (gone == gone[:, :1]).all()
    assert (gone[0] != gone[1]).any()
    assert (run(jax.random.key(1), 0.4) != output).any()
    plain, _ = jax.jit(functional.predict, static_argnums=0)(model, variables, x)
    np.testing.assert_allclose(run(KEY, 0.0), plain, atol=1e-6)
    assert run._cache_size() == 1  # the rate is traced


def test_the_mask_reaches_the_hidden_product_and_not_the_gates():
    h, x = jnp.array([[0.5, -0.2]]), jnp.zeros((1, 6))
    kernel = jnp.ones((2, 6))
    step = recurrent.GRUCell.advance
    dropped = step(h, x, kernel, jnp.zeros(6), kept=jnp.zeros((1, 2)))
    np.testing.assert_allclose(dropped, 0.5 * h, atol=1e-7)  # z = 1/2, n = 0


class Tagger(nn.Module):
    """The smallest network of tokens that keeps the seam's contract."""

    @nn.compact
    def __call__(self, token, *, train, dropout=0):
        x = Embedding(7, 4, name="embed")(token)
        x, _ = Recurrent(CELLS["rnn"], 4, name="stack")(
            x, token > 0, train=train, dropout=dropout
        )
        return nn.Dense(3, name="output")(x)


def test_a_model_of_them_keeps_the_contract():
    check_model(Tagger(), jnp.array([[1, 2, 3], [4, 0, 0]]))


def test_computation_in_bfloat16_keeps_parameters_and_carry_in_float32():
    model = Recurrent(CELLS["lstm"], 4, dtype=jnp.bfloat16)
    x = jnp.ones((2, 3, 5))
    run = lambda v: functional.predict(model, v, x)
    variables = jax.eval_shape(lambda: functional.init(model, KEY, x))
    output, carry = jax.eval_shape(run, variables)
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves((variables.params, carry))}
    assert (str(output.dtype), kinds) == ("bfloat16", {"float32"})


def test_vectors_of_tokens_begin_with_unit_variance():
    draw = jax.jit(lambda: Embedding(200, 50).init(KEY, jnp.zeros((1, 1), jnp.int32)))
    table = np.asarray(draw()["params"]["embedding"])
    assert abs(table.mean()) < 0.05
    assert table.std() == pytest.approx(1, rel=0.05)


def test_embeddings_are_rows_and_bad_tokens_are_nan():
    model, token = Embedding(5, 3), jnp.array([[0, 4], [5, -1]])

    @jax.jit
    def looked_up():
        params = model.init(KEY, token)
        codes = one_hot(token, 5)
        return params["params"]["embedding"], model.apply(params, token), codes

    table, rows, codes = map(np.asarray, looked_up())
    np.testing.assert_array_equal(rows[0], table[[0, 4]])
    assert np.isnan(rows[1]).all()
    np.testing.assert_allclose(codes[:1] @ table, rows[:1])
    assert np.isnan(codes[1]).all()
