"""The loop: fetch, step, hand control back now and then.

A generator, so that logging, evaluation, early stopping and checkpoints are the
caller's plain lines, in reading order, and not callbacks.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxnets.data.feeds.base import Feed
from jaxnets.errors import UserError
from jaxnets.learners.base import Learner
from jaxnets.metrics import Mean, Metrics, merge, merged, to_host
from jaxnets.run import mesh as on

# Dispatches in flight: enough to keep a device busy while the host looks at the metrics
# of an earlier step, few enough that a non-finite step is noticed at once.
_AHEAD = 2


class NonFiniteError(UserError, FloatingPointError):
    """A loss, gradient or other metric stopped being a finite number.

    Attributes:
        step: The first step that it happened in, counted from 0.
        names: Which metrics.
        batch: What the step was given, as NumPy arrays.
    """

    def __init__(self, step: int, names: list[str], batch: Any) -> None:
        """Says which step and which metrics."""
        super().__init__(f"step {step}: {', '.join(names)} is not finite")
        self.step, self.names, self.batch = step, names, batch


@dataclasses.dataclass
class Pause:
    """A moment between two steps.

    Attributes:
        step: Steps taken so far.
        state: After them. The next step donates it to the device: copy it to keep it,
            assign to it to go on from another one.
        metrics: Merged over the steps since the last full interval, on the host.
        due: Whether an interval is full; False where `watch` asked for the pause.
    """

    step: int
    state: Any
    metrics: Metrics
    due: bool


class Program(NamedTuple):
    """The training step of a learner on a feed, compiled at its first call.

    Both functions take a state, which they donate, the feed's columns, and what
    `Feed.fetch` returned. They return the next state and the metrics.

    Attributes:
        one: One step in a call of the device.
        many: A scan over steps; fetched arrays and metrics have them as first axis.
    """

    one: Callable[..., tuple[Any, Metrics]]
    many: Callable[..., tuple[Any, Metrics]]


def train(
    learner: Learner,
    state: Any,
    feed: Feed,
    *,
    steps: int,
    every: int,
    start: int = 0,
    metrics: Metrics | None = None,
    steps_per_call: int = 1,
    mesh: Mesh | None = None,
    watch: Callable[[int], bool] = lambda step: False,
) -> Iterator[Pause]:
    """Steps through a feed, pausing after each `every` steps and at the end.

    Metrics are added up on the host in double precision, step by step, whatever
    `steps_per_call`, so that an interrupted interval goes on where it was left.

    Args:
        learner: What improves the state.
        state: Where to start; donated to the device.
        feed: Batches as a function of the step.
        steps: How many there are in all, counted from 0.
        every: Steps between two pauses.
        start: Steps already taken.
        metrics: Of the interval that `start` lies in, where it was interrupted.
        steps_per_call: Steps in one dispatch, as a `scan`; `jaxnets.run.pace` measures
            what pays. On a CPU leave it at 1 for convolutions that are not
            `jaxnets.ops.conv`: XLA's own gradient of a kernel is 30 to 90 times slower
            inside a loop than outside it.
        mesh: The devices to split every batch over; None for the default device.
        watch: Called before every dispatch with the steps taken; True makes a pause
            that is not due, to save or to stop at.

    Yields:
        A pause each time; the last one has `step == steps`.

    Raises:
        NonFiniteError: In the first step whose metrics hold a NaN or an infinity. The
            states before it were fine; none from after it is ever yielded.
        RunError: If the batch does not split over the devices. A batch of all examples
            may: every device then computes the whole of it.
    """
    program = compiled(learner, feed, mesh)
    if mesh is not None:
        whole = feed.batch_size == feed.examples  # cannot be rounded: see `_split`
        if not whole:
            on.check_batch(mesh, feed.batch_size)
        state = on.place_state(mesh, state)
    columns = placed(feed, mesh)
    flying: collections.deque[tuple[int, int, Metrics]] = collections.deque()
    step, gathered = start, metrics

    def drain(left: int) -> None:
        nonlocal gathered
        while len(flying) > left:
            first, count, values = flying.popleft()
            for index, one in enumerate(_unstacked(values, count)):
                if names := [
                    n for n, m in one.items() if not np.isfinite(m.total).all()
                ]:
                    batch = jax.device_get(feed(first + index))
                    raise NonFiniteError(first + index, names, batch)
                gathered = one if gathered is None else merge(gathered, one)

    while step < steps:
        if watch(step):
            drain(0)
            pause = Pause(step, state, gathered or {}, due=False)
            yield pause
            state = pause.state
        room = min(every - step % every, steps - step)
        count = steps_per_call if 1 < steps_per_call <= room else 1
        fetched = [feed.fetch(step + index) for index in range(count)]
        rows = fetched[0] if count == 1 else jax.tree.map(_stacked, *fetched)
        if mesh is not None:
            rows = _split(mesh, rows, feed.batch_size, axis=int(count > 1))
        run = program.one if count == 1 else program.many
        state, values = run(state, columns, rows)
        flying.append((step, count, values))
        step += count
        full = step % every == 0 or step == steps
        drain(0 if full else _AHEAD)
        if full:
            pause = Pause(step, state, gathered or {}, due=True)
            gathered = None
            yield pause
            state = pause.state


def trained(
    learner: Learner,
    state: Any,
    feed: Feed,
    *,
    steps: int,
    start: int = 0,
    steps_per_call: int = 1,
) -> Any:
    """The state after `steps`, trained without a pause; see `train`.

    Args:
        learner: What improves the state.
        state: Before step `start`; donated to the device.
        feed: Batches as a function of the step.
        steps: Steps in all, from 0.
        start: Steps already taken.
        steps_per_call: Steps in one dispatch.

    Raises:
        NonFiniteError: As `train`.
    """
    for pause in train(
        learner,
        state,
        feed,
        steps=steps,
        every=steps,
        start=start,
        steps_per_call=steps_per_call,
    ):
        state = pause.state
    return state


def evaluate(
    learner: Learner, state: Any, feed: Feed, *, mesh: Mesh | None = None
) -> Metrics:
    """The metrics of one pass over a feed, merged on the host; the state is kept.

    Batch i is given `fold_in(jax.random.key(0), i)`: the same pass gives the same
    numbers.
    """
    return merged(_pass(_judge(learner.evaluate, feed.prepare), state, feed, mesh))


def predict(
    learner: Learner, state: Any, feed: Feed, *, mesh: Mesh | None = None
) -> Any:
    """The predictions for one pass over a feed, in its order, without padding.

    Returns:
        NumPy arrays, one row an example on every leaf.
    """
    parts = _pass(_judge(learner.predict, feed.prepare), state, feed, mesh)
    hosted = [jax.device_get(part) for part in parts]
    count = feed.examples
    return jax.tree.map(lambda *rows: np.concatenate(rows)[:count], *hosted)


def program_text(learner: Learner, state: Any, feed: Feed) -> str:
    """The training step as XLA is given it: another text is another computation."""
    described = jax.tree.map(_described, (state, dict(feed.columns), feed.fetch(0)))
    return compiled(learner, feed, None).one.lower(*described).as_text()  # type: ignore


def compiled(learner: Learner, feed: Feed, mesh: Mesh | None) -> Program:
    """Returns the training step of a learner on a feed; equal arguments share one."""
    return _compiled(learner, feed.prepare, mesh)


def placed(feed: Feed, mesh: Mesh | None) -> Any:
    """The feed's columns on the device, or on every device of the mesh."""
    if mesh is not None:
        return on.everywhere(mesh, dict(feed.columns))
    return jax.device_put(dict(feed.columns))


@functools.lru_cache(maxsize=16)
def _compiled(learner: Learner, prepare: Any, mesh: Mesh | None) -> Program:
    def one(state: Any, columns: Any, fetched: Any) -> tuple[Any, Metrics]:
        return learner.step(state, prepare(columns, fetched))

    def many(state: Any, columns: Any, fetched: Any) -> tuple[Any, Metrics]:
        return jax.lax.scan(lambda s, f: one(s, columns, f), state, fetched)

    # On a mesh the outputs are pinned, or XLA might leave a state split.
    where: dict[str, Any] = {}
    if mesh is not None:
        # The metrics of many steps have the steps in front, and are a few numbers.
        where = {"out_shardings": (on.state_sharding(mesh), on.replicated(mesh))}
    return Program(
        jax.jit(one, donate_argnums=0, **where),
        jax.jit(many, donate_argnums=0, **where),
    )


@functools.lru_cache(maxsize=16)
def _judge(function: Any, prepare: Any) -> Any:
    def judge(state: Any, columns: Any, fetched: Any, key: Any) -> Any:
        return function(state, prepare(columns, fetched), key)

    return jax.jit(judge)


def _pass(judge: Any, state: Any, feed: Feed, mesh: Mesh | None) -> Iterator[Any]:
    columns, key = placed(feed, mesh), jax.random.key(0)
    for index in range(feed.length):
        rows: Any = feed.fetch(index)
        if mesh is not None:
            rows = _split(mesh, rows, feed.batch_size)
        yield judge(state, columns, rows, jax.random.fold_in(key, index))


def _split(mesh: Mesh, rows: Any, batch_size: int, *, axis: int = 0) -> Any:
    """Splits a batch over the devices; one that does not split goes whole to each."""
    if batch_size % mesh.size:
        return on.everywhere(mesh, rows)
    return on.split_rows(mesh, rows, axis=axis)


def _unstacked(values: Metrics, count: int) -> Iterator[Metrics]:
    hosted = to_host(values)
    if count == 1:
        yield hosted
        return
    for index in range(count):
        yield {n: Mean(m.total[index], m.weight[index]) for n, m in hosted.items()}


def _stacked(*rows: Any) -> np.ndarray:
    return np.stack(rows)


def _described(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)
