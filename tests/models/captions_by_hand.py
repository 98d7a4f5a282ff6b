"""The equations of "Show, attend and tell" once more, one word and location at a time.

Locations may be given, so that every path of a small problem can be walked. Of plain
numbers all is NumPy in float64, so that nothing is compiled; inside a JAX
transformation it is JAX.
"""

import jax
import jax.numpy as jnp
import numpy as np


def library(*trees):
    """JAX's NumPy if a transformation has its hands on one of the numbers, or NumPy."""
    leaves = jax.tree.leaves(trees)
    return jnp if any(isinstance(x, jax.core.Tracer) for x in leaves) else np


def plain(tree):
    """The same as arrays of NumPy, real numbers as float64."""
    wide = lambda x: x if x.dtype.kind == "i" else x.astype(np.float64)
    return jax.tree.map(lambda x: wide(np.asarray(x)), tree)


def sigmoid(x):
    return 1 / (1 + library(x).exp(-x))


def softmax(x):
    powers = library(x).exp(x - x.max())
    return powers / powers.sum()


def dense(layer, x):
    return x @ layer["kernel"] + layer.get("bias", 0.0)


def lstm(params, h, c, word, context):
    cell = params["recurrent"]
    gates = dense(cell["input"], word) + dense(cell["hidden"], h)
    xp = library(gates, context)
    i, f, g, o = xp.split(gates + dense(params["context"], context), 4)
    c = sigmoid(f) * c + sigmoid(i) * xp.tanh(g)
    return sigmoid(o) * xp.tanh(c), c


def network(layers, x):
    hidden = dense(layers["hidden"], x)
    return dense(layers["output"], library(hidden).tanh(hidden))


class Places:
    """Where it looked, as loops over maps and locations; positions may be None."""

    def __init__(self, params, locations, where):
        self.params, self.where, self.xp = params, where, library(params)
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
                gaps = [((self.where[i] - x) ** 2).sum() for x in self.where]
                reach = 2 * self.params["reach"][k] ** 2
                near = [self.xp.exp(-gap / reach) for gap in gaps]
                count = sum(a * b for a, b in zip(near, looks, strict=True))
            found = found + count * self.params["coverage"][k]
        if self.where is None:
            return found
        apart = self.xp.concatenate([self.where[i] - self.at(m) for m in self.maps])
        return found + dense(self.params["offset"], apart)

    def after(self, alpha, h):
        """What joins the context; from then on the look is remembered."""
        joined = None
        if self.where is not None:
            here = self.at(alpha)
            moved = [here - self.at(m) for m in self.maps]
            joined = self.xp.concatenate([here, *moved])
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
    given = (params, annotations, tokens, locations, where)
    xp = library(given)
    if xp is np:
        params, annotations, tokens, locations, where = plain(given)
    mean = annotations.mean(0)
    h = xp.tanh(network(params["initial_h"], mean))
    c = network(params["initial_c"], mean)
    seen = [mean] if vector else list(annotations)
    logits, weights, chance = [], [], 0.0
    z = xp.zeros(params["output_z"]["kernel"].shape[0])
    places = None
    if "remembered" in params:
        places = Places(params["remembered"], len(seen), where)
    for t, token in enumerate(tokens):
        word = params["words"]["embedding"][token]
        if reads_first:
            h, c = lstm(params, h, c, word, z)
        if vector:
            alpha = xp.ones(1)
        else:
            attend = params["attend"]
            hidden = [dense(attend["query"], h) + dense(attend["key"], a) for a in seen]
            if places is not None:
                hidden = [one + places.hint(i) for i, one in enumerate(hidden)]
            scores = [dense(attend["score"], xp.tanh(one))[0] for one in hidden]
            alpha = softmax(xp.stack(scores)) ** sharpness
            alpha = alpha / alpha.sum()
        if locations is None:
            z = sum(alpha[i] * a for i, a in enumerate(seen))
        else:
            z = xp.stack(seen)[locations[t]]
            chance = chance + xp.log(alpha[locations[t]])
        z = sigmoid(dense(params["gate"], h)[0]) * z
        if places is not None:
            joined = places.after(alpha, h)
            z = z if joined is None else xp.concatenate([z, joined])
        if not reads_first:
            h, c = lstm(params, h, c, word, z)
        last = word + dense(params["output_h"], h) + dense(params["output_z"], z)
        logits.append(dense(params["output"], xp.tanh(last) if deep else last))
        weights.append(alpha)
    return xp.stack(logits), xp.stack(weights), chance


def likelihood(logits, targets):
    """The log-probability of the targets."""
    xp = library(logits, targets)
    if xp is np:
        logits, targets = plain((logits, targets))
    total = 0.0
    for row, target in zip(logits, targets, strict=False):
        top = row.max()
        total = total + row[target] - top - xp.log(xp.exp(row - top).sum())
    return total
