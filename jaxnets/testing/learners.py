"""The contract of a learner, and that of a population's members."""

import operator
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.learners.base import Learner
from jaxnets.learners.population import population
from jaxnets.metrics import Metrics
from jaxnets.once import once
from jaxnets.testing.comparing import close_but, finite, on_host, same, shapes
from jaxnets.types import Key


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
    leaves: list[Any] = []

    def begin(key: Key, hyper: Any, batch: Any) -> Any:
        state = learner.init(key, hyper, batch)
        leaves.extend(jax.tree.leaves(state))  # as returned: `jit` makes arrays of them
        return state

    init = once(begin)
    state = init(key, hyper, batch)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves), (
        "the state holds something that is not an array"
    )
    after, _ = jax.eval_shape(learner.step, state, batch)
    assert shapes(state) == shapes(after), "a step changes the state's shapes"
    _check_donation(learner, hyper, batch)

    traces = 0

    @jax.jit
    def step(state: Any, batch: Any) -> tuple[Any, Metrics]:
        nonlocal traces
        traces += 1  # runs once a compilation
        return learner.step(state, batch)

    one, first = step(state, batch)
    again, _ = jax.jit(lambda s, b: learner.step(s, b))(state, batch)  # traced anew
    assert same(one, again), "a step is not pure"
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
        assert finite(metrics), "a metric is not finite"

    def twice(state: Any, batch: Any) -> Any:
        return jax.lax.scan(lambda s, _: learner.step(s, batch), state, length=2)

    scanned, _ = jax.jit(twice)(state, batch)
    second, _ = step(one, batch)
    close_but(
        scanned, second, exceptions, "a scan of steps is not the steps", rtol, atol
    )

    check_members(learner, hyper, batch, exceptions=exceptions, rtol=rtol, atol=atol)


def check_members(
    learner: Learner,
    hyper: Any,
    batch: Any,
    *,
    steps: int = 1,
    further: int = 0,
    exceptions: Iterable[str] = (),
    rtol: float = 1e-4,
    atol: float = 1e-5,
    of_largest: float = 0.0,
) -> tuple[Any, list[Metrics]]:
    """Asserts that each of two members of a population does as it would alone.

    Sums in another order move the last bits, and a network moves them on: in float32
    the second step may differ visibly where the network is right. Let `learner.init`
    return float64, under `jax.enable_x64(True)`, to compare more steps; but a CPU has
    no fast convolutions in float64.

    Args:
        learner: What the members run; they differ in their keys, and the second has
            hyperparameters a tenth larger.
        hyper: A `NamedTuple` of numbers.
        batch: What both train on.
        steps: How often, before they are compared.
        further: Steps that the second member takes alone after that.
        exceptions: Parts of the paths of state leaves that are left out.
        rtol: Relative tolerance of the states after the compared steps.
        atol: Absolute tolerance.
        of_largest: Tolerance as a share of a leaf's largest number. Float32 moves the
            gradient of fifty layers with batch norm, three images each, by a hundredth.

    Returns:
        The second member's state when trained alone for `steps`, and the metrics of
        every step, the further ones as well.

    Raises:
        AssertionError: With the path of the leaf that differs.
    """
    pair, keys = population(learner), jax.random.split(jax.random.key(0), 2)
    hypers = jax.tree.map(lambda x: jnp.array([x, 1.1 * x], jnp.float32), hyper)
    start, many = once(pair.init), jax.jit(pair.step)
    members, _ = _run(many, start(keys, hypers, batch), batch, steps)
    members = on_host(members)  # to index there takes no program a shape
    init, step = once(learner.init), jax.jit(learner.step)
    alone, seen = members, []
    for number in (0, 1):
        hyper, member = jax.tree.map(operator.itemgetter(number), (hypers, members))
        alone, seen = _run(step, init(keys[number], hyper, batch), batch, steps)
        what = "a member is not its lone run"
        close_but(member, alone, exceptions, what, rtol, atol, of_largest)
    return alone, seen + _run(step, alone, batch, further)[1]


def _run(step: Any, state: Any, batch: Any, steps: int) -> tuple[Any, list[Metrics]]:
    seen = []
    for _ in range(steps):
        state, metrics = step(state, batch)
        seen.append(metrics)
    return state, seen


def _check_donation(learner: Learner, hyper: Any, batch: Any) -> None:
    mine = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
    state = learner.init(jax.random.key(0), mine, batch)
    jax.jit(learner.step, donate_argnums=0)(state, batch)
    gone = [
        x for x in jax.tree.leaves((mine, batch)) if getattr(x, "is_deleted", bool)()
    ]
    assert not gone, "the state shares memory with what the caller passed to init"
