"""The contract of a model."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict
from jaxtyping import Array

from jaxnets.models import functional
from jaxnets.once import once
from jaxnets.testing.comparing import close, finite, same, shapes
from jaxnets.types import Key, Variables


def check_model(
    model: nn.Module,
    *inputs: Array,
    variables: Variables | None = None,
    without_gradient: Iterable[str] = (),
    of_largest: float = 0.0,
) -> None:
    """Asserts that `model` is a pure function of its variables behind the seam.

    Initialisation is a function of the key. Prediction is deterministic, keeps its
    hands off the buffers and treats every row alone. Training changes no shape,
    returns buffers of the same structure, and gives every parameter a gradient. Every
    named feature is finite. A model with an attribute `dtype` computes in bfloat16 with
    float32 parameters. It works from NNX, see `check_bridge`.

    `jax.config.update("jax_disable_most_optimizations", True)` makes all of it faster
    where compiling takes longest.

    Args:
        model: A Flax Linen module.
        *inputs: A batch of two rows or more for it.
        variables: What to check with; None draws them, and checks the drawing. Hundreds
            of blocks with batch norm predict infinities before their statistics are
            measured.
        without_gradient: Ends of the paths of parameters that get none in mathematics:
            `"conv/bias"` before a norm.
        of_largest: Tolerance of a row alone and among others, as a share of the largest
            number; 152 layers move the fourth digit in float32.

    Raises:
        AssertionError: With the name of the broken promise.
    """
    key = jax.random.key(0)
    if variables is None:
        variables = _check_init(model, *inputs)

    @jax.jit
    def evaluated(variables: Variables, whole: Any, first: Any) -> Any:
        """All of it in one program, which takes less to compile than three."""
        output, one = (functional.predict(model, variables, *x) for x in (whole, first))
        return output, one, functional.features(model, variables, *whole)

    first = tuple(x[:1] for x in inputs)
    output, one, named = evaluated(variables, inputs, first)
    assert finite(output), "the prediction is not finite"
    again = evaluated(variables, inputs, first)
    assert same((output, one), again[:2]), "the prediction is not pure"
    close(
        jax.tree.map(lambda row: row[:1], output),
        one,
        "a row depends on the others",
        of_largest=of_largest,
    )
    assert named, "there is no named feature"
    assert finite(named), "a named feature is not finite"
    del named, again

    @jax.jit
    def train(variables: Variables, key: Key) -> Any:
        def loss(params: Any) -> Any:
            whole = variables._replace(params=params)
            trained = functional.forward(model, whole, key, *inputs)
            return _surface(trained[0]), trained

        return jax.grad(loss, has_aux=True)(variables.params)

    gradients, (trained, buffers) = train(variables, key)
    assert finite(trained), "the output in training is not finite"
    assert shapes(buffers) == shapes(variables.buffers), (
        "training changes the structure of the buffers"
    )
    assert same((gradients, trained, buffers), train(variables, key)), (
        "training is not pure"
    )
    check_gradients(gradients, without_gradient)
    if hasattr(model, "dtype"):
        _check_half(model, variables, output, *inputs)
    check_bridge(model, variables, *inputs)


def check_gradients(gradients: Any, without: Iterable[str] = ()) -> None:
    """Asserts that every parameter has a gradient: finite, and not zero everywhere.

    Args:
        gradients: A tree like the parameters.
        without: Ends of the paths that may be zero.

    Raises:
        AssertionError: With the path of the first that has none.
    """
    ends = tuple(without)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert finite(gradient), f"the gradient of {name} is not finite"
        if not name.endswith(ends or "\0"):
            assert np.any(np.asarray(gradient)), f"{name} gets no gradient"


def check_bridge(model: nn.Module, variables: Variables, *inputs: Array) -> None:
    """Asserts that `model` works from NNX, through `flax.nnx.bridge.ToNNX`.

    With the same numbers in the same places it predicts the same, and a call in
    training renews the buffers that the seam knows.

    Args:
        model: A Flax Linen module.
        variables: Its own.
        *inputs: A batch for it.

    Raises:
        AssertionError: With the name of the broken promise.
    """

    def wrapped() -> Any:
        bridge = nnx.bridge.ToNNX(model)
        bridge.lazy_init(*inputs, rngs=jax.random.key(0), train=False)
        return bridge

    try:
        graph, empty = nnx.split(nnx.eval_shape(wrapped))
    except ValueError as error:
        raise AssertionError(f"NNX refuses the variables: {error}") from error
    numbers: dict[Any, Any] = {}
    for tree in (variables.params, *variables.buffers.values()):
        numbers |= flatten_dict(tree)
    places = dict(nnx.to_flat_state(empty))
    assert {path: place.shape for path, place in places.items()} == {
        path: leaf.shape for path, leaf in numbers.items()
    }, "from NNX the variables are others"
    state = nnx.from_flat_state(
        [(path, place.replace(numbers[path])) for path, place in places.items()]
    )

    def predict(state: Any, *inputs: Array) -> Any:
        return nnx.merge(graph, state)(*inputs, train=False)

    def train(state: Any, *inputs: Array) -> Any:
        bridge = nnx.merge(graph, state)
        noise = nnx.Rngs(dropout=1)
        bridge(*inputs, train=True, mutable=[*variables.buffers], rngs=noise)
        return nnx.split(bridge)[1]

    ours, theirs = jax.jit(
        lambda s, v: (functional.predict(model, v, *inputs), predict(s, *inputs))
    )(state, variables)
    close(theirs, ours, "from NNX the prediction is another")
    assert shapes(jax.eval_shape(train, state, *inputs)) == shapes(state), (
        "from NNX training changes the structure of the buffers"
    )


def _check_init(model: nn.Module, *inputs: Array) -> Variables:
    key, other = jax.random.split(jax.random.key(0))
    init = once(lambda key: functional.init(model, key, *inputs))
    variables = init(key)
    assert same(variables, init(key)), "initialisation is not a function of the key"
    params = jax.tree.leaves(variables.params)
    moved = jax.tree.leaves(init(other).params)
    if params:
        pairs = zip(params, moved, strict=True)
        assert not all(bool(jnp.all(a == b)) for a, b in pairs), (
            "initialisation does not depend on the key"
        )
    return variables


def _check_half(
    model: nn.Module, variables: Variables, exact: Any, *inputs: Array
) -> None:
    half = model.clone(dtype=jnp.bfloat16)
    template = jax.eval_shape(
        lambda k: functional.init(half, k, *inputs), jax.random.key(0)
    )
    assert shapes(template) == shapes(variables), (
        "in bfloat16 the variables are not the same float32 ones"
    )
    rough = jax.jit(lambda v, *x: functional.predict(half, v, *x))(variables, *inputs)
    assert finite(rough), "in bfloat16 the prediction is not finite"
    assert not same(rough, exact), "bfloat16 changes nothing"


def _surface(tree: Any) -> Any:
    """A number that every element of the outputs matters to."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return sum(jnp.sum(jnp.sin(leaf.astype(jnp.float32) + 1)) for leaf in leaves)
