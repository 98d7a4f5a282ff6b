"""Predict the next token of a text, reading it chunk by chunk.

Truncated backpropagation through time: Williams & Peng, "An efficient gradient-based
algorithm for on-line training of recurrent network trajectories", Neural Computation
2(4), 1990, https://doi.org/10.1162/neco.1990.2.4.490, with both of the paper's lengths
equal to the chunk's (the form of Mikolov's language models). The gradient is cut where
a chunk begins, but the numbers are not: the carry goes on from chunk to chunk, so that
the network may use what lies further back than any gradient reached.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

from jaxnets.metrics import Mean, Metrics
from jaxnets.models import functional
from jaxnets.ops import decoding
from jaxnets.tasks.base import Task, uniform
from jaxnets.tasks.hyper import Reads, present
from jaxnets.tasks.tokens import counted, over_tokens, token_hits
from jaxnets.types import Key, Scalar, StreamBatch, Variables


class Sampling(NamedTuple):
    """How `predict` goes on with a text. All static: they shape a program."""

    length: int = 300  # tokens
    temperature: float = 1.0  # divides the logits; small is nearly greedy
    top_p: float = 1.0  # of the nucleus that tokens are drawn from


def language(
    model: nn.Module,
    *,
    sampling: Sampling = Sampling(),
    unit: str = "token",
    carried: bool = True,
    rates: tuple[str, ...] | None = None,
) -> Task:
    """Cross-entropy of the next token in nats, over the targets that are not `<pad>`.

    The carry is a buffer of the variables: what a model holds and gradients do not
    change. So it is in the learner's state, and in every checkpoint. A row that is
    `fresh` starts from zeros.

    Metrics add up over tokens: `loss`, `bits_per_token` and the `accuracy` of the
    likeliest token; see also `perplexity`. A target that is `<unk>` is never right; its
    loss is that of "any character that training did not have". `evaluate` leaves the
    carry alone: every row starts from zeros, and brings tokens to warm up on, whose
    targets are `<pad>`. `predict` goes on from each row's tokens with samples, each fed
    back, and returns them `[b, sampling.length]`.

    Args:
        model: `(token, present, carry, *, train, **rates) -> (logits, carry)`, whose
            carry begins with zeros.
        sampling: What `predict` does.
        unit: What a token is: with "character" the metric is `bits_per_character`.
        carried: False forgets the carry at every chunk: wrong, to show that it is.
        rates: Names of the probabilities read from `hyper`; one that `hyper` lacks is
            off. By default all that the model takes.
    """
    given = functional.rates(model) if rates is None else tuple(rates)

    def zeros(params: PyTree, token: Array) -> PyTree:
        run = lambda: functional.predict(model, Variables(params, {}), token)[1]
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(run))

    def init(key: Key, batch: StreamBatch) -> Variables:
        params, _ = functional.init(model, key, batch.token)
        return Variables(params, {"carry": zeros(params, batch.token)})

    def loss(
        variables: Variables, batch: StreamBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        chosen = present(hyper, given)
        fresh = batch.fresh if carried else jnp.ones_like(batch.fresh)
        carry = jax.tree.map(
            lambda x: jnp.where(fresh[:, None], 0, jax.lax.stop_gradient(x)),
            variables.buffers["carry"],
        )
        whole = Variables(variables.params, {})
        (logits, carry), _ = functional.forward(
            model, whole, key, batch.token, None, carry, **chosen
        )
        metrics = _metrics(logits, batch, unit)
        nats = metrics["loss"]
        return nats.total / nats.weight, ({"carry": carry}, metrics)

    def evaluate(variables: Variables, batch: StreamBatch, key: Key) -> Metrics:
        del key
        whole = Variables(variables.params, {})
        here = batch.token != decoding.PAD
        logits, _ = functional.predict(model, whole, batch.token, here)
        return _metrics(logits, batch, unit)

    def predict(
        variables: Variables, batch: StreamBatch, key: Key
    ) -> Int[Array, "b t"]:
        params = variables.params
        return continued(model, params, batch.token, key, sampling)

    trivial = uniform("loss", getattr(model, "vocabulary", None))
    reads = Reads("language", optional=given)
    return Task(init, loss, evaluate, predict, trivial, reads)


def continued(
    model: nn.Module,
    params: PyTree,
    prompt: Int[Array, "b t"],
    key: Key,
    sampling: Sampling,
) -> Int[Array, "b length"]:
    """What the model says after each prompt, reading its own samples back.

    Args:
        model: As for `language`.
        params: Its parameters.
        prompt: One token or more a row; `<pad>` in front of them is passed over.
        key: Decides the draws.
        sampling: How many tokens, and how they are drawn.
    """
    whole, here = Variables(params, {}), prompt[:, :-1] != decoding.PAD
    last = prompt[:, -1]
    _, carry = functional.predict(model, whole, prompt[:, :-1], here)

    def step(carry: Any, token: Array) -> tuple[Any, Array, tuple[()]]:
        token = jnp.where(token == decoding.START, last, token)  # where decoding begins
        logits, carry = functional.predict(model, whole, token[:, None], None, carry)
        return carry, logits[:, 0], ()

    made = decoding.sampled(
        step,
        carry,
        sampling.length,
        key,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        never=(decoding.PAD, decoding.START, decoding.END, decoding.UNKNOWN),
    )
    return made.token[:, 0]


def perplexity(metrics: Metrics) -> float:
    """The exponential of the mean loss, which does not add up and so comes last."""
    return float(np.exp(metrics["loss"].compute()))


def _metrics(
    logits: Float[Array, "b t vocabulary"], batch: StreamBatch, unit: str
) -> Metrics:
    target, counts = batch.target, counted(batch.target, batch.mask)
    # Not `token_losses`: its gradient differs in the last bit, and recorded results of
    # language models are those of this form.
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, target)
    known = (target >= 0) & (target < logits.shape[-1])
    losses = jnp.where(known, losses, jnp.nan)
    loss = over_tokens(losses, counts)
    return {
        "loss": loss,
        f"bits_per_{unit}": Mean(loss.total / math.log(2), loss.weight),
        "accuracy": over_tokens(token_hits(logits, target), counts),
    }
