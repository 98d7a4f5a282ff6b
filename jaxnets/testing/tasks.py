"""The contract of a task."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.metrics import Mean, Metrics
from jaxnets.once import once
from jaxnets.tasks.base import Task
from jaxnets.testing.comparing import close, finite, same, shapes
from jaxnets.types import Variables


def check_task(task: Task, hyper: Any, batch: Any) -> None:
    """Asserts what learners rely on in a task.

    The loss is a finite scalar with a finite gradient for every parameter, and its
    metrics hold the same number as `loss`, and every metric that `trivial` names. The
    loss reads no field of `hyper` that `reads` leaves out. Evaluation is a function of
    its arguments; padding, whatever stands in it, counts nowhere; parts merge to the
    whole.

    Args:
        task: What to check.
        hyper: A `NamedTuple` of hyperparameters.
        batch: Four real rows or more, without padding.

    Raises:
        AssertionError: With the name of the broken promise.
    """
    key = jax.random.key(0)
    variables = once(task.init)(key, batch)
    hyper, seen = recording(hyper)

    def loss(params: Any) -> Any:
        return task.loss(Variables(params, variables.buffers), batch, key, hyper)

    graded = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (buffers, metrics)), grads = graded(variables.params)
    assert value.shape == (), "the loss is not a scalar"
    assert finite((value, grads)), "the loss or its gradient is not finite"
    assert "loss" in metrics, "the metrics do not hold the loss"
    close(metrics["loss"].compute(), value, "the metric `loss` is not the loss")
    assert shapes(buffers) == shapes(variables.buffers), "the buffers change shape"
    undeclared = sorted(seen - {*task.reads.required, *task.reads.optional})
    assert not undeclared, f"the loss reads {undeclared}, which `reads` leaves out"
    unknown = [t.metric for t in task.trivial if t.metric not in metrics]
    assert not unknown, f"`trivial` names {unknown}, which are no metrics of the loss"

    evaluate = jax.jit(task.evaluate)
    whole = evaluate(variables, batch, key)
    assert same(whole, evaluate(variables, batch, key)), "evaluation is not pure"
    assert all(isinstance(value, Mean) for value in whole.values()), (
        "evaluation returns something that does not add up"
    )
    count = len(batch.mask)
    half = count // 2
    parts = [jax.tree.map(lambda x: x[:half], batch)]
    parts += [jax.tree.map(lambda x: x[half:], batch)]
    first, second = (evaluate(variables, part, key) for part in parts)
    merged = {name: first[name].merge(second[name]) for name in first}
    close(_computed(merged), _computed(whole), "parts do not merge to the whole")
    spoilt = jax.tree.map(lambda x: x.at[half:].set(_rubbish(x)), batch)
    padded = spoilt._replace(mask=jnp.arange(count) < half)
    close(
        _computed(evaluate(variables, padded, key)),
        _computed(first),
        "padding counts in the metrics",
    )
    for leaf in jax.tree.leaves(task.predict(variables, batch, key)):
        assert leaf.shape[0] == count, "a prediction has not one row an example"


def recording(hyper: Any) -> tuple[Any, set[str]]:
    """Returns a copy of `hyper`, and the set of its fields that were read so far.

    Args:
        hyper: A `NamedTuple` of hyperparameters.
    """
    seen: set[str] = set()
    kind: Any = type(hyper)

    class Recording(kind):
        def __getattribute__(self, name: str) -> Any:
            if name in kind._fields:
                seen.add(name)
            return super().__getattribute__(name)

    return Recording(*hyper), seen


def _computed(metrics: Metrics) -> dict[str, Any]:
    return {name: value.compute() for name, value in metrics.items()}


def _rubbish(leaf: Any) -> Any:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.array(jnp.nan if floating else 0, leaf.dtype)
