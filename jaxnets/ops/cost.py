"""What a function costs, read off its trace: nothing is computed."""

import math
from collections.abc import Callable
from typing import Any

import jax

from jaxnets.ops import conv_forms


def multiply_adds(function: Callable[..., Any], *arguments: Any) -> int:
    """How many multiplications, each with its addition, a function takes.

    Convolutions and matrix products count, as in every paper's tables; norms,
    activations, pools and additions do not. One multiply-add is two FLOPs; torchvision
    prints multiply-adds under the name of FLOPs. ResNet-50 at 224x224 takes
    4,089,184,256 an image.

    Args:
        function: Anything that JAX can trace; a loop's body counts as often as it runs
            (a `while_loop`, whose length is not known, once).
        *arguments: Arrays, or `jax.ShapeDtypeStruct`s.
    """
    return counted(jax.make_jaxpr(function)(*arguments).jaxpr)


def counted(jaxpr: Any) -> int:
    """The same for a function that is traced already."""
    total = 0
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        out = math.prod(equation.outvars[0].aval.shape) if equation.outvars else 0
        if name == "conv_general_dilated":
            numbers = parameters["dimension_numbers"]
            kernel = equation.invars[1].aval.shape
            taps = math.prod(kernel) // kernel[numbers.rhs_spec[0]]
            total += out * taps
        elif name == "convolution_form":
            members = parameters["members"]
            lead = 0 if members is None else 1
            pair = [operand.aval.shape[lead:] for operand in equation.invars]
            wanted, geometry = parameters["wanted"], parameters["geometry"]
            each = conv_forms.multiply_adds(wanted, geometry, *pair)
            total += (members or 1) * each
        elif name == "dot_general":
            (contracted, _), _ = parameters["dimension_numbers"]
            left = equation.invars[0].aval.shape
            total += out * math.prod(left[axis] for axis in contracted)
        elif name == "cond":
            total += max(counted(branch.jaxpr) for branch in parameters["branches"])
        else:
            times = parameters["length"] if name == "scan" else 1
            total += times * sum(map(counted, _inner(parameters)))
    return total


def _inner(parameters: dict[str, Any]) -> list[Any]:
    """The jaxprs that an equation runs."""
    found = []
    for value in parameters.values():
        jaxpr = getattr(value, "jaxpr", value)
        if hasattr(jaxpr, "eqns"):
            found.append(jaxpr)
    return found
