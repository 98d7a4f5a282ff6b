"""How a group's populations are run: measured once, written down, and then kept to.

A timing must not decide the bits of a sweep that goes on after a kill, so what is found
here is the outcome of a unit of work like any other: no step is taken before it is
stored, and it is never measured twice.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxnets.run import loop
from jaxnets.sweeps import members
from jaxnets.sweeps.groups import MODES, Group
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.populations import Row

# Two members show what a third would cost; a probe takes so many seconds of steps.
_PROBED, _SECONDS, _STEPS = 2, 1.0, 10
_SHARE = 0.8  # of the device's memory that a population may take


class ObjectiveError(ValueError):
    """There is no metric of this name; the message lists those that there are."""


def settled(
    definition: Definition, group: Group, say: Callable[[str], None]
) -> dict[str, Any]:
    """Length of the runs, the way their members are run, and how many fit.

    Args:
        definition: The sweep.
        group: One of its groups.
        say: Where to tell what was chosen and why.

    Raises:
        ObjectiveError: If the validation metrics lack an objective.
    """
    plan = group.plan
    _check_objectives(definition, group)
    one = _Measured(group, "separate", 1)
    available = memory(definition.memory)
    capacity = max(int(available * _SHARE - one.shared) // max(one.bytes, 1), 1)
    rows = min(definition.members * definition.replicas, capacity)
    mode, why = definition.mode, "as asked for"
    seconds: dict[str, float] = {}
    if mode == "auto" and len(jax.devices()) > 1:
        mode, why = "vmap", f"members are split over {len(jax.devices())} devices"
    elif mode == "auto" and rows == 1:
        mode, why = "separate", "there is one member"
    elif mode == "auto":
        seconds = _estimates(group, one, rows, plan.steps)
        mode = min(seconds, key=lambda m: (seconds[m], MODES.index(m)))
        why = "seconds expected: " + ", ".join(
            f"{name} {value:.3g}" for name, value in seconds.items()
        )
    settings = max(capacity // definition.replicas, 1)
    wave = min(settings, definition.members)
    say(
        f"{group.label}: members run as {mode} ({why}); {one.bytes / 2**20:.1f} MiB a "
        f"member, {available / 2**30:.1f} GiB there"
        + (f": {wave} settings at a time" if wave < definition.members else "")
    )
    return {
        "steps": plan.steps,
        "every": plan.every,
        "mode": mode,
        "why": why,
        "seconds": seconds,
        "device": jax.devices()[0].device_kind,
        "devices": len(jax.devices()),
        "bytes": one.bytes,
        "capacity": settings,
    }


def memory(limit: float | None) -> int:
    """Bytes that there are for a population: of the device, or of the machine.

    Args:
        limit: GiB, instead of what is found.
    """
    if limit is not None:
        return int(limit * 2**30)
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return len(jax.devices()) * (
            stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        )
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _check_objectives(definition: Definition, group: Group) -> None:
    learner, feed = group.learner(), group.validation
    state = _states(group, 1)[0]
    key = jax.random.key(0)
    found = jax.eval_shape(learner.evaluate, state, feed.prepared, key)
    alone = {name for name, metric in found.items() if metric.total.shape == ()}
    for name in definition.objectives:
        if name not in alone:
            raise ObjectiveError(
                f"the validation split has no metric {name}; --objective takes one of "
                f"{', '.join(sorted(alone))}"
            )


def _estimates(
    group: Group, one: "_Measured", rows: int, steps: int
) -> dict[str, float]:
    """Seconds that all members would take in each way, compilation among them."""
    found = {"separate": one.compiling + steps * rows * one.step}
    for mode in MODES[:-1]:
        few = _Measured(group, mode, _PROBED)
        # An unrolled program grows with its members, and so does its compilation.
        grows = rows / _PROBED if mode == "unrolled" else 1.0
        found[mode] = few.compiling * grows + steps * few.step * rows / _PROBED
    return found


class _Measured:
    """One step of a small population: seconds to compile, to run, and its memory.

    Attributes:
        compiling: Seconds.
        step: Seconds.
        bytes: That a member takes.
        shared: That the data takes.
    """

    def __init__(self, group: Group, mode: str, count: int) -> None:
        learner = group.learner((), mode)
        feed = group.feed(group.data_seed)
        states = _states(group, count)
        state = states[0] if mode == "separate" else members.stacked(states)
        columns = loop.placed(feed, None)
        program = loop.compiled(learner, feed, None).one
        begun = time.perf_counter()
        compiled = program.lower(state, columns, feed.fetch(0)).compile()  # type: ignore[attr-defined]
        self.compiling = time.perf_counter() - begun
        self.shared = sum(leaf.nbytes for leaf in jax.tree.leaves(columns))
        self.bytes = _bytes(compiled, state, self.shared) // count
        state, _ = compiled(state, columns, feed.fetch(0))  # the first touches memory
        jax.block_until_ready(state)
        begun, taken = time.perf_counter(), 0
        while taken < _STEPS and time.perf_counter() - begun < _SECONDS:
            state, _ = compiled(state, columns, feed.fetch(taken))
            jax.block_until_ready(state)
            taken += 1
        self.step = (time.perf_counter() - begun) / taken


def _states(group: Group, count: int) -> list[members.Member]:
    init = jax.jit(group.learner().init)
    feed = group.feed(group.data_seed)
    values = {name: own.nonzero() for name, own in group.space.items()}
    row = Row(values, group.config.seed, group.data_seed)
    key = jax.random.key(row.seed)
    return [init(key, group.hyper(row.values), feed(0)) for _ in range(count)]


def _bytes(compiled: Any, state: Any, shared: int) -> int:
    """What the program takes, by XLA's own account, without the data."""
    size = sum(
        int(np.prod(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(state)
    )
    found = compiled.memory_analysis()
    if found is None:
        return 3 * size  # the state, its successor and the gradients
    return (
        found.temp_size_in_bytes
        + found.argument_size_in_bytes
        + found.output_size_in_bytes
        - found.alias_size_in_bytes
        - min(shared, found.argument_size_in_bytes - size)
    )


def shown(settled: Mapping[str, Any]) -> str:
    """In a line how a group is run."""
    return f"{settled['mode']}: {settled['why']}"
