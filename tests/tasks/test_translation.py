from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxnets.models import functional
from jaxnets.models.seq2seq import Seq2Seq
from jaxnets.ops.decoding import END, PAD, UNKNOWN, Decoding, greedy
from jaxnets.tasks.translation import translation
from jaxnets.testing.tasks import check_task
from jaxnets.types import PairBatch, Variables

SOURCE, TARGET = 7, 6
KEY = jax.random.key(0)
NET = Seq2Seq(SOURCE, TARGET, 8, 6, "additive", 5)


class Hyper(NamedTuple):
    label_smoothing: float = 0.0
    dropout: float = 0.0
    sampling: float = 0.0


def batch(pad=0):
    source = np.array([[1, 2, 3, 0], [4, 5, 0, 0], [6, 1, 1, 2], [3, 0, 0, 0]])
    target = np.array(
        [[1, 3, 4, 2, 0], [1, 5, 2, 0, 0], [1, 2, 0, 0, 0], [1, 4, 5, 3, 2]]
    )
    widths = ((0, 0), (0, pad))
    return PairBatch(
        jnp.asarray(np.pad(source, widths), jnp.int32),
        jnp.asarray(np.pad(target, widths), jnp.int32),
        jnp.ones(4, bool),
    )


@pytest.fixture(scope="module")
def task():
    return translation(NET, rates=())


@pytest.fixture(scope="module")
def variables(task):
    def larger(key, batch):
        drawn = task.init(key, batch)
        return drawn._replace(params=jax.tree.map(lambda x: 3 * x, drawn.params))

    return unknown_is(-6.0, jax.jit(larger)(KEY, batch()))


def unknown_is(bias, variables):
    """The same network, whose logit of `<unk>` has this bias."""
    output = dict(variables.params["output"])
    output["bias"] = jnp.zeros(TARGET).at[UNKNOWN].set(bias)
    return variables._replace(params={**variables.params, "output": output})


@pytest.fixture(scope="module")
def evaluate(task):
    return jax.jit(task.evaluate)


@pytest.fixture(scope="module")
def predict(task):
    return jax.jit(task.predict)


@pytest.mark.one_python
def test_scores_are_means_over_real_tokens(variables, evaluate):
    whole = batch()
    found = evaluate(variables, whole, KEY)
    read = jax.jit(lambda *given: functional.predict(NET, *given))
    logits = read(variables, whole.source, np.asarray(whole.target)[:, :-1])
    logp = log_softmax(np.asarray(logits.logits, np.float64), axis=-1)
    losses, hits = [], []
    for row, target in enumerate(np.asarray(whole.target)[:, 1:]):
        for time, token in enumerate(target):
            if token != PAD:
                losses.append(-logp[row, time, token])
                right = logp[row, time].argmax() == token
                hits.append(right and token != UNKNOWN)
    assert len(losses) == 3 + 2 + 1 + 4
    np.testing.assert_allclose(found["loss"].compute(), np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"].compute(), np.mean(hits), rtol=1e-6)
    assert found["loss"].weight == 10
    assert found["accuracy_exact"].weight == 4


@pytest.mark.one_python
def test_padding_of_source_and_target_counts_nowhere(task, variables, evaluate):
    hyper = Hyper(label_smoothing=0.1)

    def loss(params, whole):
        value, _ = task.loss(variables._replace(params=params), whole, KEY, hyper)
        return value

    graded = jax.jit(jax.value_and_grad(loss))
    value, grads = graded(variables.params, batch())
    wider, same = graded(variables.params, batch(pad=3))
    np.testing.assert_allclose(value, wider, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    one, two = (evaluate(variables, batch(pad), KEY) for pad in (0, 3))
    for name in one:
        np.testing.assert_allclose(
            one[name].compute(), two[name].compute(), rtol=1e-5, err_msg=name
        )


def test_exact_is_what_greedy_writes(variables, evaluate, predict):
    whole = batch()
    written = predict(variables, whole, KEY)
    # Take what the model writes as the target, and then spoil one row of it.
    target = np.array(whole.target)
    target[:, 1:] = written.token
    assert (target != UNKNOWN).all()
    spoilt = target.copy()
    spoilt[2, 1] = 4 if target[2, 1] == 3 else 3
    for targets, expected in ((target, [1, 1, 1, 1]), (spoilt, [1, 1, 0, 1])):
        asked = whole._replace(target=targets)
        np.testing.assert_array_equal(predict(variables, asked, KEY).exact, expected)
        share = evaluate(variables, asked, KEY)["accuracy_exact"].compute()
        assert share == np.mean(expected)
    masked = whole._replace(target=spoilt, mask=np.array([False, True, True, False]))
    assert evaluate(variables, masked, KEY)["accuracy_exact"].compute() == 0.5


def test_an_unknown_word_is_never_right(variables, evaluate, predict):
    always, whole = unknown_is(1e3, variables), batch()
    unknown = whole._replace(
        target=jnp.full_like(whole.target, UNKNOWN).at[:, 0].set(1)
    )
    written = predict(always, unknown, KEY)
    assert (np.asarray(written.token) == UNKNOWN).all()
    assert not np.asarray(written.exact).any()
    found = evaluate(always, unknown, KEY)
    assert found["accuracy"].compute() == found["accuracy_exact"].compute() == 0
    assert found["accuracy"].weight == 16  # and still counts


def test_predictions_are_those_of_the_decoder(variables, predict):
    whole = batch()
    written = predict(variables, whole, KEY)

    @jax.jit
    def decoded(variables, source):
        memory, carry = functional.method(NET, variables, "start", source)

        def step(carry, token):
            return functional.method(NET, variables, "step", memory, carry, token)

        return greedy(step, carry, 4)

    found = decoded(variables, whole.source)
    np.testing.assert_array_equal(written.token, np.asarray(found.token)[:, 0])
    np.testing.assert_allclose(written.score, np.asarray(found.score)[:, 0], rtol=1e-4)
    present = np.asarray(written.token) != PAD
    absent = np.asarray(whole.source) == 0
    weights = np.asarray(written.weights)
    np.testing.assert_allclose(weights.sum(axis=2), present, atol=1e-5)
    assert not weights[np.broadcast_to(absent[:, None], weights.shape)].any()


def test_beams_find_sequences_that_are_no_less_probable(variables, predict):
    wide = translation(NET, decoding=Decoding("beam", beams=30, alpha=0.0))
    one, best = (
        predict(variables, batch(), KEY),
        jax.jit(wide.predict)(variables, batch(), KEY),
    )
    ended = (np.asarray(one.token) == END).any(axis=1)
    assert (np.asarray(best.score) >= np.asarray(one.score) - 1e-5)[ended].all()
    assert (np.asarray(best.token) == END).any(axis=1).all()
    sums = np.asarray(best.weights).sum(axis=2)
    np.testing.assert_allclose(sums, np.asarray(best.token) != PAD, atol=1e-5)


def test_attention_may_be_sharper_in_what_is_written(variables, predict):
    def written(sharpness):
        task = translation(NET, decoding=Decoding(sharpness=sharpness), rates=())
        return jax.jit(task.predict)(variables, batch(), KEY)

    plain, sharp, one = predict(variables, batch(), KEY), written(3.0), written(1e6)
    # Before the first word the state is the same, so the weights are their powers.
    power = np.asarray(plain.weights, np.float64)[:, 0] ** 3
    power = power / power.sum(1, keepdims=True)
    np.testing.assert_allclose(
        np.asarray(sharp.weights)[:, 0], power, rtol=1e-4, atol=1e-6
    )
    spoken = np.asarray(one.token) != PAD
    np.testing.assert_allclose(np.asarray(one.weights).max(axis=2), spoken, atol=1e-4)
    assert np.abs(np.asarray(sharp.score) - plain.score).max() > 1e-3


def test_a_nan_looks_like_no_success(variables, evaluate, predict):
    broken = Variables(
        jax.tree.map(lambda x: np.full_like(x, np.nan), variables.params), {}
    )
    found = evaluate(broken, batch(), KEY)
    assert all(np.isnan(value.compute()) for value in found.values())
    assert np.isnan(predict(broken, batch(), KEY).exact).all()
    outside = np.array(batch().target)
    outside[0, 1] = TARGET  # no token of the vocabulary
    found = evaluate(variables, batch()._replace(target=outside), KEY)
    assert np.isnan(found["loss"].compute())
    assert np.isnan(found["accuracy"].compute())


def test_it_keeps_the_contract():
    net = Seq2Seq(SOURCE, TARGET, 8, 6, "plain", cell="rnn")
    task = translation(net)
    task = task._replace(predict=jax.jit(task.predict))
    check_task(task, Hyper(0.1, 0.2, 0.3), batch())
