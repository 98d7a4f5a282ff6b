"""One label an image, or whatever else an example is."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxnets.metrics import Mean, Metrics, mean
from jaxnets.models import functional
from jaxnets.models.parts.blocks import Logits
from jaxnets.ops.augment import SoftImageBatch
from jaxnets.ops.norm import widen
from jaxnets.tasks.base import Task, uniform
from jaxnets.tasks.hyper import Reads, present
from jaxnets.types import ImageBatch, Key, Scalar, TextBatch, Variables

Labelled: TypeAlias = ImageBatch | TextBatch

# Szegedy et al., "Going deeper with convolutions", 2014,
# https://arxiv.org/abs/1409.4842, section 5: the discount of the auxiliary losses.
AUXILIARY = 0.3


def classification(
    model: nn.Module,
    *,
    rates: Sequence[str] | None = None,
    top: int = 5,
    reads: str = "image",
) -> Task:
    """Cross-entropy on the logits of `model`, in nats, reported with accuracy.

    Labels are smoothed by `hyper.label_smoothing`, in [0, 1], in the loss only
    (Szegedy et al., "Rethinking the Inception architecture", 2015,
    https://arxiv.org/abs/1512.00567, section 7); they are not if `hyper` lacks that
    field. Logits of zero cost log(classes).

    `evaluate` adds the accuracy among the `top` best guesses and, as means of shape
    `[classes]`, the accuracy on each class; `predict` returns the logits. A label that
    is not a class, which validated data cannot hold, makes its metrics NaN, and so do
    logits that are NaN: nothing wrong looks like a success.

    A batch with a field `target`, as `mixup` makes it, is trained on that distribution.
    Auxiliary classifiers, of networks that have them, add `AUXILIARY` times their own
    cross-entropy to the loss.

    Args:
        model: Maps images `[b, h, w, c]`, or what `reads` names, to logits
            `[b, classes]`, or in training to `Logits`.
        rates: Names of the probabilities that the model is given in training, for
            example dropout. Each is read from `hyper`, and so may be swept without a
            new compilation; one that `hyper` lacks is off. By default all that the
            model takes.
        top: How many guesses count in `accuracy_top5`, or whatever it is; 1 leaves it
            out. So do too few classes: chance alone would reach a half of 2 `top`.
        reads: The field of a batch that the model is given: `token` of a `TextBatch`.
    """
    given = functional.rates(model) if rates is None else tuple(rates)

    def init(key: Key, batch: Labelled | SoftImageBatch) -> Variables:
        return functional.init(model, key, getattr(batch, reads))

    def loss(
        variables: Variables, batch: Labelled | SoftImageBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        chosen = present(hyper, given)
        output, buffers = functional.forward(
            model, variables, key, getattr(batch, reads), **chosen
        )
        logits, *others = output if isinstance(output, Logits) else (output,)
        target = getattr(batch, "target", batch.label)
        smoothing = getattr(hyper, "label_smoothing", 0.0)
        losses = cross_entropy(logits, target, smoothing)
        for auxiliary in jax.tree.leaves(others):
            extra = cross_entropy(auxiliary, target, smoothing)
            losses = losses + AUXILIARY * extra
        objective = mean(losses, batch.mask)
        accuracy = mean(among_top(logits, batch.label, 1), batch.mask)
        metrics = {"loss": objective, "accuracy": accuracy}
        return objective.total / objective.weight, (buffers, metrics)

    def evaluate(variables: Variables, batch: Labelled, key: Key) -> Metrics:
        return scores(predict(variables, batch, key), batch, top=top)

    def predict(
        variables: Variables, batch: Labelled, key: Key
    ) -> Float[Array, "b classes"]:
        del key
        return functional.predict(model, variables, getattr(batch, reads))

    # GoogLeNet has two auxiliary classifiers, or none.
    factor = 1 + 2 * AUXILIARY if getattr(model, "auxiliary", False) else 1.0
    trivial = uniform("loss", getattr(model, "classes", None), factor=factor)
    fields = Reads("classification", optional=(*given, "label_smoothing"))
    return Task(init, loss, evaluate, predict, trivial, fields)


def scores(
    logits: Float[Array, "b classes"], batch: Labelled, *, top: int = 5
) -> Metrics:
    """Loss and accuracies of logits, as `classification(...).evaluate` reports them.

    The accuracy among the `top` best guesses is left out of 2 `top` classes or fewer.
    """
    hits = among_top(logits, batch.label, 1)
    found = {
        "loss": mean(cross_entropy(logits, batch.label), batch.mask),
        "accuracy": mean(hits, batch.mask),
    }
    if 1 < top < logits.shape[-1] / 2:
        guesses = among_top(logits, batch.label, top)
        found[f"accuracy_top{top}"] = mean(guesses, batch.mask)
    return {**found, "accuracy_by_class": _by_class(hits, batch, logits.shape[-1])}


def cross_entropy(
    logits: Float[Array, "b classes"],
    target: Int[Array, " b"] | Float[Array, "b classes"],
    smoothing: Scalar | float = 0.0,
) -> Float[Array, " b"]:
    """The cross-entropy of each row, in nats; NaN where the label is not a class.

    Args:
        logits: Unnormalised log-probabilities.
        target: Labels in [0, classes), or distributions over the classes.
        smoothing: Share of the probability spread evenly over all classes.

    Raises:
        ValueError: If there is not one target a row, which would broadcast silently.
    """
    logits, classes = widen(logits), logits.shape[-1]
    if jnp.issubdtype(target.dtype, jnp.floating):
        _check_rows(logits, target, (logits.shape[0], classes))
        return optax.softmax_cross_entropy(
            logits, optax.smooth_labels(target, smoothing)
        )
    _check_rows(logits, target, logits.shape[:1])
    chosen = jax.nn.one_hot(target, classes, dtype=logits.dtype)
    losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(chosen, smoothing))
    return jnp.where((target >= 0) & (target < classes), losses, jnp.nan)


def among_top(
    logits: Float[Array, "b classes"], label: Int[Array, " b"], top: int
) -> Float[Array, " b"]:
    """1 where the label is among the `top` largest logits, else 0.

    Ties go to the lower class, as in `argmax`. NaN where a logit is NaN or the label is
    not a class.

    Raises:
        ValueError: If there is not one label a row.
    """
    _check_rows(logits, label, logits.shape[:1])
    classes = jnp.arange(logits.shape[-1])[None, :]
    chosen = classes == label[:, None]
    own = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1, keepdims=True)
    ahead = (logits > own) | ((logits == own) & (classes < label[:, None]))
    hit = (jnp.sum(ahead, axis=-1) < top).astype(jnp.float32)
    sound = ~jnp.any(jnp.isnan(logits), axis=-1) & jnp.any(chosen, axis=-1)
    return jnp.where(sound, hit, jnp.nan)


def _check_rows(logits: Array, target: Array, shape: tuple[int, ...]) -> None:
    if logits.ndim != 2 or target.shape != shape:
        raise ValueError(
            f"logits of shape {logits.shape} and targets of shape {target.shape} do "
            "not belong together: [b, classes] and one label or distribution a row are "
            "needed"
        )


def _by_class(hits: Float[Array, " b"], batch: Labelled, classes: int) -> Mean:
    member = (batch.label[:, None] == jnp.arange(classes)[None, :]) & batch.mask[
        :, None
    ]
    total = jnp.sum(jnp.where(member, hits[:, None], 0.0), axis=0)
    return Mean(total, jnp.sum(member, axis=0, dtype=jnp.int32))
