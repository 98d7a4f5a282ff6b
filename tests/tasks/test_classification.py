from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss, top_k_accuracy_score

from jaxnets.models.mlp import MLP
from jaxnets.models.parts.blocks import Logits
from jaxnets.ops.augment import SoftImageBatch
from jaxnets.tasks.classification import (
    among_top,
    classification,
    cross_entropy,
    scores,
)
from jaxnets.testing.tasks import check_task
from jaxnets.types import ImageBatch, Variables


class Given(nn.Module):
    """Returns its images as logits."""

    @nn.compact
    def __call__(self, image, *, train):
        del train
        self.param("unused", nn.initializers.zeros, ())
        return image.reshape(image.shape[0], -1)


class Hyper(NamedTuple):
    label_smoothing: float = 0.0
    dropout: float = 0.0


def hyper(smoothing=0.0, dropout=0.0):
    return Hyper(smoothing, dropout)


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 7)).astype(np.float32)
    labels = rng.integers(0, 7, 40).astype(np.int32)
    batch = ImageBatch(
        jnp.asarray(logits).reshape(40, 1, 7, 1),
        jnp.asarray(labels),
        jnp.ones(40, bool),
    )
    task = classification(Given(), top=3)
    variables = task.init(jax.random.key(0), batch)
    metrics = jax.jit(task.evaluate)(variables, batch, jax.random.key(0))
    return logits, labels, metrics, batch


@pytest.mark.parametrize(("classes", "there"), [(2, False), (10, False), (11, True)])
def test_the_top_five_of_ten_classes_or_fewer_are_not_scored(classes, there):
    rows = jax.ShapeDtypeStruct((4, classes), jnp.float32)
    label, mask = (jax.ShapeDtypeStruct((4,), kind) for kind in (jnp.int32, bool))
    batch = ImageBatch(jax.ShapeDtypeStruct((4, 1, 1, 1), jnp.float32), label, mask)
    found = jax.eval_shape(scores, rows, batch)
    assert ("accuracy_top5" in found) == there
    assert "accuracy" in found


def test_the_loss_is_scikit_learns(scored):
    logits, labels, metrics, _ = scored
    probability = np.exp(log_softmax(logits.astype(np.float64), axis=1))
    expected = log_loss(labels, probability, labels=range(7))
    np.testing.assert_allclose(metrics["loss"].compute(), expected, rtol=1e-6)


def test_the_accuracies_are_scikit_learns(scored):
    logits, labels, metrics, _ = scored
    for top, name in ((1, "accuracy"), (3, "accuracy_top3")):
        expected = top_k_accuracy_score(labels, logits, k=top, labels=range(7))
        np.testing.assert_allclose(metrics[name].compute(), expected, rtol=1e-6)


def test_accuracy_by_class_counts_each_class(scored):
    logits, labels, metrics, _ = scored
    found, right = metrics["accuracy_by_class"], logits.argmax(1) == labels
    np.testing.assert_array_equal(found.weight, np.bincount(labels, minlength=7))
    expected = [right[labels == label].mean() for label in range(7)]
    np.testing.assert_allclose(found.compute(), expected, rtol=1e-6)


def test_label_smoothing_by_hand():
    logits = jnp.array([[2.0, 0.0, -1.0]])
    logp = log_softmax(np.array([2.0, 0.0, -1.0]))
    expected = -((1 - 0.3) * logp[0] + 0.3 * logp.mean())
    found = cross_entropy(logits, jnp.array([0]), 0.3)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_logits_of_zero_cost_the_log_of_the_classes():
    found = cross_entropy(jnp.zeros((1, 10)), jnp.array([3]))
    np.testing.assert_allclose(found, np.log(10), rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 7, 2**31 - 1])
def test_a_bad_label_is_nan_and_not_a_success(label):
    logits = jnp.zeros((1, 7))
    assert np.isnan(cross_entropy(logits, jnp.array([label]))[0])
    assert np.isnan(among_top(logits, jnp.array([label]), 7)[0])


def test_logits_that_are_nan_are_not_right():
    logits = jnp.full((1, 7), jnp.nan)
    assert np.isnan(among_top(logits, jnp.array([0]), 1)[0])


def test_ties_go_to_the_lower_class_as_in_argmax():
    logits = jnp.zeros((3, 3))
    found = among_top(logits, jnp.arange(3), 1)
    np.testing.assert_array_equal(found, np.argmax(logits, 1) == np.arange(3))
    np.testing.assert_array_equal(among_top(logits, jnp.arange(3), 2), [1, 1, 0])


def test_smoothing_and_rates_are_read_from_hyper():
    task = classification(MLP(widths=(16,)))
    image = jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
    batch = ImageBatch(image, jnp.arange(8, dtype=jnp.int32), jnp.ones(8, bool))
    variables = task.init(jax.random.key(1), batch)

    paid = jax.jit(task.loss)

    def loss(**numbers):
        return paid(variables, batch, jax.random.key(2), hyper(**numbers))[0]

    assert loss(smoothing=0.5) != loss()
    assert loss(dropout=0.5) != loss()
    everything = loss(dropout=1.0)  # only the biases of the output are left
    np.testing.assert_allclose(everything, np.log(10), rtol=1e-5)


def test_the_task_keeps_the_contract():
    image = jax.random.normal(jax.random.key(0), (8, 4, 4, 1))
    batch = ImageBatch(image, jnp.arange(8, dtype=jnp.int32), jnp.ones(8, bool))
    check_task(classification(MLP(widths=(16,))), hyper(0.1, 0.2), batch)


def test_the_gradient_is_probability_minus_target():
    # d loss / d logits = (softmax - one_hot) / b
    task = classification(MLP(widths=()))
    image = jax.random.normal(jax.random.key(0), (5, 2, 2, 1))
    batch = ImageBatch(image, jnp.arange(5, dtype=jnp.int32), jnp.ones(5, bool))
    variables = task.init(jax.random.key(1), batch)

    def loss(params):
        arguments = (Variables(params, {}), batch, jax.random.key(0), hyper())
        return task.loss(*arguments)[0]

    grads = jax.jit(jax.grad(loss))(variables.params)
    logits = jax.jit(task.predict)(variables, batch, jax.random.key(0))
    error = (softmax(np.asarray(logits), axis=1) - np.eye(10)[np.arange(5)]) / 5
    np.testing.assert_allclose(grads["output"]["bias"], error.sum(0), atol=1e-6)


ASKING = """
import numpy as np
from jaxnets.tasks.classification import cross_entropy
for shape in (1,), (3, 1), (4,):
    try:
        cross_entropy(np.zeros((3, 5), np.float32), np.zeros(shape, np.int32))
    except ValueError as error:
        print(error)
"""


def test_labels_never_broadcast(warm, environment, tmp_path):
    # Without jaxtyping's hook, too: the check is in the function itself.
    done = warm.run(["-c", ASKING], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("do not belong together") == 3


class Heads(nn.Module):
    """Three classifiers, as GoogLeNet has them in training."""

    @nn.compact
    def __call__(self, image, *, train):
        x = image.reshape(image.shape[0], -1)
        main = nn.Dense(10, name="main")(x)
        one, two = nn.Dense(10, name="one")(x), nn.Dense(10, name="two")(x)
        return Logits(main, (one, two)) if train else main


def test_auxiliary_classifiers_weigh_three_tenths_each():
    task, image = (
        classification(Heads()),
        jax.random.normal(jax.random.key(0), (6, 2, 2, 1)),
    )
    batch = ImageBatch(image, jnp.arange(6, dtype=jnp.int32), jnp.ones(6, bool))
    variables = task.init(jax.random.key(1), batch)
    paid = jax.jit(task.loss)
    loss, (_, metrics) = paid(variables, batch, jax.random.key(2), hyper())

    def alone(name):
        dense = jax.tree.map(np.asarray, variables.params[name])
        logits = np.asarray(image).reshape(6, -1) @ dense["kernel"] + dense["bias"]
        return -log_softmax(logits, axis=1)[np.arange(6), np.arange(6)].mean()

    expected = alone("main") + 0.3 * alone("one") + 0.3 * alone("two")
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"].compute(), expected, rtol=1e-6)
    scored = jax.jit(task.evaluate)(variables, batch, jax.random.key(2))["loss"]
    np.testing.assert_allclose(scored.compute(), alone("main"), rtol=1e-6)


def test_a_mixed_batch_is_trained_on_its_distribution():
    task, rng = classification(MLP(widths=())), np.random.default_rng(0)
    image = jax.random.normal(jax.random.key(0), (6, 2, 2, 1))
    target = jnp.asarray(rng.dirichlet(np.ones(10), 6), jnp.float32)
    label = jnp.argmax(target, -1).astype(jnp.int32)
    batch = SoftImageBatch(image, label, target, jnp.ones(6, bool))
    variables = task.init(jax.random.key(1), batch)
    loss, _ = task.loss(variables, batch, jax.random.key(2), hyper())
    plain = ImageBatch(image, label, batch.mask)
    logits = task.predict(variables, plain, jax.random.key(0))
    expected = -(np.asarray(target) * log_softmax(np.asarray(logits), axis=1)).sum(1)
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    with pytest.raises(Exception, match=r"belong together|Type-check"):
        cross_entropy(logits, target[:, :3])
