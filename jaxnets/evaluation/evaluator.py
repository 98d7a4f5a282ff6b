"""A classifier as evaluator of samples: what Inception is to the papers, trained here.

The Frechet distance and its kin compare sets of features. The papers take them from a
network that was trained on ImageNet; here a small one learns the very images that a
generator imitates (as for MNIST in Bińkowski et al., 2018,
https://arxiv.org/abs/1801.01401, section 5). So the numbers can be compared within this
project, for one data set and one judge, and with no number of any paper. Its digest and
its test accuracy belong beside them.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnets import files
from jaxnets.data.dataset import Column, Dataset
from jaxnets.data.feeds.base import filled_batches
from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.store.cache import cached
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional, weights
from jaxnets.models.convnet import ConvNet, small_convnet
from jaxnets.once import once
from jaxnets.run import loop
from jaxnets.tasks.classification import classification
from jaxnets.types import Variables

_ROWS = 250  # images at a time


class JudgeRecipe(NamedTuple):
    """How a judge is trained: Adam, the rate falling to zero along a cosine.

    A training split that is smaller than `batch_size` is one batch.
    """

    steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 4e-3
    label_smoothing: float = 0.0
    version: int = 1  # of everything else that decides the weights


class JudgeOutput(NamedTuple):
    """The features and class probabilities that a judge computes for images."""

    features: Float[np.ndarray, "n d"]  # of the last layer but one
    probabilities: Float[np.ndarray, "n classes"]

    @property
    def shares(self) -> Float[np.ndarray, " classes"]:
        """The share of the images that it takes for each class."""
        found = self.probabilities.argmax(axis=1)
        return np.bincount(found, minlength=self.probabilities.shape[1]) / len(found)


class _Known(NamedTuple):
    """The weights, and what is to be said about them."""

    look: Callable[[Float[Array, "b h w c"]], tuple[Array, Array]]
    accuracy: float
    digest: str


@dataclasses.dataclass(frozen=True)
class Judge:
    """A fixed network, called on images; trained or read when it is first needed.

    Attributes:
        data: What it learns, and is tested on.
        recipe: How. Data and recipe together are the key in the cache.
        file: Where its weights come from instead; None for the cache.
        say: Told that it must be trained.
    """

    data: Dataset
    recipe: JudgeRecipe
    file: Path | None
    say: Callable[[str], Any]

    def __call__(self, images: Column) -> JudgeOutput:
        """What it makes of images, bytes or in [0, 1], `[n, h, w, c]`."""
        return _seen(self._known.look, images)

    @property
    def accuracy(self) -> float:
        """Its accuracy on the test split."""
        return self._known.accuracy

    @property
    def digest(self) -> str:
        """The SHA-256 of its weights: another digest, another unit."""
        return self._known.digest

    @functools.cached_property
    def _known(self) -> _Known:
        data, recipe, model = self.data, self.recipe, small_convnet(len(self.classes))
        shape = np.asarray(data.train.columns["image"][:1]).shape
        blank = jax.eval_shape(
            lambda key: functional.init(model, key, jnp.zeros(shape)), jax.random.key(0)
        )
        if self.file is not None:
            variables = weights.load(model, blank, self.file)
            look = _looking(model, variables, data)
            return _Known(look, _accuracy(look, data), files.sha256(self.file))

        def make() -> dict[str, np.ndarray]:
            self.say(f"training a judge of {data.name}, once: {recipe.steps} steps")
            variables = _trained(model, data, recipe)
            score = np.array([_accuracy(_looking(model, variables, data), data)])
            arrays = weights.to_torch(model, variables)
            return {"accuracy": score, **{_word(n): a for n, a in arrays.items()}}

        described = {n: str(v) for n, v in recipe._asdict().items()}
        arrays = cached("judges", {"data": data.digest, **described}, make)
        names = sorted(weights.torch_shapes(model, blank))
        found = {name: arrays[_word(name)] for name in names}
        sha = hashlib.sha256(b"".join(array.tobytes() for array in found.values()))
        look = _looking(model, weights.from_torch(model, blank, found), data)
        return _Known(look, float(arrays["accuracy"][0]), sha.hexdigest())

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what it tells apart."""
        return self.data.classes


def judge(
    data: Dataset,
    recipe: JudgeRecipe = JudgeRecipe(),  # noqa: B008
    *,
    file: Path | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Judge:
    """A small ConvNet that knows this data set, from the cache where it was before.

    Nothing is read or trained before it is first asked.

    Args:
        data: What it learns, and is tested on.
        recipe: How.
        file: Take these weights of a `small_convnet` instead, as `python -m jaxnets.run
            export` writes them. When it is first asked, others raise `WeightsError`.
        say: Told that it must be trained, which takes a minute or three.
    """
    return Judge(data, recipe, file, say)


def _looking(
    model: ConvNet, variables: Variables, data: Dataset
) -> Callable[[Array], tuple[Array, Array]]:
    mean, std = (
        jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1) for v in (data.mean, data.std)
    )

    @jax.jit
    def look(image: Array) -> tuple[Array, Array]:
        found = functional.features(model, variables, (image - mean) / std)
        return found["drop"], jax.nn.softmax(found["output"])

    return look


def _seen(look: Callable[[Array], tuple[Array, Array]], images: Column) -> JudgeOutput:
    parts = []
    for index, count in filled_batches(len(images), _ROWS):
        rows = images[index]
        whole = rows / 255 if rows.dtype == np.uint8 else rows
        seen = jax.device_get(look(jnp.asarray(whole, jnp.float32)))
        parts.append([made[:count] for made in seen])
    features, probabilities = map(np.concatenate, zip(*parts, strict=True))
    return JudgeOutput(features, probabilities)


def _trained(model: ConvNet, data: Dataset, recipe: JudgeRecipe) -> Variables:
    rows = min(recipe.batch_size, len(data.train))
    feeds = image_feeds(data, batch_size=rows, seed=0)
    rule = optimizers.composed(optimizers.adam, schedules.cosine(recipe.steps))
    learner = supervised(classification(model, rates=()), rule)
    state = once(learner.init)(jax.random.key(0), recipe, feeds.train(0))
    for pause in loop.train(
        learner, state, feeds.train, steps=recipe.steps, every=recipe.steps
    ):
        state = pause.state
    return state.variables


def _accuracy(look: Callable[[Array], tuple[Array, Array]], data: Dataset) -> float:
    columns = data.test.columns
    guesses = _seen(look, columns["image"]).probabilities.argmax(axis=1)
    return float(np.mean(guesses == columns["label"][:]))


def _word(name: str) -> str:
    """Torch's name of an array as a word, which the cache makes a file of."""
    return name.replace(".", "__")
