"""A sequence for a sequence: translation, and whatever has its form."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from jaxnets.metrics import Metrics, mean
from jaxnets.models import functional
from jaxnets.models.seq2seq import Seq2Seq
from jaxnets.ops.decoding import GREEDY, UNKNOWN, Decoding, Sequences, repeated
from jaxnets.tasks.base import Task, uniform
from jaxnets.tasks.hyper import Reads, present
from jaxnets.tasks.tokens import counted, over_tokens, token_hits, token_losses
from jaxnets.types import Key, PairBatch, Scalar, Variables


class Translated(NamedTuple):
    """What the model writes for each source, by itself."""

    token: Int[Array, "b t"]  # without `<start>`; up to `<end>`, then `<pad>`
    score: Float[Array, " b"]  # as the way of decoding has it; NaN if anything was
    exact: Float[Array, " b"]  # 1 where it is the target, without `<unk>`
    weights: Float[Array, "b t s"]  # alpha: where it looked before each token


def translation(
    model: Seq2Seq,
    *,
    decoding: Decoding = GREEDY,
    rates: Sequence[str] | None = None,
) -> Task:
    """Cross-entropy on every token of the target after `<start>`, in nats a token.

    The tokens before are given (teacher forcing), or drawn by the model itself with
    probability `hyper.sampling`. The mean is over the tokens of the batch, `<end>`
    included: padding counts nowhere, and a long target more than a short one.
    `hyper.label_smoothing`, where `hyper` has it, is spread over the vocabulary, in
    the loss only.

    `evaluate` reports the same loss, `accuracy` of single tokens when those before are
    given, and `accuracy_exact`: the share of sources for which greedy decoding writes
    exactly the target. `predict` decodes in another way if asked, up to the length that
    the batch's targets have. Where there is a NaN, metrics are NaN. `<unk>` stands for
    a word that nobody can read, so a target that holds it is never right: neither that
    token nor the whole sequence.

    Args:
        model: What reads and writes.
        decoding: How `predict` writes; the best sequence counts.
        rates: Names of the probabilities that the model is given in training, each
            read from `hyper`; one that `hyper` lacks is off. By default all that the
            model takes.
    """
    given = functional.rates(model) if rates is None else tuple(rates)

    def init(key: Key, batch: PairBatch) -> Variables:
        return functional.init(model, key, batch.source, batch.target[:, :-1])

    def loss(
        variables: Variables, batch: PairBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        chosen = present(hyper, given)
        written, buffers = functional.forward(
            model, variables, key, batch.source, batch.target[:, :-1], **chosen
        )
        smoothing = getattr(hyper, "label_smoothing", 0.0)
        metrics = _scores(written.logits, batch, smoothing)
        objective = metrics["loss"]
        return objective.total / objective.weight, (buffers, metrics)

    def evaluate(variables: Variables, batch: PairBatch, key: Key) -> Metrics:
        written = functional.predict(
            model, variables, batch.source, batch.target[:, :-1]
        )
        found = decoded(variables, batch, key, GREEDY)
        return {
            **_scores(written.logits, batch),
            "accuracy_exact": mean(_exact(found, batch), batch.mask),
        }

    def predict(variables: Variables, batch: PairBatch, key: Key) -> Translated:
        found = decoded(variables, batch, key, decoding)
        return Translated(
            found.token[:, 0],
            found.score[:, 0],
            _exact(found, batch),
            found.notes[:, 0],
        )

    def decoded(
        variables: Variables, batch: PairBatch, key: Key, how: Decoding
    ) -> Sequences:
        writer = model.sharpened(how.sharpness)
        memory, state = functional.method(writer, variables, "start", batch.source)
        memory = repeated(memory, how.rows)

        def step(state: Any, token: Int[Array, " b"]) -> Any:
            return functional.method(writer, variables, "step", memory, state, token)

        return how(step, state, batch.target.shape[1] - 1, key)

    trivial = uniform("loss", model.target)
    reads = Reads("translation", optional=(*given, "label_smoothing"))
    return Task(init, loss, evaluate, predict, trivial, reads)


def _scores(logits: Array, batch: PairBatch, smoothing: Any = 0.0) -> Metrics:
    target = batch.target[:, 1:]
    counts = counted(target, batch.mask)
    losses = token_losses(logits, target, smoothing)
    return {
        "loss": over_tokens(losses, counts),
        "accuracy": over_tokens(token_hits(logits, target), counts),
    }


def _exact(found: Sequences, batch: PairBatch) -> Float[Array, " b"]:
    target = batch.target[:, 1:]
    right = (found.token[:, 0] == target) & (target != UNKNOWN)
    same = jnp.all(right, axis=-1)
    unsound = jnp.isnan(found.score[:, 0])
    return jnp.where(unsound, jnp.nan, same.astype(jnp.float32))
