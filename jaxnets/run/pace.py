"""How many steps make one call of the device: measured once, written down, kept to.

Several steps in one program, a `scan`, spare the host's work between them. That pays
where steps are short, and not on every machine. Sums may come out in another order
there, so that a timing would decide the bits of a run: what was measured is kept for
the program and the machine, and a run keeps to what it began with.
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxnets import files
from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.run import compilation, loop, restoring
from jaxnets.run.folder import Folder, RunError

MANY = 10  # steps in a call; more of them spare little more
FEW = 1000  # steps; a shorter run is over before it has gained anything
_SHORT = 0.03  # seconds; what a longer step could gain is not worth a try
_TELLS = 0.3  # seconds; so long a step is timed but once, and well enough
_PAYS = 0.25  # the largest share of its time that a run is expected to save
_GAIN = 0.05  # the least share of a step's time that is worth another program
_ROUNDS, _ROUND = 3, 0.2  # how often each is timed, and for how many seconds
_LARGE = 2**28  # bytes of a state that is not copied for a timing


def agreed(
    output: Folder,
    asked: int | None,
    learner: Learner,
    state: Any,
    feed: Feed,
    *,
    step: int,
    steps: int,
    mesh: Mesh | None,
    say: Callable[[str], None],
) -> int:
    """Steps in a call: those that the run began with, asked for, or measured.

    Args:
        output: The run folder; its config.json remembers the answer.
        asked: What is asked for; None: no matter.
        learner: What improves the state.
        state: Where the training starts; it is copied.
        feed: What it trains on.
        step: Steps taken so far.
        steps: Of the whole run.
        mesh: The devices to split every batch over.
        say: Where the answer is said, if it is more than 1.

    Raises:
        RunError: If the run began with another number than is asked for.
    """
    found = output.settings.get("pace")
    if found is None:
        each, why = asked, "as asked for"
        if each is None and step:
            each, why = 1, "as it began"  # before there was a choice
        if each is None:
            program = output.settings["began"]["program"]
            each, why = chosen(
                learner, state, feed, program=program, steps=steps, mesh=mesh
            )
        found = {"steps_per_call": each, "why": why}
        output.update(pace=found)
    each = found["steps_per_call"]
    if asked not in (None, each):
        raise RunError(f"{output.path} began with {each} steps a call, not {asked}")
    if each > 1:
        say(f"{each} steps a call: {found['why']}")
    return each


def chosen(
    learner: Learner,
    state: Any,
    feed: Feed,
    *,
    program: str,
    steps: int,
    mesh: Mesh | None = None,
) -> tuple[int, str]:
    """Steps in a call, and in words why.

    What is measured costs two steps where they are long, and a second or two where they
    are short and the run is long.

    Args:
        learner: What improves the state.
        state: Where the training starts; it is copied.
        feed: What it trains on.
        program: The digest of the training step.
        steps: Of the whole run.
        mesh: The devices to split every batch over.
    """
    if steps < FEW:
        return 1, f"fewer than {FEW:,} steps"
    if sum(leaf.nbytes for leaf in jax.tree.leaves(state)) > _LARGE:
        return 1, f"the state is larger than {_LARGE >> 20} MiB"
    path = files.cache_root() / "pace" / f"{_machine(program)}.json"
    measured, timer = _read(path), _Timer(learner, state, feed, mesh)
    try:
        if not measured:
            measured = timer.one()
            _write(path, measured)
        step = measured["step"]  # and not "1" of later: a note that grows decides alike
        if step > _SHORT:
            return 1, f"a step takes {_ms(step)}"
        if _PAYS * step * steps < measured["compiling"]:
            return 1, f"{steps:,} of {_ms(step)} end before another program pays"
        if str(MANY) not in measured:
            measured |= timer.both()
            _write(path, measured)
    except loop.NonFiniteError:
        return 1, "a step is not finite"
    one, many = measured["1"], measured[str(MANY)]
    why = f"{_ms(one)} a step, {_ms(many)} in calls of {MANY}"
    return (MANY if many < (1 - _GAIN) * one else 1), why


class _Timer:
    """Seconds of a step, host and all, on a copy of a state."""

    def __init__(
        self, learner: Learner, state: Any, feed: Feed, mesh: Mesh | None
    ) -> None:
        self._state: Any = None
        self._given = learner, state, feed, mesh

    def one(self) -> dict[str, float]:
        """Of a step by itself; and to compile it, were it in no cache."""
        seconds, saved = compilation.compile_seconds(), compilation.saved_seconds()
        self._seconds(1, 1)
        compiling = compilation.compile_seconds() - seconds
        compiling += max(compilation.saved_seconds() - saved, 0.0)
        best = self._seconds(1, 1)
        if best < _TELLS:
            best = min(self._seconds(1, 3) for _ in range(_ROUNDS))
        return {"step": best, "compiling": compiling}

    def both(self) -> dict[str, float]:
        """Of a step by itself and of one of many, the best of some rounds in turn."""
        best: dict[str, float] = {}
        for each in (1, MANY):
            self._seconds(each, each)  # compiles
        count = MANY * max(round(_ROUND / self._seconds(1, MANY) / MANY), 1)
        for _ in range(_ROUNDS):
            for each in (1, MANY):
                best[str(each)] = min(
                    self._seconds(each, count), best.get(str(each), float("inf"))
                )
        return best

    def _seconds(self, each: int, count: int) -> float:
        learner, state, feed, mesh = self._given
        if self._state is None:
            self._state = restoring.on_device(state)
            # Large columns take longer to copy than a step does.
            feed = dataclasses.replace(feed, columns=loop.placed(feed, mesh))
            self._given = learner, state, feed, mesh
        begun = time.perf_counter()
        for pause in loop.train(
            learner,
            self._state,
            feed,
            steps=count,
            every=count,
            steps_per_call=each,
            mesh=mesh,
        ):
            self._state = pause.state
        return (time.perf_counter() - begun) / count


def _machine(program: str) -> str:
    device = jax.devices()[0]
    where = [program, jax.__version__, device.device_kind, len(jax.devices())]
    if device.platform == "cpu":
        some = hasattr(os, "sched_getaffinity")  # of the processors, as taskset says
        where.append(len(os.sched_getaffinity(0)) if some else os.cpu_count())
    return hashlib.sha256(repr(where).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, float]:
    try:
        found = files.read_json(path)
        found = {name: float(value) for name, value in found.items()}
        return found if {"step", "compiling"} <= found.keys() else {}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _write(path: Path, measured: dict[str, float]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, files.dump_json(measured) + "\n")
    except OSError:
        pass  # it is measured again next time


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms"
