"""The parity table.

Parameters here and published; the largest difference of the logits from torch's in
float64, relative to the largest logit. Needs no torch: torch's logits are in
references.npz.
"""

import argparse
import functools
import inspect
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.models import functional, weights
from jaxnets.models.zoo import ZOO
from tests.golden.networks.cases import (
    CASES,
    CLASSES,
    DAMPING,
    FORMS,
    IMAGES,
    PUBLISHED,
)
from tests.golden.networks.fill import fill, images

REFERENCES = Path(__file__).with_name("references.npz")


def shapes(model, size, channels):
    """The variables of `model`, shapes only."""
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    init = lambda key, image: functional.init(model, key, image)
    return jax.eval_shape(init, jax.random.key(0), image)


def parameters(model, size, channels):
    """How many parameters `model` has for images of that size."""
    params = shapes(model, size, channels).params
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def network(name):
    """The function of the classes that makes the network of a case."""
    origin, options = FORMS.get(name, (name, {}))
    return functools.partial(ZOO[origin], **options)


def filled(model, size, channels, damping=1.0):
    """The variables of `model` with the numbers that their torch names say."""
    template = shapes(model, size, channels)
    wanted = weights.torch_shapes(model, template)
    arrays = {name: fill(name, shape, damping) for name, shape in wanted.items()}
    return weights.from_torch(model, template, arrays)


def logits(name):
    """What the network `name` says to the images of its case."""
    model, (size, channels) = network(name)(CLASSES), CASES[name]
    variables = filled(model, size, channels, DAMPING.get(name, 1.0))
    if name in DAMPING:
        model = model.clone(scan=True)  # the same numbers, compiled in seconds
    image = jnp.asarray(images(name, IMAGES, size, channels))
    return jax.jit(lambda v, x: functional.predict(model, v, x))(variables, image)


def published(name):
    """Parameters here, for the classes and channels of the published number."""
    function = network(name)
    classes = inspect.signature(function).parameters["classes"].default
    channels = 1 if name in ("lenet5", "mlp", "convnet", "small_convnet") else 3
    size = 28 if name == "mlp" else 32 if name == "lenet5" else 64
    return parameters(function(classes), size, channels)


def difference(ours, reference):
    """The largest difference, relative to the largest number of the reference."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference)
    return np.max(np.abs(ours - reference)) / np.max(np.abs(reference))


def main(names):
    references = np.load(REFERENCES, allow_pickle=False)
    print(f"{'network':20}{'parameters':>13}{'published':>13}{'difference':>12}")
    for name in names or (*ZOO, *FORMS):
        row = f"{name:20}{published(name):13,}{PUBLISHED[name]:13,}"
        key = f"logits/{name}"
        found = key in references.files
        print(
            row
            + (f"{difference(logits(name), references[key]):12.1e}" if found else ""),
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden.networks.parity", description=__doc__
    )
    parser.add_argument("name", nargs="*", help="a network; all of them by default")
    asked = parser.parse_args().name
    for unknown in set(asked) - {*ZOO, *FORMS}:
        parser.error(f"there is no {unknown}: python -m jaxnets.models lists the zoo")
    main(asked)
