"""The default of classify.py in plain JAX and Optax, to be read beside it.

    uv run experiments/by_hand.py

The images and the network are the library's; loss, update rule, average and loop are
written out. A test compares the state with that of classify.py: the same bits.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.generated.digits import digits
from jaxnets.models.convnet import convnet
from jaxnets.ops.augment import CHOICES

EPOCHS, BATCH, WARMUP, CLASSES = 60, 64, 20, 10
MODEL = convnet(CLASSES)


class Hyper(NamedTuple):
    """Numbers inside the mathematics: arguments of the program, not constants."""

    learning_rate: Any = 4e-3
    weight_decay: Any = 0.02
    label_smoothing: Any = 0.05
    dropout: Any = 0.1
    average_decay: Any = 0.98
    clip_norm: Any = 10.0


class State(NamedTuple):
    """What a step changes, and the key that every step draws from."""

    step: Any
    key: Any
    variables: Any  # parameters, and the statistics of batch norm
    optimizer: Any
    average: Any  # of the variables: what is scored


def optimizer(hyper: Hyper, steps: int) -> optax.GradientTransformation:
    """AdamW on a clipped gradient; a linear warm-up, then half a cosine."""
    rise = optax.linear_schedule(1 / WARMUP, 1.0, WARMUP - 1)
    fall = optax.cosine_decay_schedule(1.0, steps - WARMUP)
    shape = optax.join_schedules([rise, fall], [WARMUP])
    kernels = lambda params: jax.tree.map_with_path(
        lambda path, _: path[-1].key not in ("bias", "scale"), params
    )
    return optax.chain(
        optax.clip_by_global_norm(hyper.clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(hyper.weight_decay, kernels),
        optax.scale_by_learning_rate(lambda step: hyper.learning_rate * shape(step)),
    )


def init(image: Any, hyper: Hyper, steps: int) -> State:
    """The state before the first step."""
    init_key, key = jax.random.split(jax.random.key(0))
    variables = MODEL.init({"params": init_key}, image, train=False)
    memory = optimizer(hyper, steps).init(variables["params"])
    average = jax.tree.map(jnp.copy, variables)
    return State(jnp.int32(0), key, variables, memory, average)


def step(state: State, batch: Any, hyper: Hyper, steps: int) -> tuple[State, Any]:
    """The state after one batch, and the loss on it."""
    key = jax.random.fold_in(state.key, state.step)
    params, statistics = state.variables["params"], state.variables["batch_stats"]

    def loss(params: Any) -> Any:
        logits, changed = MODEL.apply(
            {"params": params, "batch_stats": statistics},
            batch.image,
            train=True,
            dropout=hyper.dropout,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        label = jax.nn.one_hot(batch.label, CLASSES)
        target = optax.smooth_labels(label, hyper.label_smoothing)
        losses = optax.softmax_cross_entropy(logits, target)
        total = jnp.sum(jnp.where(batch.mask, losses, 0.0))
        return total / jnp.sum(batch.mask), changed

    (value, changed), grads = jax.value_and_grad(loss, has_aux=True)(params)
    rule = optimizer(hyper, steps)
    updates, memory = rule.update(grads, state.optimizer, params)
    variables = {"params": optax.apply_updates(params, updates), **changed}
    decay, count = hyper.average_decay, state.step + 1
    weight = (1 - decay) / (1 - decay**count)  # unbiased from the first step on
    average = jax.tree.map(
        lambda old, new: old * (1 - weight) + new * weight, state.average, variables
    )
    return State(count, state.key, variables, memory, average), value


def trained(most: int | None = None) -> State:
    """The state after the whole training, or after the first `most` steps of it."""
    data = digits()
    moves = CHOICES["affine"](data.side)
    feed = image_feeds(data, batch_size=BATCH, seed=0, augmentation=moves).train
    steps, hyper = EPOCHS * feed.length, jax.tree.map(jnp.float32, Hyper())

    def update(state: State, columns: Any, rows: Any, hyper: Hyper) -> Any:
        return step(state, feed.prepare(columns, rows), hyper, steps)

    compiled = jax.jit(update, donate_argnums=0)
    columns = jax.device_put(dict(feed.columns))
    state = jax.jit(init, static_argnums=2)(feed(0).image, hyper, steps)
    for index in range(steps if most is None else most):
        state, _ = compiled(state, columns, feed.fetch(index), hyper)
    return state


def main() -> None:
    """Trains, and prints the accuracy on the test split."""
    state, feeds = trained(), image_feeds(digits(), batch_size=BATCH, seed=0)
    predict = jax.jit(lambda image: MODEL.apply(state.average, image, train=False))
    right = [
        np.asarray(predict(batch.image).argmax(1) == batch.label)[batch.mask]
        for batch in feeds.test
    ]
    print(f"test accuracy {np.concatenate(right).mean():.2%}")


if __name__ == "__main__":
    main()
