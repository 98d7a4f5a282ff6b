"""Lists every network: `python -m jaxnets.models [NAME ...]`.

Parameters and multiply-adds of one image, at the size and the number of classes that
the paper's table has.
"""

import argparse
import inspect
import math
import re
import signal
import sys
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxnets.models import functional
from jaxnets.models.zoo import ZOO
from jaxnets.ops.cost import counted

# Side and channels, where they are not 224 and 3 (1000 classes) or 32 and 3 (10).
USUAL = {
    "mlp": (28, 1),
    "convnet": (32, 3),
    "small_convnet": (28, 1),
    "lenet5": (32, 1),
}


def usual(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network with its usual classes, and its usual image, `[h, w, c]`."""
    classes = inspect.signature(ZOO[name]).parameters["classes"].default
    size, channels = USUAL.get(name, (224 if classes == 1000 else 32, 3))
    return ZOO[name](classes), (size, size, channels)


def measured(name: str) -> tuple[int, int]:
    """Parameters, and multiply-adds of one image of the usual size."""
    model, shape = usual(name)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    init = lambda key, image: functional.init(model, key, image)  # runs it once
    trace = jax.make_jaxpr(init, return_shape=True)
    closed, variables = trace(jax.random.key(0), image)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables.params))
    return count, counted(closed.jaxpr)


def source(name: str) -> str:
    """The link that the network's module gives for it."""
    text = inspect.getdoc(inspect.getmodule(ZOO[name])) or ""
    links = r"https?://[^\s,;>]+[^\s,;.:>]"
    own = re.search(rf"- `{name}`.*?({links})", text, re.DOTALL)
    found = own[1] if own else next(iter(re.findall(links, text)), "")
    return found.rstrip(")")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table; a name that is no network ends with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxnets.models", description=__doc__
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="network to list; without names all are listed",
    )
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in ZOO]:
        parser.error(f"no network {', '.join(unknown)}; without names all are listed")
    print(f"{'network':20}{'image':>12}{'parameters':>13}{'mult-adds':>11}  source")  # noqa: T201
    for name in names or ZOO:
        count, work = measured(name)
        shape = "x".join(map(str, usual(name)[1]))
        row = f"{name:20}{shape:>12}{count:13,}{work / 1e6:10,.1f}M  {source(name)}"
        print(row, flush=True)  # noqa: T201


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # `| head` has seen enough
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.exit(main())
