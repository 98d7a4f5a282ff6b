"""The one seam between Flax modules and pure functions of `Variables`.

No other module knows Flax's collections, generators or `mutable`. A module keeps one
contract: `__call__(*inputs, train: bool, **rates)`, where each rate has a default that
switches it off.
"""

import inspect
from typing import Any

import flax.linen as nn
import flax.traverse_util
from jaxtyping import PyTree

from jaxnets.types import Key, Scalar, Variables


def init(model: nn.Module, key: Key, *inputs: PyTree) -> Variables:
    """Draws the initial variables of `model`, for inputs shaped like `inputs`.

    What the inputs hold matters to networks that compute a layer from them alone
    (`jaxnets.models.whitened`).
    """
    collections = dict(model.init({"params": key}, *inputs, train=False))
    return Variables(collections.pop("params", {}), collections)


def forward(
    model: nn.Module,
    variables: Variables,
    key: Key,
    *inputs: PyTree,
    **rates: Scalar | float,
) -> tuple[Any, PyTree]:
    """Runs `model` as in training.

    Args:
        model: A Flax Linen module.
        variables: Its parameters and buffers.
        key: What the model draws from (dropout, drop path, noise).
        *inputs: What the model is called on.
        **rates: Probabilities that the model takes by name; they may be traced.

    Returns:
        The model's output, and the buffers it updated on the way.
    """
    options: dict[str, Any] = {"train": True, **rates}
    return model.apply(
        _collections(variables),
        *inputs,
        rngs={"dropout": key},
        mutable=list(variables.buffers),
        **options,
    )


def rates(model: nn.Module) -> tuple[str, ...]:
    """The names of the probabilities that `model` takes in training."""
    parameters = inspect.signature(type(model).__call__).parameters.values()
    named = (p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
    return tuple(name for name in named if name != "train")


def predict(model: nn.Module, variables: Variables, *inputs: PyTree) -> Any:
    """Runs `model` as in deployment: deterministic, and changing nothing."""
    return model.apply(_collections(variables), *inputs, train=False)


def method(model: nn.Module, variables: Variables, name: str, *inputs: PyTree) -> Any:
    """What another method of `model` returns, as in deployment: a decoder's step, say.

    Args:
        model: A Flax Linen module.
        variables: Its parameters and buffers.
        name: Of the method, which takes no `train`.
        *inputs: What it is called on.
    """
    return model.apply(_collections(variables), *inputs, method=name)


def features(
    model: nn.Module, variables: Variables, *inputs: PyTree
) -> dict[str, PyTree]:
    """The output of every layer inside `model`, by name, as in deployment.

    Returns:
        `"block/conv"` to what the layer `conv` inside `block` returned, in the order
        of the calls. A layer called again appears as `"block/conv#1"`, and so on; the
        output of the whole model is not repeated. Compile it together with what uses
        it, so that the layers nobody asked for cost nothing.
    """
    _, collections = model.apply(
        _collections(variables),
        *inputs,
        train=False,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    tree: Any = flax.traverse_util.flatten_dict(collections["intermediates"])
    found: dict[str, PyTree] = {}
    for path, calls in tree.items():
        *layer, method = path
        if method != "__call__":  # a value that the model sowed under its own name
            layer = [*layer, method]
        for index, value in enumerate(calls):
            if layer:
                found["/".join(layer) + (f"#{index}" if index else "")] = value
    return found


def _collections(variables: Variables) -> dict[str, PyTree]:
    return {"params": variables.params, **variables.buffers}
