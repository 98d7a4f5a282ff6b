"""Do batches ever make the model wait? Examples a second, delivered and consumed.

    uv run benchmarks/data.py

Side by side in one process, interleaved and repeated: batches that live on the device
(gathered, augmented and normalised in a compiled function), batches decoded from PNG
by threads, and the training steps of LeNet-5 and ResNet-20 that they would feed. Images
are 32x32 in colour, 128 a batch. Only the ratios mean something on a shared machine.
"""

import io
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from jaxnets.data.dataset import Dataset, Feature, Split
from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.feeds.prefetch import closed
from jaxnets.learners import optimizers, schedules
from jaxnets.learners.supervised import supervised
from jaxnets.models.zoo import ZOO
from jaxnets.once import once
from jaxnets.ops.augment import CHOICES
from jaxnets.run import loop
from jaxnets.tasks.classification import classification

BATCH, EXAMPLES, REPEATS = 128, 4096, 5


class Hyper(NamedTuple):
    """What the two networks are trained with."""

    learning_rate: float = 0.1
    momentum: float = 0.9
    label_smoothing: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0


class Pictures:
    """A column of PNG files in memory, decoded when asked for."""

    def __init__(self, images: np.ndarray) -> None:
        """Encodes them."""
        self.files = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="png")
            self.files.append(buffer.getvalue())

    def __len__(self) -> int:
        """How many there are."""
        return len(self.files)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """The pixels of some."""
        chosen = [self.files[i] for i in np.arange(len(self.files))[index]]
        return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in chosen])


def dataset(*, encoded: bool) -> Dataset:
    """Smooth random pictures, as PNG files or as an array."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (EXAMPLES, 8, 8, 3), dtype=np.uint8)
    images = coarse.repeat(4, axis=1).repeat(4, axis=2)
    column = Pictures(images) if encoded else images
    split = Split({"image": column, "label": np.arange(EXAMPLES) % 10})
    features = {
        "image": Feature((32, 32, 3), "uint8", 0, 255),
        "label": Feature((), "int32", 0, 9, tuple("0123456789")),
    }
    statistics = ((0.5,) * 3, (0.3,) * 3)
    return Dataset("pictures", features, split, split, split, *statistics)


def delivery(feed: Feed) -> Callable[[int], None]:
    """A function that delivers one batch to the device and waits for it."""
    prepare, columns = jax.jit(feed.prepare), loop.placed(feed, None)
    return lambda step: jax.block_until_ready(prepare(columns, feed.fetch(step)))


def training(name: str, feed: Feed) -> Callable[[int], None]:
    """A function that trains a network for one step on a batch that is there."""
    rule = optimizers.composed(optimizers.momentum, schedules.constant())
    learner = supervised(classification(ZOO[name](10)), rule)
    batch = feed(0)
    state = once(learner.init)(jax.random.key(0), Hyper(), batch)
    step = jax.jit(learner.step, donate_argnums=0)

    def run(index: int) -> None:
        nonlocal state
        del index
        state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    return run


def main() -> None:
    """Prints a table, medians over the repeats."""
    augmented = CHOICES["flips"](32)
    options: Any = {"batch_size": BATCH, "seed": 0, "augmentation": augmented}
    resident = image_feeds(dataset(encoded=False), **options).train
    threaded = image_feeds(dataset(encoded=True), **options).train
    cases = {
        "delivered, on the device": (delivery(resident), 20),
        "delivered, PNG by threads": (delivery(threaded), 20),
        "consumed by LeNet-5": (training("lenet5", resident), 10),
        "consumed by ResNet-20": (training("resnet20", resident), 2),
    }
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    for run, _ in cases.values():
        run(0)  # compile
    for repeat in range(REPEATS):
        for name, (run, steps) in cases.items():
            begin = time.perf_counter()
            for step in range(1 + repeat * steps, 1 + (repeat + 1) * steps):
                run(step)
            speeds[name].append(steps * BATCH / (time.perf_counter() - begin))
    closed(threaded)
    base = np.median(speeds["consumed by LeNet-5"])
    heads = "".join(f"{head:>10}" for head in ("median", "least", "most"))
    print(f"{'examples a second':28}{heads}  / LeNet-5")
    for name, found in speeds.items():
        middle = np.median(found)
        spread = f"{middle:10,.0f}{min(found):10,.0f}{max(found):10,.0f}"
        print(f"{name:28}{spread}{middle / base:11.1f}")


if __name__ == "__main__":
    main()
