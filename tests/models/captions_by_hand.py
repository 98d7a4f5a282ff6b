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


class Places:
    """Where it looked, as loops over maps and locations; positions may be None."""

    def __init__(self, params, locations, where):
        self.params, self.where = params, where
        count = params["gate"]["bias"].shape[0]
        self.total = [0.0] * locations
        self.maps = [[1 / locations] * locations for _ in range(count)]

    def at(self, looks):
        return sum(weight * x for weight, x in zip(looks, self.where, strict=True))

    def hint(self, i):
        found = 0.0
        for k, looks in enumerate([self.total, *self.maps]):
            count = looks[i]
            if self.where is not None:
                gaps = [jnp.sum((self.where[i] - x) ** 2) for x in self.where]
                near = [jnp.exp(-g / (2 * self.params["reach"][k] ** 2)) for g in gaps]
                count = sum(a * b for a, b in zip(near, looks, strict=True))
            found = found + count * self.params["coverage"][k]
        if self.where is None:
            return found
        apart = jnp.concatenate([self.where[i] - self.at(m) for m in self.maps])
        return found + dense(self.params["offset"], apart)

    def after(self, alpha, h):
        """What joins the context; from then on the look is remembered."""
        joined = None
        if self.where is not None:
            here = self.at(alpha)
            joined = jnp.concatenate([here, *(here - self.at(m) for m in self.maps)])
        self.total = [a + b for a, b in zip(self.total, alpha, strict=True)]
        for k, gate in enumerate(sigmoid(dense(self.params["gate"], h))):
            pairs = zip(self.maps[k], alpha, strict=True)
            self.maps[k] = [(1 - gate) * old + gate * new for old, new in pairs]
        return joined


def caption(
    params,
    annotations,
    tokens,
    *,
    vector=False,
    reads_first=False,
    deep=False,
    sharpness=1,
    locations=None,
    where=None,
):
    """Logits and weights of one image's caption, and log p of the locations."""
    mean = annotations.mean(0)
    h = jnp.tanh(network(params["initial_h"], mean))
    c = network(params["initial_c"], mean)
    seen = [mean] if vector else list(annotations)
    logits, weights, chance = [], [], 0.0
    z = jnp.zeros(params["output_z"]["kernel"].shape[0])
    places = None
    if "remembered" in params:
        places = Places(params["remembered"], len(seen), where)
    for t, token in enumerate(tokens):
        word = params["words"]["embedding"][token]
        if reads_first:
            h, c = lstm(params, h, c, word, z)
        if vector:
            alpha = jnp.ones(1)
        else:
            attend = params["attend"]
            hidden = [dense(attend["query"], h) + dense(attend["key"], a) for a in seen]
            if places is not None:
                hidden = [one + places.hint(i) for i, one in enumerate(hidden)]
            scores = [dense(attend["score"], jnp.tanh(one))[0] for one in hidden]
            alpha = softmax(jnp.stack(scores)) ** sharpness
            alpha = alpha / alpha.sum()
        if locations is None:
            z = sum(alpha[i] * a for i, a in enumerate(seen))
        else:
            z = jnp.stack(seen).at[locations[t]].get(mode="fill")
            chance = chance + jnp.log(alpha.at[locations[t]].get(mode="fill"))
        z = sigmoid(dense(params["gate"], h)[0]) * z
        if places is not None:
            joined = places.after(alpha, h)
            z = z if joined is None else jnp.concatenate([z, joined])
        if not reads_first:
            h, c = lstm(params, h, c, word, z)
        last = word + dense(params["output_h"], h) + dense(params["output_z"], z)
        logits.append(dense(params["output"], jnp.tanh(last) if deep else last))
        weights.append(alpha)
    return jnp.stack(logits), jnp.stack(weights), chance


def likelihood(logits, targets):
    """The log-probability of the targets."""
    logp = log_softmax(logits)
    return sum(logp[t, target] for t, target in enumerate(targets))
