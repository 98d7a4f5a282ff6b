"""The loss of equal probabilities, as each task trains on it: all parameters are 0."""

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.averaged import averaged
from jaxnets.learners.ensemble import ensemble, mean_probabilities
from jaxnets.learners.population import population
from jaxnets.learners.scheduled import scheduled
from jaxnets.learners.supervised import supervised
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.language import LanguageModel
from jaxnets.models.mlp import MLP
from jaxnets.models.parts.blocks import Logits
from jaxnets.models.parts.caption_decoders import DECODERS
from jaxnets.models.seq2seq import Seq2Seq
from jaxnets.models.vae import dense_vae
from jaxnets.once import once
from jaxnets.ops.distributions import LIKELIHOODS
from jaxnets.tasks.base import uniform
from jaxnets.tasks.captioning import captioning
from jaxnets.tasks.classification import classification, scores
from jaxnets.tasks.language import language
from jaxnets.tasks.translation import translation
from jaxnets.tasks.variational import COLLAPSED, variational
from jaxnets.types import CaptionBatch, ImageBatch, PairBatch, StreamBatch

KEY = jax.random.key(0)
IMAGES = ImageBatch(
    jax.random.uniform(KEY, (4, 4, 4, 1)), jnp.array([0, 1, 2, 2]), jnp.ones(4, bool)
)
TOKENS = jnp.array([[1, 3, 4, 2, 0], [1, 4, 2, 0, 0]], jnp.int32)
TWO = jnp.ones(2, bool)


class Hyper(NamedTuple):
    label_smoothing: float = 0.2
    beta: float = 1.0
    free_nats: float = 0.0
    focus: float = 0.3
    doubly_stochastic: float = 0.3


class ThreeHeads(nn.Module):
    """A classifier with two auxiliary ones, as GoogLeNet is in training."""

    classes: int = 3
    auxiliary: bool = True

    @nn.compact
    def __call__(self, image, *, train):
        first, *rest = (
            nn.Dense(self.classes)(image.reshape(len(image), -1)) for _ in range(3)
        )
        return Logits(first, tuple(rest)) if train else first


def captions():
    decoder = DECODERS["soft"](9, features=4, embedding=6, attention=3)
    return captioning(ImageCaptioner(None, decoder), longest=6, rates=())


MLP3 = MLP(classes=3, widths=())
PAIRS = PairBatch(TOKENS, TOKENS, TWO)
STREAM = StreamBatch(TOKENS[:, :-1], TOKENS[:, 1:], TWO, TWO)
CAPTIONS = CaptionBatch(jnp.ones((2, 1, 3, 5)), TOKENS, TWO)
TASKS = {
    "classification": (classification(MLP3, rates=()), IMAGES, math.log(3)),
    "auxiliary": (classification(ThreeHeads()), IMAGES, 1.6 * math.log(3)),
    "captioning": (captions(), CAPTIONS, math.log(9)),
    "language": (
        language(LanguageModel(7, "rnn", 4), rates=()),
        STREAM,
        math.log(7),
    ),
    "translation": (
        translation(Seq2Seq(5, 6, 4, 4, "plain"), rates=()),
        PAIRS,
        math.log(6),
    ),
    "variational": (
        variational(
            dense_vae(
                (4, 4, 1), likelihood=LIKELIHOODS["bernoulli"], latent=2, widths=(3,)
            )
        ),
        IMAGES,
        0.0,
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_network_of_zeros_is_trivial_to_the_task(name):
    task, batch, expected = TASKS[name]

    @once
    def metrics(key):
        zeros = jax.tree.map(jnp.zeros_like, task.init(key, batch))
        return task.loss(zeros, batch, key, Hyper())[1][1]

    (trivial,) = task.trivial
    value = metrics(KEY)[trivial.metric].compute()
    assert value == pytest.approx(expected, abs=1e-5)
    assert trivial.low <= value <= trivial.high


def test_two_per_cent_and_a_hundredth_of_a_nat_are_the_bounds():
    (trivial,) = uniform("loss", 10)
    assert trivial[:3] == ("loss", 0.98 * math.log(10), 1.02 * math.log(10))
    (trivial,) = TASKS["variational"][0].trivial
    assert trivial[:3] == ("kl", -math.inf, 2 * COLLAPSED)


@pytest.mark.parametrize("outcomes", [None, 1])
def test_nothing_is_trivial_where_the_number_of_outcomes_is_not_known(outcomes):
    assert uniform("loss", outcomes) == ()


def test_learners_of_learners_know_what_is_trivial():
    task = TASKS["classification"][0]
    rule = optimizers.composed(optimizers.descent, schedules.constant())
    one = supervised(task, rule)
    learners = [
        one,
        averaged(one),
        scheduled(one, {}),
        population(one),
        ensemble(one, 2, combine=mean_probabilities, score=scores),
    ]
    assert [learner.trivial for learner in learners] == [task.trivial] * 5
