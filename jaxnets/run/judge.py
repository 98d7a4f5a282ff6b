"""A classifier that judges samples: what Inception is to the papers, trained here.

The Frechet distance and its kin compare sets of features. The papers take them from a
network that was trained on ImageNet; here a small one learns the very images that a
generator imitates (as for MNIST in Bińkowski et al., 2018,
https://arxiv.org/abs/1801.01401, section 5). So the numbers can be compared within this
project, for one data set and one judge, and with no number of any paper. Its digest and
its test accuracy belong beside them.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxnets import files
from jaxnets.data.cache import cached
from jaxnets.data.dataset import Dataset
from jaxnets.data.feeds import image_feeds
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional, weights
from jaxnets.models.convnet import ConvNet, small_convnet
from jaxnets.run import loop
from jaxnets.tasks.classification import classification
from jaxnets.types import Variables

_ROWS = 250  # images at a time


class Recipe(NamedTuple):
    """How a judge is trained: Adam, the rate falling to zero along a cosine."""

    steps: int = 1200
    batch_size: int = 64
    learning_rate: float = 4e-3
    label_smoothing: float = 0.0
    version: int = 1  # of everything else that decides the weights


class Seen(NamedTuple):
    """What a judge makes of images."""

    features: Float[np.ndarray, "n d"]  # of the last layer but one
    probabilities: Float[np.ndarray, "n classes"]

    @property
    def shares(self) -> Float[np.ndarray, " classes"]:
        """The share of the images that it takes for each class."""
        found = self.probabilities.argmax(axis=1)
        return np.bincount(found, minlength=self.probabilities.shape[1]) / len(found)


@dataclasses.dataclass(frozen=True)
class Judge:
    """A fixed network, called on images.

    Attributes:
        look: From images in [0, 1] to features and probabilities; compiled.
        accuracy: On the test split.
        digest: Of its weights: another digest, another unit.
    """

    look: Callable[[Float[Array, "b h w c"]], tuple[Array, Array]]
    accuracy: float
    digest: str

    def __call__(self, images: Shaped[np.ndarray, "n h w c"]) -> Seen:
        """What it makes of images, bytes or in [0, 1]."""
        parts = []
        for start in range(0, len(images), _ROWS):
            # The last batch is filled up, so that one program does for all.
            index = np.minimum(np.arange(start, start + _ROWS), len(images) - 1)
            rows = images[index]
            whole = rows / 255 if rows.dtype == np.uint8 else rows
            parts.append(jax.device_get(self.look(jnp.asarray(whole, jnp.float32))))
        features, probabilities = (
            np.concatenate(p)[: len(images)] for p in zip(*parts, strict=True)
        )
        return Seen(features, probabilities)


def judge(
    data: Dataset,
    *,
    recipe: Recipe = Recipe(),  # noqa: B008
    file: Path | None = None,
    say: Callable[[str], Any] = lambda line: None,
) -> Judge:
    """A small ConvNet that knows this data set, from the cache where it was before.

    Args:
        data: What it learns, and is tested on.
        recipe: How. Data and recipe together are the key in the cache.
        file: Take these weights of a `small_convnet` instead, as `python -m jaxnets.run
            export` writes them.
        say: Told that it must be trained, which takes a minute or three.

    Raises:
        WeightsError: If the file holds other weights.
        DataError: If anything is wrong with the data.
    """
    model = small_convnet(len(data.classes))
    image = jnp.zeros((1, *np.asarray(data.train.columns["image"][:1]).shape[1:]))
    blank = jax.eval_shape(
        lambda k: functional.init(model, k, image), jax.random.key(0)
    )
    if file is not None:
        variables, digest = weights.load(model, blank, file), files.sha256(file)
        return _judge(model, variables, data, _accuracy(model, variables, data), digest)

    def make() -> dict[str, np.ndarray]:
        say(f"training a judge of {data.name}, once: {recipe.steps} steps")
        variables = _trained(model, data, recipe)
        arrays = weights.to_torch(model, variables)
        score = np.array([_accuracy(model, variables, data)])
        return {"accuracy": score, **{_word(n): a for n, a in arrays.items()}}

    described = {n: str(v) for n, v in recipe._asdict().items()}
    arrays = cached("judges", {"data": data.digest, **described}, make)
    names = weights.torch_shapes(model, blank)
    found = {name: arrays[_word(name)] for name in names}
    variables = weights.from_torch(model, blank, found)
    sha = hashlib.sha256(b"".join(found[name].tobytes() for name in sorted(found)))
    return _judge(model, variables, data, float(arrays["accuracy"][0]), sha.hexdigest())


def _judge(
    model: ConvNet, variables: Variables, data: Dataset, accuracy: float, digest: str
) -> Judge:
    mean, std = (
        jnp.asarray(v, jnp.float32).reshape(1, 1, 1, -1) for v in (data.mean, data.std)
    )

    @jax.jit
    def look(image: Array) -> tuple[Array, Array]:
        found = functional.features(model, variables, (image - mean) / std)
        return found["drop"], jax.nn.softmax(found["output"])

    return Judge(look, accuracy, digest)


def _trained(model: ConvNet, data: Dataset, recipe: Recipe) -> Variables:
    feeds = image_feeds(data, batch_size=recipe.batch_size, seed=0)
    rule = optimizers.composed(optimizers.adam, schedules.cosine(recipe.steps))
    learner = supervised(classification(model, rates=()), rule)
    state = jax.jit(learner.init)(jax.random.key(0), recipe, feeds.train(0))
    for pause in loop.train(
        learner, state, feeds.train, steps=recipe.steps, every=recipe.steps
    ):
        state = pause.state
    return state.variables


def _accuracy(model: ConvNet, variables: Variables, data: Dataset) -> float:
    columns, seen = data.test.columns, _judge(model, variables, data, 0.0, "")
    guesses = seen(columns["image"][:]).probabilities.argmax(axis=1)
    return float(np.mean(guesses == columns["label"][:]))


def _word(name: str) -> str:
    """Torch's name of an array as a word, which the cache makes a file of."""
    return name.replace(".", "__")
