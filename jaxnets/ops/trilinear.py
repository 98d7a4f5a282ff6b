"""Convolution and both of its gradients as one primitive, closed under derivatives.

With images x, a kernel k and numbers y of the output's shape, <y, conv(x, k)> is linear
in each of the three. Its derivative by y is the convolution, by x the gradient that the
images get, by k the one that the kernel gets; each is linear in the other two, and the
transpose of each is one of the three again. So whatever JAX does (forward mode, reverse
mode, second derivatives, `vmap`, `scan`) ends in these three forms, and a faster
algorithm for one is used everywhere. `custom_vjp` would refuse forward mode.

On a CPU the forms are those of `jaxnets.ops.conv_forms.on_cpu`, and members with
kernels of their own take turns, as a grouped convolution is slower; elsewhere all are
`lax.conv_general_dilated`, as JAX derives it.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from jaxnets.ops.conv_forms import (
    IMAGE,
    KERNEL,
    Geometry,
    merged,
    on_cpu,
    operands_of,
    portable,
    shape_of,
    split,
)


def form(wanted: int, geometry: Geometry, left: Array, right: Array) -> Array:
    """The derivative of <y, conv(x, k)> by one of the three, from the other two.

    Args:
        wanted: `IMAGE`, `KERNEL` or `OUTPUT`.
        geometry: Of the convolution.
        left: The first of images `[b, h, w, ci]`, kernel `[kh, kw, ci / groups, co]`
            and output `[b, ho, wo, co]` that is not wanted.
        right: The second.
    """
    return _form.bind(left, right, wanted=wanted, geometry=geometry, members=None)


_form = Primitive("convolution_form")


@functools.cache
def _compiled(**static: Any) -> Any:
    return jax.jit(functools.partial(_form.bind, **static))


@_form.def_impl
def _run(left: Array, right: Array, **static: Any) -> Array:
    return _compiled(**static)(left, right)


@_form.def_abstract_eval
def _abstract(
    left: Any, right: Any, *, wanted: int, geometry: Geometry, members: int | None
) -> Any:
    lead = () if members is None else (members,)
    shapes = (array.shape[len(lead) :] for array in (left, right))
    return left.update(shape=(*lead, *shape_of(wanted, geometry, *shapes)))


def _transpose(
    role: int,
    cotangent: Array,
    left: Any,
    right: Any,
    *,
    wanted: int,
    geometry: Geometry,
    members: int | None,
) -> Array:
    """The gradient of the operand of that role: 0 left, 1 right."""
    roles = operands_of(wanted)
    known, operand = roles[1 - role], (right, left)[role]
    pair = [(wanted, cotangent), (known, operand)]
    (_, first), (_, second) = sorted(pair, key=lambda each: each[0])
    return _form.bind(
        first, second, wanted=roles[role], geometry=geometry, members=members
    )


ad.defbilinear(
    _form, functools.partial(_transpose, 0), functools.partial(_transpose, 1)
)


def _batch(
    operands: Sequence[Array],
    axes: Sequence[int | None],
    *,
    wanted: int,
    geometry: Geometry,
    members: int | None,
) -> tuple[Array, int]:
    """More members, or a larger array where that gives the same numbers."""
    roles = operands_of(wanted)
    batched = {role: axis is not None for role, axis in zip(roles, axes, strict=True)}
    count = next(
        array.shape[axis]
        for array, axis in zip(operands, axes, strict=True)
        if axis is not None
    )
    bind = functools.partial(_form.bind, wanted=wanted, geometry=geometry)
    if members is None and wanted != KERNEL and not batched[KERNEL]:
        # The images of all members are one batch.
        other = 0 if roles[0] != KERNEL else 1
        moved = list(operands)
        moved[other] = merged(operands[other], axes[other] or 0, 0)
        return split(bind(*moved, members=None), count, 0), 0
    if members is None and geometry.groups == 1 and not batched.get(IMAGE, True):
        # All see the same images: their kernels are one kernel with more outputs.
        moved = [operands[0], merged(operands[1], axes[1] or 0, 3)]
        return split(bind(*moved, members=None), count, 3), 0
    full = [
        jnp.broadcast_to(array, (count, *array.shape))
        if axis is None
        else jnp.moveaxis(array, axis, 0)
        for array, axis in zip(operands, axes, strict=True)
    ]
    if members is None:
        return bind(*full, members=count), 0
    flat = [array.reshape(-1, *array.shape[2:]) for array in full]
    out = bind(*flat, members=count * members)
    return out.reshape(count, members, *out.shape[1:]), 0


batching.primitive_batchers[_form] = _batch


def _lowered(one: Any, *, turns: bool) -> Any:
    """The rule for a device: `one` for a lone member, in turns or side by side."""

    def several(
        left: Array,
        right: Array,
        *,
        wanted: int,
        geometry: Geometry,
        members: int | None,
    ) -> Array:
        function = functools.partial(one, wanted, geometry)
        if members is None:
            return function(left, right)
        if turns:
            return lax.map(lambda pair: function(*pair), (left, right))
        return jax.vmap(function)(left, right)

    return mlir.lower_fun(several, multiple_results=False)


mlir.register_lowering(_form, _lowered(portable, turns=False))
mlir.register_lowering(_form, _lowered(on_cpu, turns=True), platform="cpu")
