"""The contracts that models, tasks and learners keep. Call them on your own.

Each raises `AssertionError` with the name of the broken promise. The loop, the sweeps
and the checkpoints rely on every one of them.
"""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxnets.learners.base import Learner
from jaxnets.learners.population import population
from jaxnets.metrics import Mean, Metrics
from jaxnets.models import functional
from jaxnets.tasks.base import Task
from jaxnets.types import Variables


def check_model(model: nn.Module, *inputs: Array) -> None:
    """Asserts that `model` is a pure function of its variables behind the seam.

    Initialisation is a function of the key. Prediction is deterministic, keeps its
    hands off the buffers and treats every row alone. Training changes no shape and
    returns buffers of the same structure. Every named feature is finite.

    Args:
        model: A Flax Linen module.
        *inputs: A batch of two rows or more for it.

    Raises:
        AssertionError: With the name of the broken promise.
    """
    key, other = jax.random.split(jax.random.key(0))
    init = jax.jit(lambda key: functional.init(model, key, *inputs))
    variables = init(key)
    assert _same(variables, init(key)), "initialisation is not a function of the key"
    params = jax.tree.leaves(variables.params)
    moved = jax.tree.leaves(init(other).params)
    if params:
        pairs = zip(params, moved, strict=True)
        assert not all(bool(jnp.all(a == b)) for a, b in pairs), (
            "initialisation does not depend on the key"
        )
    predict = jax.jit(lambda v, *x: functional.predict(model, v, *x))
    output = predict(variables, *inputs)
    assert _finite(output), "the prediction is not finite"
    assert _same(output, predict(variables, *inputs)), "the prediction is not pure"
    one = predict(variables, *(x[:1] for x in inputs))
    _close(
        jax.tree.map(lambda row: row[:1], output), one, "a row depends on the others"
    )
    train = jax.jit(lambda v, key: functional.forward(model, v, key, *inputs))
    trained, buffers = train(variables, key)
    assert _finite(trained), "the output in training is not finite"
    assert _shapes(buffers) == _shapes(variables.buffers), (
        "training changes the structure of the buffers"
    )
    assert _same((trained, buffers), train(variables, key)), "training is not pure"
    named = jax.jit(lambda v: functional.features(model, v, *inputs))(variables)
    assert named, "there is no named feature"
    assert _finite(named), "a named feature is not finite"


def check_task(task: Task, hyper: Any, batch: Any) -> None:
    """Asserts what learners rely on in a task.

    The loss is a finite scalar with a finite gradient for every parameter, and its
    metrics hold the same number as `loss`. Evaluation is a function of its arguments;
    padding, whatever stands in it, counts nowhere; parts merge to the whole.

    Args:
        task: What to check.
        hyper: Its hyperparameters.
        batch: Four real rows or more, without padding.

    Raises:
        AssertionError: With the name of the broken promise.
    """
    key = jax.random.key(0)
    variables = jax.jit(task.init)(key, batch)

    def loss(params: Any) -> Any:
        return task.loss(Variables(params, variables.buffers), batch, key, hyper)

    graded = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, (buffers, metrics)), grads = graded(variables.params)
    assert value.shape == (), "the loss is not a scalar"
    assert _finite((value, grads)), "the loss or its gradient is not finite"
    assert "loss" in metrics, "the metrics do not hold the loss"
    _close(metrics["loss"].compute(), value, "the metric `loss` is not the loss")
    assert _shapes(buffers) == _shapes(variables.buffers), "the buffers change shape"

    evaluate = jax.jit(task.evaluate)
    whole = evaluate(variables, batch, key)
    assert _same(whole, evaluate(variables, batch, key)), "evaluation is not pure"
    assert all(isinstance(value, Mean) for value in whole.values()), (
        "evaluation returns something that does not add up"
    )
    count = len(batch.mask)
    half = count // 2
    parts = [jax.tree.map(lambda x: x[:half], batch)]
    parts += [jax.tree.map(lambda x: x[half:], batch)]
    first, second = (evaluate(variables, part, key) for part in parts)
    merged = {name: first[name].merge(second[name]) for name in first}
    _close(_computed(merged), _computed(whole), "parts do not merge to the whole")
    spoilt = jax.tree.map(lambda x: x.at[half:].set(_rubbish(x)), batch)
    padded = spoilt._replace(mask=jnp.arange(count) < half)
    _close(
        _computed(evaluate(variables, padded, key)),
        _computed(first),
        "padding counts in the metrics",
    )
    for leaf in jax.tree.leaves(task.predict(variables, batch, key)):
        assert leaf.shape[0] == count, "a prediction has not one row an example"


def check_learner(
    learner: Learner,
    hyper: Any,
    batch: Any,
    *,
    steps: int = 20,
    lowers: str | None = "loss",
    exceptions: Iterable[str] = (),
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Asserts what the loop, the sweeps and the checkpoints rely on.

    The state holds arrays only and keeps its shapes and dtypes. It shares no memory
    with the caller's hyperparameters. A step is pure, compiles once whatever the
    hyperparameters, and lowers the loss on one repeated batch. A `scan` of steps is the
    steps one by one. A member of a population does as it would alone.

    Args:
        learner: What to check.
        hyper: A `NamedTuple` of numbers that it trains well with.
        batch: What it trains on, without padding.
        steps: How often the batch is repeated.
        lowers: The metric that must fall; None for learners that lower none.
        exceptions: Parts of the paths of state leaves that are left out where a
            population or a scan is compared: parameters whose gradient is zero in
            mathematics.
        rtol: Relative tolerance of those comparisons.
        atol: Absolute tolerance.

    Raises:
        AssertionError: With the name of the broken promise.
    """
    key = jax.random.key(0)
    leaves = jax.tree.leaves(learner.init(key, hyper, batch))
    assert all(isinstance(leaf, jax.Array) for leaf in leaves), (
        "the state holds something that is not an array"
    )
    init = jax.jit(learner.init)
    state = init(key, hyper, batch)
    after, _ = jax.eval_shape(learner.step, state, batch)
    assert _shapes(state) == _shapes(after), "a step changes the state's shapes"
    _check_donation(learner, hyper, batch)

    traces = 0

    @jax.jit
    def step(state: Any, batch: Any) -> tuple[Any, Metrics]:
        nonlocal traces
        traces += 1  # runs once a compilation
        return learner.step(state, batch)

    once, first = step(state, batch)
    again, _ = jax.jit(lambda s, b: learner.step(s, b))(state, batch)  # traced anew
    assert _same(once, again), "a step is not pure"
    step(init(key, jax.tree.map(lambda x: x * 1.1, hyper), batch), batch)
    assert traces == 1, "new hyperparameters recompile the step"

    last, trained = first, state
    for _ in range(steps):
        trained, last = step(trained, batch)
    if lowers is not None:
        assert last[lowers].compute() < first[lowers].compute(), (
            "one batch is not learned"
        )
    for metrics in (first, jax.jit(learner.evaluate)(trained, batch, key)):
        assert _finite(metrics), "a metric is not finite"

    def twice(state: Any, batch: Any) -> Any:
        return jax.lax.scan(lambda s, _: learner.step(s, batch), state, length=2)

    scanned, _ = jax.jit(twice)(state, batch)
    second, _ = step(once, batch)
    _close_but(
        scanned, second, exceptions, "a scan of steps is not the steps", rtol, atol
    )

    keys = jax.random.split(key, 2)
    pair = population(learner)
    pair_hyper = jax.tree.map(lambda x: jnp.full(2, x, jnp.float32), hyper)
    members, _ = jax.jit(pair.step)(jax.jit(pair.init)(keys, pair_hyper, batch), batch)
    alone, _ = step(init(keys[1], hyper, batch), batch)
    member = jax.tree.map(lambda x: x[1], members)
    _close_but(member, alone, exceptions, "a member is not its lone run", rtol, atol)


def _check_donation(learner: Learner, hyper: Any, batch: Any) -> None:
    mine = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
    state = learner.init(jax.random.key(0), mine, batch)
    jax.jit(learner.step, donate_argnums=0)(state, batch)
    gone = [
        x for x in jax.tree.leaves((mine, batch)) if getattr(x, "is_deleted", bool)()
    ]
    assert not gone, "the state shares memory with what the caller passed to init"


def _close_but(
    left: Any,
    right: Any,
    exceptions: Iterable[str],
    what: str,
    rtol: float,
    atol: float,
) -> None:
    skipped = tuple(exceptions)
    ours = jax.tree_util.tree_leaves_with_path(left)
    theirs = jax.tree_util.tree_leaves_with_path(right)
    for (path, mine), (_, other) in zip(ours, theirs, strict=True):
        name = jax.tree_util.keystr(path)
        if not any(part in name for part in skipped):
            _close(mine, other, f"{what}: {name}", rtol, atol)


def _close(
    left: Any, right: Any, what: str, rtol: float = 1e-4, atol: float = 1e-5
) -> None:
    for a, b in zip(_numbers(left), _numbers(right), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=what)


def _computed(metrics: Metrics) -> dict[str, Any]:
    return {name: value.compute() for name, value in metrics.items()}


def _rubbish(leaf: Any) -> Any:
    floating = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.array(jnp.nan if floating else 0, leaf.dtype)


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: (x.shape, str(x.dtype)), tree)


def _numbers(tree: Any) -> list[np.ndarray]:
    def raw(leaf: Any) -> Any:
        is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )
        return jax.random.key_data(leaf) if is_key else leaf

    return [np.asarray(raw(leaf)) for leaf in jax.tree.leaves(tree)]


def _same(left: Any, right: Any) -> bool:
    pairs = zip(_numbers(left), _numbers(right), strict=True)
    return all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in pairs)


def _finite(tree: Any) -> bool:
    return all(np.isfinite(x).all() for x in _numbers(tree) if x.dtype.kind == "f")
