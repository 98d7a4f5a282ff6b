"""Language: the carry goes on, the gradient does not."""

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.data.feeds.streams import windows
from jaxnets.learners.supervised import supervised
from jaxnets.metrics import merged
from jaxnets.models import functional
from jaxnets.models.language import LanguageModel
from jaxnets.ops.decoding import PAD, UNKNOWN
from jaxnets.tasks.language import Sampling, continued, language, perplexity
from jaxnets.testing.learners import check_learner
from jaxnets.testing.tasks import check_task
from jaxnets.types import StreamBatch, Variables

VOCABULARY = 9
MODEL = LanguageModel(VOCABULARY, "rnn", 6)
TASK = language(MODEL, rates=())
KEY = jax.random.key(0)
TEXT = jax.random.randint(jax.random.key(1), (4, 13), 1, VOCABULARY)


class Hyper(NamedTuple):
    learning_rate: float = 0.1
    dropout: float = 0.2


def chunk(first, last, *, fresh):
    rows = TEXT[:, first : last + 1]
    ones = jnp.ones(len(TEXT), bool)
    return StreamBatch(rows[:, :-1], rows[:, 1:], ones & fresh, ones)


@pytest.fixture(scope="module")
def variables():
    return jax.jit(TASK.init)(KEY, chunk(0, 6, fresh=True))


@pytest.fixture(scope="module")
def run():
    def logits(variables, token):
        whole = Variables(variables.params, {})
        return functional.predict(MODEL, whole, token, token > 0)[0]

    return jax.jit(logits)


@jax.jit
def cheap(key, batch):
    """Variables of the same shapes: to compile the initialisers would take seconds."""
    shapes = jax.eval_shape(TASK.init, key, batch)
    flat = 0.3 * jax.random.normal(key, (1000,))
    return jax.tree.map(lambda x: flat[: x.size].reshape(x.shape), shapes)


def nats(logits, target):
    return optax.softmax_cross_entropy_with_integer_labels(logits, target)


def test_the_contracts_hold():
    check_task(TASK._replace(init=cheap), Hyper(), chunk(0, 6, fresh=True))
    learner = supervised(
        TASK._replace(init=cheap), lambda hyper: optax.sgd(hyper.learning_rate)
    )
    check_learner(learner, Hyper(), chunk(0, 6, fresh=False), steps=3)


def test_the_second_chunk_knows_the_first_and_its_gradient_does_not(variables, run):
    learner = supervised(TASK, lambda hyper: optax.sgd(hyper.learning_rate))
    step = jax.jit(learner.step)
    first, second = chunk(0, 6, fresh=True), chunk(6, 12, fresh=False)
    start = jax.jit(learner.init)(KEY, Hyper(), first)._replace(variables=variables)
    middle, _ = step(start, first)
    end, metrics = step(middle, second)

    def loss(params, old):
        """By hand: the carry that the old weights left behind is a constant."""
        _, carry = functional.predict(MODEL, Variables(old, {}), first.token)
        logits, _ = functional.predict(
            MODEL, Variables(params, {}), second.token, None, carry
        )
        return nats(logits, second.target).mean()

    old, now = variables.params, middle.variables.params
    value, cut = jax.jit(jax.value_and_grad(loss))(now, old)
    assert float(metrics["loss"].compute()) == pytest.approx(float(value), rel=1e-5)
    expected = jax.tree.map(lambda x, g: x - 0.1 * g, now, cut)
    near = functools.partial(np.testing.assert_allclose, atol=1e-6)
    jax.tree.map(near, end.variables.params, expected)

    forgetful = language(MODEL, rates=(), carried=False)
    value, _ = jax.jit(forgetful.loss)(middle.variables, second, KEY, Hyper())
    logits = run(middle.variables, second.token)
    assert float(value) == pytest.approx(float(nats(logits, second.target).mean()))
    assert float(value) != pytest.approx(float(metrics["loss"].compute()), rel=1e-4)


def test_fresh_rows_alone_begin_again(variables):
    carry = jax.tree.map(jnp.ones_like, variables.buffers["carry"])
    held = variables._replace(buffers={"carry": carry})
    loss = jax.jit(TASK.loss)
    at = lambda fresh: loss(held, chunk(0, 6, fresh=fresh), KEY, Hyper())[1][0]["carry"]
    some = at(jnp.array([True, False, False, True]))
    for mixed, old, new in zip(
        *map(jax.tree.leaves, (some, at(False), at(True))), strict=True
    ):
        np.testing.assert_allclose(mixed[1:3], old[1:3], atol=1e-6)
        np.testing.assert_allclose(mixed[::3], new[::3], atol=1e-6)
        assert (np.abs(old - new) > 1e-3).any(axis=1).all()


def test_evaluation_is_one_pass_where_the_context_reaches_back(variables, run):
    text = np.asarray(TEXT).reshape(-1)
    feed = windows(text, context=60, span=8, batch_size=3)
    evaluate = jax.jit(TASK.evaluate)
    found = merged(evaluate(variables, batch, KEY) for batch in feed)
    logits = run(variables, jnp.asarray(text[None, :-1]))
    expected = np.asarray(nats(logits, text[None, 1:]), np.float64)
    assert int(found["loss"].weight) == len(text) - 1
    assert float(found["loss"].compute()) == pytest.approx(expected.mean(), rel=1e-5)
    assert perplexity(found) == pytest.approx(np.exp(expected.mean()), rel=1e-5)
    bits = float(found["bits_per_token"].compute())
    assert bits == pytest.approx(expected.mean() / np.log(2), rel=1e-5)


def test_the_vectors_of_tokens_begin_with_unit_variance():
    """With length 1 instead they would hardly be heard."""
    wide = language(LanguageModel(40, "rnn", 6, embedding=50), rates=())
    drawn = jax.jit(wide.init)(KEY, chunk(0, 6, fresh=True)).params
    (table,) = (np.asarray(x) for x in jax.tree.leaves(drawn) if x.shape == (40, 50))
    assert 0.93 < table.std() < 1.07  # three standard errors


def test_a_network_that_knows_nothing_has_the_perplexity_of_the_vocabulary(variables):
    blank = jax.tree.map(jnp.zeros_like, variables)
    found = jax.jit(TASK.evaluate)(blank, chunk(0, 6, fresh=True), KEY)
    assert perplexity(found) == pytest.approx(VOCABULARY, rel=1e-6)


def test_a_token_outside_the_vocabulary_is_no_success(variables):
    batch = chunk(0, 6, fresh=True)
    wrong = batch._replace(target=batch.target.at[0, 0].set(VOCABULARY))
    found = jax.jit(TASK.evaluate)(variables, wrong, KEY)
    assert all(np.isnan(value.compute()) for value in found.values())


def test_samples_are_fed_back(variables, run):
    prompt = jnp.array([[0, 5, 7], [4, 6, 8]])  # the first is shorter
    sampling = Sampling(length=6, temperature=1e-4)
    made = jax.jit(lambda p: continued(MODEL, variables.params, p, KEY, sampling))(
        prompt
    )
    for row, start in ((0, [5, 7]), (1, [4, 6, 8])):
        text = list(start)
        for _ in range(6):
            padded = jnp.array([text + [0] * (9 - len(text))])
            logits = run(variables, padded)
            text.append(4 + int(jnp.argmax(logits[0, len(text) - 1, 4:])))
        assert made[row].tolist() == text[len(start) :]


def test_an_unknown_character_is_never_right():
    """A network whose likeliest token is always `<unk>`, on a text of nothing else."""
    logits = jnp.zeros((2, 5, VOCABULARY)).at[:, :, UNKNOWN].set(9.0)
    target = jnp.full((2, 5), UNKNOWN).at[0, 0].set(PAD)
    ones = jnp.ones(2, bool)
    batch = StreamBatch(target, target, ones, ones)

    class Always(nn.Module):
        @nn.compact
        def __call__(self, token, present=None, carry=None, *, train):
            return logits, jnp.zeros((2, 1))

    found = language(Always()).evaluate(Variables({}, {}), batch, KEY)
    assert found["accuracy"].compute() == 0
    assert found["accuracy"].weight == found["loss"].weight == 9
    assert 0 < found["loss"].compute() < 0.01
