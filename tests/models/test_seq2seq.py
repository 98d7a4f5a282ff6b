"""Sequence to sequence against a twin in NumPy, one row and one step at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.seq2seq import Seq2Seq
from jaxnets.testing.models import check_model

SOURCE, TARGET, HIDDEN, EMBEDDING, COMPARED = 9, 6, 5, 4, 3
KEY = jax.random.key(0)
KINDS = ("plain", "additive", "dot")


def model(kind, cell="gru"):
    return Seq2Seq(SOURCE, TARGET, HIDDEN, EMBEDDING, kind, COMPARED, cell)


def batch(rows=3, times=4, seed=0):
    rng = np.random.default_rng(seed)
    source = rng.integers(1, SOURCE, (rows, 5)).astype(np.int32)
    for row in range(1, rows):
        source[row, 5 - row % 4 :] = 0
    token = rng.integers(3, TARGET, (rows, times)).astype(np.int32)
    token[:, 0] = 1
    return jnp.asarray(source), jnp.asarray(token)


@functools.cache
def made(kind, cell="gru"):
    """A model with variables of a good size, and what it says to `batch()`."""
    net, inputs = model(kind, cell), batch()
    shapes = jax.eval_shape(lambda key: functional.init(net, key, *inputs), KEY)
    rng = np.random.default_rng(1)
    drawn = jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape) * 0.7, jnp.float32), shapes
    )
    return net, drawn, predicting(kind, cell)(drawn, *inputs)


@functools.cache
def predicting(kind, cell="gru"):
    net = model(kind, cell)
    return jax.jit(lambda v, *inputs: functional.predict(net, v, *inputs))


@functools.cache
def sampling(kind="additive"):
    net = model(kind)
    return jax.jit(
        lambda v, key, rate, *inputs: functional.forward(
            net, v, key, *inputs, sampling=rate
        )[0]
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def twin(kind, params, source, token):
    """Logits and weights of one row without padding, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def dense(layer, x):
        return x @ layer["kernel"] + layer.get("bias", 0)

    def gru(cell, h, x, extra=0.0):
        x = np.split(dense(cell["input"], x) + extra, 3)
        u = np.split(dense(cell["hidden"], h), 3)
        r, z = sigmoid(x[0] + u[0]), sigmoid(x[1] + u[1])
        return z * h + (1 - z) * np.tanh(x[2] + r * u[2])

    vectors = p["read"]["embedding"][source]
    states = {}
    for name, order in (("layer0", 1), ("layer0_reverse", -1)):
        h, states[name] = np.zeros(HIDDEN), []
        for x in vectors[::order]:
            h = gru(p["encoder"][name], h, x)
            states[name].append(h)
    forward, backward = states["layer0"], states["layer0_reverse"][::-1]
    memory = np.concatenate([forward, backward], axis=1)
    h = np.tanh(dense(p["bridge"], np.concatenate([forward[-1], backward[0]])))
    logits, weights = [], []
    for number in token:
        word, extra = p["written"]["embedding"][number], 0.0
        if kind != "plain":
            attend = p["attend"]
            if kind == "additive":
                hidden = np.tanh(
                    dense(attend["query"], h) + dense(attend["key"], memory)
                )
                scores = dense(attend["score"], hidden)[:, 0]
            else:
                scores = dense(attend["key"], memory) @ dense(attend["query"], h)
            alpha = np.exp(scores - scores.max())
            alpha /= alpha.sum()
            weights.append(alpha)
            context = alpha @ memory
            extra = dense(p["context"], context)
        h = gru(p["decoder"], h, word, extra)
        deep = dense(p["state"], h) + dense(p["word"], word)
        if kind != "plain":
            deep = deep + dense(p["context_word"], context)
        logits.append(dense(p["output"], np.tanh(deep)))
    return np.array(logits), np.array(weights)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_twin_row_by_row_whatever_the_padding(kind):
    _, variables, found = made(kind)
    source, token = map(np.asarray, batch())
    for row in range(len(source)):
        real = source[row][source[row] != 0]
        logits, weights = twin(kind, variables.params, real, token[row])
        np.testing.assert_allclose(found.logits[row], logits, rtol=1e-4, atol=1e-5)
        if kind == "plain":
            assert not np.asarray(found.weights).any()
        else:
            own = np.asarray(found.weights[row])
            np.testing.assert_allclose(own[:, : len(real)], weights, atol=1e-5)
            assert not own[:, len(real) :].any()


@pytest.mark.parametrize("kind", ["plain", "additive"])
def test_more_padding_changes_nothing(kind):
    _, variables, found = made(kind)
    source, token = batch()
    source = jnp.pad(source, ((0, 0), (0, 3)))
    token = jnp.pad(token, ((0, 0), (0, 2)))
    wider = predicting(kind)(variables, source, token)
    np.testing.assert_allclose(wider.logits[:, :4], found.logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(wider.weights[:, :4, :5], found.weights, atol=1e-6)
    assert not np.asarray(wider.weights[:, :, 5:]).any()


def test_a_source_of_padding_only_is_no_nan():
    _, variables, _ = made("additive")
    source, token = batch()
    found = predicting("additive")(variables, source.at[1].set(0), token)
    assert np.isfinite(found.logits).all()
    assert not np.asarray(found.weights[1]).any()


def test_steps_one_by_one_are_the_whole():
    net, variables, found = made("additive", "lstm")
    source, token = batch()

    @jax.jit
    def stepped(variables):
        said = []
        memory, carry = functional.method(net, variables, "start", source)
        for time in range(2):
            carry, logits, weights = functional.method(
                net, variables, "step", memory, carry, token[:, time]
            )
            said.append((logits, weights))
        return said

    for time, (logits, weights) in enumerate(stepped(variables)):
        np.testing.assert_allclose(logits, found.logits[:, time], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(weights, found.weights[:, time], atol=1e-5)


def test_parameters_by_hand():
    def gru(inputs):
        return (inputs + HIDDEN + 2) * 3 * HIDDEN

    def count(kind, cell="gru"):
        net = model(kind, cell)
        shapes = jax.eval_shape(lambda: functional.init(net, KEY, *batch()))
        return sum(x.size for x in jax.tree.leaves(shapes.params))

    embeddings = (SOURCE + TARGET) * EMBEDDING
    bridge = (2 * HIDDEN + 1) * HIDDEN
    readout = (HIDDEN + 1) * EMBEDDING + EMBEDDING**2 + (EMBEDDING + 1) * TARGET
    plain = embeddings + 3 * gru(EMBEDDING) + bridge + readout
    context = 2 * HIDDEN * (3 * HIDDEN + EMBEDDING)
    assert count("plain") == plain
    assert count("additive") == plain + context + (3 * HIDDEN + 2) * COMPARED
    assert count("dot") == plain + context + 3 * HIDDEN * COMPARED
    net = Seq2Seq(11, 7, 16, 8, "additive", 12)
    shapes = jax.eval_shape(lambda: functional.init(net, KEY, *batch()))
    assert sum(x.size for x in jax.tree.leaves(shapes.params)) == 7071


def test_it_keeps_the_contract():
    check_model(model("additive", "rnn"), *batch())


def test_without_draws_it_is_teacher_forcing():
    _, variables, found = made("additive")
    given = sampling()(variables, KEY, 0.0, *batch())
    np.testing.assert_allclose(given.logits, found.logits, rtol=1e-5, atol=1e-5)


def test_with_draws_only_the_given_tokens_count_no_more():
    _, variables, _ = made("additive")
    source, token = batch()
    other = token.at[:, 1:].set(2)
    run = sampling()
    one, same = (run(variables, KEY, 1.0, source, t) for t in (token, other))
    np.testing.assert_array_equal(one.logits, same.logits)
    half, changed = (run(variables, KEY, 0.5, source, t) for t in (token, other))
    assert not np.array_equal(half.logits, changed.logits)
    again = run(variables, jax.random.key(1), 1.0, source, token)
    assert not np.array_equal(one.logits, again.logits)
    np.testing.assert_array_equal(one.logits[:, 0], again.logits[:, 0])


def test_draws_are_as_often_as_they_should_be_and_the_models_own():
    _, variables, _ = made("additive")
    rows, rate, given = 6000, 0.4, 3
    source = np.tile(batch()[0][:1], (rows, 1))
    token = np.tile(np.array([[1, given, given]], np.int32), (rows, 1))
    found = np.asarray(sampling()(variables, KEY, rate, source, token).logits)
    # What the second and third logits are after each pair that may have been fed.
    pairs = np.array([(1, *pair) for pair in np.ndindex(TARGET, TARGET)], np.int32)
    after = predicting("additive")(variables, source[: len(pairs)], pairs).logits
    gap = np.abs(found[:, None, 1:] - np.asarray(after)[None, :, 1:]).max(axis=(2, 3))
    assert gap.min(axis=1).max() < 1e-4

    def chances(logits):
        """Of each token to be fed, where these were said before."""
        powers = np.exp(np.asarray(logits, np.float64))
        own = rate * powers / powers.sum(axis=-1, keepdims=True)
        own[..., given] += 1 - rate
        return own

    # Every step has a draw of its own: the two are independent.
    second = chances(after[::TARGET, 1])
    expected = (chances(found[0, 0])[:, None] * second).reshape(-1)
    share = np.bincount(gap.argmin(axis=1), minlength=len(pairs)) / rows
    deviation = np.sqrt(expected * (1 - expected) / rows)
    assert (np.abs(share - expected) <= 4.5 * deviation + 1 / rows).all()


@pytest.mark.one_python
def test_no_gradient_passes_through_a_draw():
    net, variables, _ = made("plain")
    source, token = batch()

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def last(params, token):
        written, _ = functional.forward(
            net, variables._replace(params=params), KEY, source, token, sampling=1.0
        )
        return jnp.sum(written.logits[:, 1]), written.logits

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def forced(params, token):
        written = functional.predict(
            net, variables._replace(params=params), source, token
        )
        return jnp.sum(written.logits[:, 1]), written.logits

    def with_second(words):
        first = np.asarray(token[:, 0])
        second = np.broadcast_to(np.int32(words), first.shape)
        return np.stack([first, second], axis=1)

    drawn, fed = last(variables.params, token[:, :2])
    # The same as for a model that is given those tokens.
    each = [forced(variables.params, with_second(n))[1] for n in range(TARGET)]
    gap = np.abs(np.asarray(fed)[None] - np.asarray(each)).max(axis=(2, 3))
    same, _ = forced(variables.params, with_second(gap.argmin(axis=0)))
    for mine, theirs in zip(jax.tree.leaves(drawn), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
