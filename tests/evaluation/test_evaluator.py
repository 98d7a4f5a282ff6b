"""A judge is a classifier that is trained once, and the same ever after."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from jaxnets.data.dataset import Split
from jaxnets.data.generated.digits import digits
from jaxnets.evaluation import evaluator as judges
from jaxnets.evaluation.evaluator import JudgeRecipe, judge
from jaxnets.models import functional, weights
from jaxnets.models.convnet import ConvNet, small_convnet
from jaxnets.models.weights import WeightsError
from jaxnets.once import once

RECIPE = JudgeRecipe(steps=120, batch_size=32)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXNETS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def first(cache):
    said = []
    made = judge(digits(), recipe=RECIPE, say=said.append)
    assert said == []  # nobody asked
    assert made.accuracy > 0
    assert said == ["training a judge of digits, once: 120 steps"]
    return made


@pytest.mark.one_python
def test_it_knows_its_data(first):
    test = digits().test.columns
    seen = first(test["image"])
    right = seen.probabilities.argmax(axis=1) == test["label"]
    assert right.mean() == first.accuracy > 0.9
    assert seen.features.shape == (len(right), 64)
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, rtol=1e-5)
    counts = np.bincount(seen.probabilities.argmax(axis=1), minlength=10)
    np.testing.assert_allclose(seen.shares, counts / len(right))


def test_bytes_and_numbers_are_the_same_and_rows_stand_alone(first):
    images = digits().test.columns["image"]
    whole, some = first(images), first(images[:3] / 255)
    np.testing.assert_allclose(whole.features[:3], some.features, rtol=1e-4, atol=1e-5)


def test_it_is_trained_once(first):
    said = []
    again = judge(digits(), recipe=RECIPE, say=said.append)
    assert (again.digest, again.accuracy) == (first.digest, first.accuracy)
    assert said == []
    images = digits().test.columns["image"][:20]
    assert np.array_equal(again(images).features, first(images).features)


@pytest.mark.one_python
def test_other_data_or_another_recipe_make_another(first):
    data = digits()
    columns = {n: np.array(c) for n, c in data.train.columns.items()}
    columns["image"][0, 0, 0] = 255  # one pixel
    changed = dataclasses.replace(data, train=Split(columns, data.train.ids))
    short = RECIPE._replace(steps=2)
    plain = judge(data, recipe=short).digest
    assert plain != first.digest
    assert judge(changed, recipe=short).digest != plain
    slower = short._replace(learning_rate=1e-3)
    assert judge(data, recipe=slower).digest != plain


def test_a_file_of_weights_judges_instead(tmp_path):
    data, model = digits(), small_convnet(10)
    image = jnp.float32(data.test.columns["image"][:4] / 255)
    drawn = once(lambda k: functional.init(model, k, image))(jax.random.key(3))
    path = tmp_path / "net.safetensors"
    weights.save(model, drawn, path)
    found = judge(data, file=path)
    normal = (image - data.mean[0]) / data.std[0]
    named = jax.jit(lambda x: functional.features(model, drawn, x))(normal)
    seen = found(np.asarray(image))
    np.testing.assert_allclose(seen.features, named["drop"], rtol=1e-4, atol=1e-5)
    expected = special.softmax(named["output"], axis=1)
    np.testing.assert_allclose(seen.probabilities, expected, rtol=1e-4, atol=1e-5)
    other = ConvNet(10, (4, 4), pools=(0,))
    drawn = once(lambda k: functional.init(other, k, image))(jax.random.key(3))
    weights.save(other, drawn, path)
    with pytest.raises(WeightsError, match="not the weights"):
        judge(data, file=path)(np.asarray(image))


def test_a_training_split_smaller_than_a_batch_is_one_batch(monkeypatch, cache):
    class Asked(Exception):
        pass

    def asked(data, *, batch_size, seed):
        raise Asked(batch_size, len(data.train))

    monkeypatch.setattr(judges, "image_feeds", asked)
    few = dataclasses.replace(digits(), train=digits().train.take(np.arange(20)))
    with pytest.raises(Asked, match=r"\(20, 20\)"):
        _ = judge(few, recipe=RECIPE).accuracy
    with pytest.raises(Asked, match=r"\(32, "):
        _ = judge(digits(), recipe=RECIPE._replace(steps=3)).accuracy
