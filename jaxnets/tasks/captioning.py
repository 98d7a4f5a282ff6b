"""One sentence an image.

Xu et al., "Show, attend and tell", 2015, https://arxiv.org/abs/1502.03044; see
`jaxnets.models.captioner` for the networks.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnets.metrics import Metrics, mean
from jaxnets.models import functional
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.parts.caption_decoders import Captioned
from jaxnets.ops.decoding import GREEDY, PAD, Decoding, Sequences
from jaxnets.tasks.base import Task, uniform
from jaxnets.tasks.hyper import Reads, present
from jaxnets.tasks.tokens import counted, over_tokens, token_hits, token_losses
from jaxnets.types import CaptionBatch, Key, Scalar, Variables

KEPT = 0.9  # of the moving average; Xu et al., section 4.1


def captioning(
    model: ImageCaptioner,
    longest: int,
    decoding: Decoding = GREEDY,
    *,
    rates: Sequence[str] | None = None,
) -> Task:
    """The log-likelihood of captions, in nats, every word given those before it.

    `loss` is the mean over captions of the sum over their words, `<end>` included; as
    all metrics it counts no `<pad>`. To it is added, where the locations of a grid are
    attended to softly, `hyper.doubly_stochastic` times sum_i (1 - sum_t alpha_ti)^2
    (equation 14), and `hyper.focus` times the sum over words of the attention's entropy
    in nats, a departure: without it the attention is content to lie beside what it
    needs, wherever a cell sees it. Where they are sampled the gradient is that of
    equation 12: the score function, times `hyper.reinforce` and times how much more
    likely the caption is than the moving average b of such log-likelihoods, and
    `hyper.entropy` times the entropy of the attention. With a factor of 1, no entropy
    and all locations drawn it is an unbiased estimate of the gradient of
    E_s[log p(y | s, a)].

    That average is a buffer of the variables, `buffers["reinforce"]["baseline"]`, and
    not a part of a learner's state: it belongs to this loss, so every learner trains,
    checkpoints, averages and vmaps it without knowing of it. Departure: b is the
    average up to the step before. The paper's includes the batch itself, which ties b
    to what was drawn, and so would bias the gradient.

    `evaluate` adds `word_loss` and `word_accuracy`, means over words; a word that is
    `<unk>` is never right, and logits that are NaN make both NaN. `predict` returns
    sentences as `Sequences`, with `Attended` as its notes.

    Args:
        model: An encoder and a decoder.
        longest: Most words that `predict` writes, `<end>` included.
        decoding: How it writes them.
        rates: Names of the probabilities that the model is given in training, each read
            from `hyper`: `dropout`, `sampling`; one that `hyper` lacks is off. By
            default both.
    """
    given = functional.rates(model) if rates is None else tuple(rates)
    writer = model.sharpened(decoding.sharpness)

    def init(key: Key, batch: CaptionBatch) -> Variables:
        inputs = (batch.image, batch.caption[..., :-1])
        variables = functional.init(model, key, *inputs)
        if not model.draws:
            return variables
        average = {"baseline": jnp.zeros(())}
        return variables._replace(buffers={**variables.buffers, "reinforce": average})

    def loss(
        variables: Variables, batch: CaptionBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        chosen = present(hyper, given)
        said, buffers = functional.forward(
            model, variables, key, batch.image, batch.caption[..., :-1], **chosen
        )
        target = batch.caption[..., 1:].reshape(len(said.drawn), -1)
        mask = jnp.repeat(batch.mask, len(target) // len(batch.mask))
        spoken = target != PAD
        per_word = token_losses(said.logits, target)
        nats = _summed(per_word, spoken)
        weights = said.attended.weights
        if model.draws:
            baseline = variables.buffers["reinforce"]["baseline"]
            losses = nats - _score(said, nats, spoken, baseline) * hyper.reinforce
            losses = losses - hyper.entropy * _summed(_entropy(weights), spoken)
            drawn = mean(-nats, mask & said.drawn)
            latest = drawn.total / jnp.maximum(drawn.weight, 1)
            moved = KEPT * baseline + (1 - KEPT) * jax.lax.stop_gradient(latest)
            after = jnp.where(drawn.weight > 0, moved, baseline)
            buffers = {**buffers, "reinforce": {"baseline": after}}
        elif weights.shape[-1] > 1:
            seen = jnp.sum(jnp.where(spoken[:, :, None], weights, 0), axis=1)
            uneven = jnp.sum((1 - seen) ** 2, axis=-1)
            spread = _summed(_entropy(weights), spoken)
            losses = nats + hyper.doubly_stochastic * uneven + hyper.focus * spread
        else:
            losses = nats
        objective = mean(losses, mask)
        by_word = _by_word(said.logits, target, per_word, mask)
        metrics = {"loss": objective, **by_word}
        return objective.total / objective.weight, (buffers, metrics)

    def evaluate(variables: Variables, batch: CaptionBatch, key: Key) -> Metrics:
        del key
        inputs = (batch.image, batch.caption[:, :-1])
        logits = functional.predict(model, variables, *inputs).logits
        target = batch.caption[:, 1:]
        per_word = token_losses(logits, target)
        nats = _summed(per_word, target != PAD)
        by_word = _by_word(logits, target, per_word, batch.mask)
        return {"loss": mean(nats, batch.mask), **by_word}

    def predict(variables: Variables, batch: CaptionBatch, key: Key) -> Sequences:
        # The beams of an image are rows of the state, and share the memory.
        memory, carry = functional.method(writer, variables, "start", batch.image)

        def step(state: PyTree, token: Int[Array, " b"]) -> tuple[Any, Any, Any]:
            return functional.method(writer, variables, "step", memory, state, token)

        return decoding(step, carry, longest, key)

    trivial = uniform("word_loss", model.decoder.vocabulary)
    soft = ("doubly_stochastic", "focus") if model.decoder.looks else ()
    factors = ("reinforce", "entropy") if model.draws else soft
    reads = Reads("captioning", factors, given)
    return Task(init, loss, evaluate, predict, trivial, reads)


def with_encoder(task: Task, given: Variables) -> Task:
    """The same task, whose encoder begins as a network that was trained before.

    Args:
        task: Of a captioner whose encoder is a `LayerOf` that network.
        given: The network's variables.
    """
    params, buffers = given

    def init(key: Key, batch: CaptionBatch) -> Variables:
        drawn = task.init(key, batch)
        return Variables(
            {**drawn.params, "encoder": {"network": params}},
            {
                **drawn.buffers,
                **{name: {"encoder": {"network": b}} for name, b in buffers.items()},
            },
        )

    return task._replace(init=init)


def _summed(
    values: Float[Array, "b t"], spoken: Bool[Array, "b t"]
) -> Float[Array, " b"]:
    return jnp.sum(jnp.where(spoken, values, 0.0), axis=1)


def _entropy(weights: Float[Array, "b t l"]) -> Float[Array, "b t"]:
    return -jnp.sum(weights * _log(weights), axis=-1)


def _score(
    said: Captioned,
    nats: Float[Array, " b"],
    spoken: Bool[Array, "b t"],
    baseline: Scalar,
) -> Float[Array, " b"]:
    """0, with the gradient (log p(y | s, a) - b) times that of log p(s | a)."""
    attended = said.attended
    chances = jnp.sum(jax.lax.stop_gradient(attended.used) * attended.weights, axis=-1)
    logp = _summed(_log(chances), spoken)
    reward = jax.lax.stop_gradient(-nats - baseline)
    term = reward * (logp - jax.lax.stop_gradient(logp))
    return jnp.where(said.drawn, term, 0.0)


def _log(x: Array) -> Array:
    return jnp.log(jnp.maximum(x, jnp.finfo(x.dtype).tiny))


def _by_word(
    logits: Float[Array, "b t vocabulary"],
    target: Int[Array, "b t"],
    losses: Float[Array, "b t"],
    mask: Bool[Array, " b"],
) -> Metrics:
    counts = counted(target, mask)
    return {
        "word_loss": over_tokens(losses, counts),
        "word_accuracy": over_tokens(token_hits(logits, target), counts),
    }
