"""The equations of "Show, attend and tell" once more, one word and location at a time.

Locations may be given, so that every path of a small problem can be walked.
"""

import jax.numpy as jnp
from jax.nn import log_softmax, sigmoid, softmax


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def lstm(params, h, c, word, context):
    cell = params["recurrent"]
    gates = dense(cell["input"], word) + dense(cell["hidden"], h)
    i, f, g, o = jnp.split(gates + dense(params["context"], context), 4)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def network(layers, x):
    return dense(layers["output"], jnp.tanh(dense(layers["hidden"], x)))


def caption(
    params, annotations, tokens, *, vector=False, reads_first=False, locations=None
):
    """Logits and weights of one image's caption, and log p of the locations."""
    mean = annotations.mean(0)
    h = jnp.tanh(network(params["initial_h"], mean))
    c = network(params["initial_c"], mean)
    seen = [mean] if vector else list(annotations)
    logits, weights, chance = [], [], 0.0
    z = jnp.zeros(annotations.shape[-1])
    for t, token in enumerate(tokens):
        word = params["words"]["embedding"][token]
        if reads_first:
            h, c = lstm(params, h, c, word, z)
        if vector:
            alpha = jnp.ones(1)
        else:
            attend = params["attend"]
            scores = [
                dense(
                    attend["score"],
                    jnp.tanh(dense(attend["query"], h) + dense(attend["key"], a)),
                )[0]
                for a in seen
            ]
            alpha = softmax(jnp.stack(scores))
        if locations is None:
            z = sum(alpha[i] * a for i, a in enumerate(seen))
        else:
            z = jnp.stack(seen).at[locations[t]].get(mode="fill")
            chance = chance + jnp.log(alpha.at[locations[t]].get(mode="fill"))
        z = sigmoid(dense(params["gate"], h)[0]) * z
        if not reads_first:
            h, c = lstm(params, h, c, word, z)
        deep = word + dense(params["output_h"], h) + dense(params["output_z"], z)
        logits.append(dense(params["output"], deep))
        weights.append(alpha)
    return jnp.stack(logits), jnp.stack(weights), chance


def likelihood(logits, targets):
    """The log-probability of the targets."""
    logp = log_softmax(logits)
    return sum(logp[t, target] for t, target in enumerate(targets))
