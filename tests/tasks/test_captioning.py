"""The losses of captioners: padding, REINFORCE against all paths, decoding."""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.parts import caption_decoders
from jaxnets.models.parts.caption_decoders import DECODERS, Captioned
from jaxnets.once import once
from jaxnets.ops.decoding import Decoding
from jaxnets.tasks.captioning import captioning
from jaxnets.testing.learners import check_learner
from jaxnets.testing.tasks import check_task
from jaxnets.types import CaptionBatch, Variables
from tests.models import captions_by_hand as by_hand


class Hyper(NamedTuple):
    learning_rate: float = 0.02
    dropout: float = 0.1
    sampling: float = 0.2
    doubly_stochastic: float = 0.5
    focus: float = 0.1
    reinforce: float = 1.0
    entropy: float = 0.05


PLAIN = Hyper(dropout=0.0, sampling=0.0, doubly_stochastic=0.0, focus=0.0, entropy=0.0)
BATCH = CaptionBatch(
    jax.random.normal(jax.random.key(1), (4, 1, 3, 5)),
    jnp.array(
        [[1, 4, 6, 5, 2], [1, 7, 2, 0, 0], [1, 5, 5, 2, 0], [1, 6, 4, 7, 2]], jnp.int32
    ),
    jnp.ones(4, bool),
)


def small(kind, **options):
    decoder = DECODERS[kind](8, features=4, embedding=6, attention=3)
    return captioning(ImageCaptioner(None, decoder), longest=6, **options)


@functools.cache
def made(kind):
    task = small(kind, rates=[])

    @once
    def drawn(key, batch):
        variables = task.init(key, batch)
        params = jax.tree.map(lambda x: 2 * x + 0.1, variables.params)
        return variables._replace(params=params)

    return task, drawn(jax.random.key(0), BATCH), jax.jit(task.loss)


@functools.cache
def predicted(kind):
    """A program that reads all the words of captions, as in evaluation."""
    network = ImageCaptioner(None, DECODERS[kind](8, 4, 6, 3))
    return jax.jit(functools.partial(functional.predict, network))


@pytest.mark.parametrize(
    "kind",
    ["hard", *(pytest.param(k, marks=pytest.mark.campaign) for k in ("none", "soft"))],
)
def test_it_is_a_task(kind):
    task = small(kind)
    check_task(task._replace(predict=jax.jit(task.predict)), Hyper(), BATCH)


@pytest.mark.campaign
def test_hard_attention_learns_in_one_program():
    rule = optimizers.composed(optimizers.adam, schedules.constant())
    learner = supervised(small("hard"), rule)
    check_learner(learner, Hyper(entropy=0.0), BATCH, steps=60, lowers="word_loss")


@pytest.mark.parametrize("kind", list(DECODERS))
@pytest.mark.one_python
def test_padding_behind_a_caption_never_counts(kind):
    _, variables, loss = made(kind)
    longer = BATCH._replace(caption=np.pad(BATCH.caption, ((0, 0), (0, 3))))
    short, long = (
        loss(variables, batch, jax.random.key(2), Hyper())[1][1]
        for batch in (BATCH, longer)
    )
    for name in short:
        np.testing.assert_allclose(
            short[name].compute(), long[name].compute(), rtol=1e-5, err_msg=name
        )
    assert short["word_loss"].weight == 4 + 2 + 3 + 4


def test_the_loss_is_the_likelihood_and_equation_14_and_the_entropy():
    task, variables, loss = made("soft")
    hyper = PLAIN._replace(doubly_stochastic=0.5, focus=0.3)
    _, (_, metrics) = loss(variables, BATCH, jax.random.key(0), hyper)
    twin = jax.jit(by_hand.caption)
    expected, uneven, spread = 0.0, 0.0, 0.0
    for row in range(4):
        caption = [int(n) for n in BATCH.caption[row] if n]
        logits, weights, _ = twin(
            variables.params["decoder"],
            BATCH.image[row, 0],
            jnp.array(caption[:-1]),
        )
        expected -= by_hand.likelihood(logits, caption[1:]) / 4
        weights = np.asarray(weights)
        uneven += np.sum((1 - weights.sum(0)) ** 2) / 4
        spread -= np.sum(weights * np.log(weights)) / 4
    np.testing.assert_allclose(
        metrics["loss"].compute(), expected + 0.5 * uneven + 0.3 * spread, rtol=1e-4
    )
    scored = jax.jit(task.evaluate)(variables, BATCH, jax.random.key(0))
    np.testing.assert_allclose(scored["loss"].compute(), expected, rtol=1e-4)
    np.testing.assert_allclose(
        scored["word_loss"].compute() * 13 / 4, expected, rtol=1e-4
    )


ONE = CaptionBatch(
    BATCH.image[:1, :, :3], jnp.array([[1, 4, 2]], jnp.int32), jnp.ones(1, bool)
)


@pytest.fixture(scope="module")
def every_path():
    """The gradient of -E_s[log p(y | s)], over all 3^2 paths of two steps."""
    _, variables, _ = made("hard")

    @jax.jit
    @jax.grad
    def exact(params):
        paths = jnp.array(list(itertools.product(range(3), repeat=2)))

        def one(path):
            logits, _, chance = by_hand.caption(
                params["decoder"], ONE.image[0, 0], ONE.caption[0, :2], locations=path
            )
            return jnp.exp(chance) * by_hand.likelihood(logits, ONE.caption[0, 1:])

        return -jnp.sum(jax.vmap(one)(paths))

    return np.concatenate([g.ravel() for g in jax.tree.leaves(exact(variables.params))])


@pytest.fixture(scope="module")
def estimates():
    """Gradients for many keys, given a baseline and the factor of the score."""
    task, variables, _ = made("hard")

    @jax.jit
    def many(keys, baseline, hyper):
        buffers = {"reinforce": {"baseline": baseline}}

        def one(key):
            slope = jax.grad(
                lambda p: task.loss(Variables(p, buffers), ONE, key, hyper)[0]
            )(variables.params)
            return jnp.concatenate([g.ravel() for g in jax.tree.leaves(slope)])

        return jax.vmap(one)(keys)

    def run(baseline, hyper):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(caption_decoders, "EXPECTED", 0.0)  # read while tracing
            keys = jax.random.split(jax.random.key(7), 20_000)
            return np.asarray(many(keys, jnp.float32(baseline), hyper), np.float64)

    return run


def apart(found, exact):
    """How many standard errors the mean is off, along 20 directions."""
    ways = np.random.default_rng(0).normal(size=(found.shape[1], 20))
    along = found @ ways
    error = along.std(0) / np.sqrt(len(found))
    return np.abs(along.mean(0) - exact @ ways) / error, error.mean()


@pytest.mark.one_python
def test_reinforce_is_the_gradient_over_all_paths(every_path, estimates):
    without, noise = apart(estimates(0.0, PLAIN), every_path)
    assert without.max() < 3
    # A baseline near the likelihood takes noise away, and no other bias comes in.
    with_one, less = apart(estimates(-4.0, PLAIN), every_path)
    assert with_one.max() < 3
    assert less < 0.9 * noise
    # The test can tell: without the score function it is another gradient.
    wrong, _ = apart(estimates(-4.0, PLAIN._replace(reinforce=0.0)), every_path)
    assert wrong.max() > 6


def test_the_baseline_is_a_moving_average_of_likelihoods():
    _, variables, loss = made("hard")
    assert variables.buffers["reinforce"]["baseline"] == 0
    key = jax.random.key(4)
    _, (buffers, metrics) = loss(variables, ONE, key, PLAIN)
    network = ImageCaptioner(None, DECODERS["hard"](8, 4, 6, 3))
    forward = jax.jit(functools.partial(functional.forward, network))
    output, _ = forward(variables, key, ONE.image, ONE.caption[:, :-1])
    expected = -0.1 * metrics["loss"].compute() if output.drawn[0] else 0.0
    np.testing.assert_allclose(buffers["reinforce"]["baseline"], expected, rtol=1e-5)
    after = variables._replace(buffers={"reinforce": {"baseline": jnp.float32(-3)}})
    _, (buffers, _) = loss(after, ONE, key, PLAIN)
    expected = 0.9 * -3 + expected if output.drawn[0] else -3
    np.testing.assert_allclose(buffers["reinforce"]["baseline"], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_what_is_written_has_the_likelihood_that_is_claimed(kind):
    _, variables, _ = made(kind)
    best = jax.jit(small(kind, decoding=Decoding("beam", beams=3, alpha=0.0)).predict)(
        variables, BATCH, jax.random.key(0)
    )
    assert best.token.shape == (4, 3, 6)
    assert best.notes.weights.shape == (4, 3, 6, 3)
    said = np.asarray(best.token)[:, 0]
    whole = np.concatenate([np.ones((4, 1), np.int32), said], axis=1)
    output = predicted(kind)(variables, BATCH.image, whole[:, :-1])
    # `<pad>` and `<start>` are never written: the rest shares their probability.
    logits = np.array(output.logits, np.float64)
    logits[:, :, :2] = -np.inf
    logp = np.take_along_axis(log_softmax(logits, axis=-1), said[..., None], axis=-1)
    inside = np.arange(6)[None] < np.asarray(best.length)[:, :1]
    total = np.where(inside, logp[..., 0], 0).sum(1)
    np.testing.assert_allclose(
        np.asarray(best.score)[:, 0], total, rtol=1e-4, atol=1e-4
    )
    seen = np.where(inside[..., None], output.attended.weights, 0)
    np.testing.assert_allclose(np.asarray(best.notes.weights)[:, 0], seen, atol=1e-5)


@pytest.mark.parametrize("how", ["greedy", "beam"])
@pytest.mark.one_python
def test_attention_may_be_sharper_in_what_is_written(how):
    _, variables, _ = made("soft")

    def written(sharpness, kind="soft"):
        decoding = Decoding(how, beams=2, alpha=0.0, sharpness=sharpness)
        task = small(kind, decoding=decoding)
        return jax.jit(task.predict)(variables, BATCH, jax.random.key(0))

    made_of = written(2.5)
    params = variables.params["decoder"]
    twin = jax.jit(functools.partial(by_hand.caption, sharpness=2.5))
    for row in range(4):
        length = int(made_of.length[row, 0])
        said = made_of.token[row, 0]
        tokens = jnp.concatenate([jnp.ones(1, jnp.int32), said[:-1]])
        logits, weights, _ = twin(params, BATCH.image[row, 0], tokens)
        total = by_hand.likelihood(logits.at[:, :2].set(-jnp.inf)[:length], said)
        np.testing.assert_allclose(made_of.score[row, 0], total, rtol=1e-4)
        seen = made_of.notes.weights[row, 0, :length]
        np.testing.assert_allclose(seen, weights[:length], atol=1e-5)
    assert np.abs(made_of.score - written(1.0).score).max() > 0.01
    # In the end it is the most probable location alone, as hard attention looks.
    soft, hard = written(1e4), written(1.0, "hard")
    np.testing.assert_array_equal(soft.token, hard.token)
    np.testing.assert_allclose(soft.score, hard.score, rtol=1e-4)
    np.testing.assert_allclose(soft.notes.weights, hard.notes.used, atol=1e-5)


def test_sampling_rates_are_traced_and_words_can_be_drawn():
    task = small("soft")
    _, variables, _ = made("soft")
    loss = jax.jit(task.loss)
    first, second = (
        loss(variables, BATCH, jax.random.key(0), Hyper(sampling=rate))[0]
        for rate in (0.0, 0.9)
    )
    assert first != second
    assert loss._cache_size() == 1
    drawn = jax.jit(small("soft", decoding=Decoding("sampled")).predict)
    once, again = (drawn(variables, BATCH, jax.random.key(k)).token for k in (0, 1))
    assert not np.array_equal(once, again)


def test_a_word_that_is_not_in_the_vocabulary_is_no_number():
    _, variables, loss = made("soft")
    caption = np.array(BATCH.caption)
    caption[0, 1] = 8
    wrong = BATCH._replace(caption=caption)
    assert np.isnan(loss(variables, wrong, jax.random.key(0), PLAIN)[0])


@pytest.mark.parametrize("kind", ["none", "soft"])
def test_several_captions_of_an_image_are_rows_of_their_own(kind):
    _, variables, loss = made(kind)
    mask, caption = np.array([True, True, False, True]), np.asarray(BATCH.caption)
    captions = np.stack([caption, np.roll(caption, 1, axis=0)], axis=1)
    several = BATCH._replace(caption=captions, mask=mask)
    flat = CaptionBatch(
        np.repeat(np.asarray(BATCH.image), 2, axis=0),
        captions.reshape(8, -1),
        np.repeat(mask, 2),
    )
    key = jax.random.key(2)
    ours, (_, metrics) = loss(variables, several, key, PLAIN)
    theirs, (_, expected) = loss(variables, flat, key, PLAIN)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for name, mean in expected.items():
        np.testing.assert_allclose(
            metrics[name].compute(), mean.compute(), rtol=1e-6, err_msg=name
        )


def scored(monkeypatch, logits, caption):
    """What `evaluate` reports of a network that gives these logits."""
    said = Captioned(jnp.asarray(logits), None, None)
    monkeypatch.setattr(functional, "predict", lambda *given: said)
    rows = len(caption)
    batch = CaptionBatch(jnp.zeros((rows, 1, 1, 1)), caption, jnp.ones(rows, bool))
    return small("none").evaluate(Variables({}, {}), batch, jax.random.key(0))


def test_an_unknown_word_is_never_right(monkeypatch):
    target = jnp.array([[1, 3, 3, 2], [1, 3, 2, 0]])
    logits = 9.0 * jax.nn.one_hot(target[:, 1:], 8)  # every word as in the caption
    found = scored(monkeypatch, logits, target)
    assert found["word_accuracy"].compute() == pytest.approx(2 / 5)
    assert found["word_accuracy"].weight == 5


def test_logits_that_are_no_numbers_are_no_success(monkeypatch):
    caption = jnp.array([[1, 4, 5, 2], [1, 6, 2, 0]])
    logits = 9.0 * np.eye(8, dtype=np.float32)[caption[:, 1:]]
    logits[1, 2] = np.nan  # of `<pad>`: it does not count
    found = scored(monkeypatch, logits, caption)
    assert found["word_accuracy"].compute() == 1
    logits[1, 0, 7] = np.nan
    found = scored(monkeypatch, logits, caption)
    assert all(np.isnan(value.compute()) for value in found.values())
