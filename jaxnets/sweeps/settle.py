"""How a group's populations are run: measured once, written down, and then kept to.

A timing must not decide the bits of a sweep that goes on after a kill, so what is found
here is the outcome of a unit of work like any other: no step is taken before it is
stored, and it is never measured twice.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from jaxnets.errors import UserError
from jaxnets.run import compilation, loop, restoring
from jaxnets.sweeps import members, plans, rungs
from jaxnets.sweeps.groups import MODES, Group
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.populations import SeededSetting, first

# A program that holds member after member is measured with two. A way is timed for so
# many seconds or steps.
_PROBED, _SECONDS, _STEPS = 2, 1.0, 10
_SHARE = 0.8  # of the device's memory that a population may take


class ObjectiveError(UserError, ValueError):
    """There is no metric of this name; the message lists those that there are."""

    status = 2


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
    plan, mode = group.plan, definition.mode
    _check_objectives(definition, group)
    devices, available = len(jax.devices()), memory(definition.memory)
    wanted = max(_work(definition, plan.steps, definition.members)[1])
    lone = mode in ("auto", "separate")
    # What is asked for is compiled as it will run: nothing is compiled in vain.
    one = _Measured(group, "separate" if lone else mode, 1 if lone else wanted)
    capacity = one.fitting(available)
    rows, why = min(wanted, capacity), "as asked for"
    seconds: dict[str, float] = {}
    if mode == "auto" and devices > 1:
        mode, why = "vmap", f"members are split over {devices} devices"
    elif mode == "auto" and rows == 1:
        mode, why = "separate", "there is one member"
    elif mode == "auto":
        ways = _Ways(definition, group, one, max(rows // definition.replicas, 1))
        mode, why, seconds = ways.fastest, ways.why, ways.seconds
        capacity = min(capacity, ways.measured[mode].fitting(available))
    settings = max(capacity // definition.replicas, 1)
    wave = min(settings, definition.members)
    say(
        f"{group.label}: members run as {mode} ({why}); {one.bytes / 2**20:.1f} MiB a "
        f"member, {available / 2**30:.1f} GiB there"
        + (f": {wave} settings at a time" if wave < definition.members else "")
    )
    return {
        "steps": plan.steps,
        "every": plan.report_every,
        "mode": mode,
        "why": why,
        "seconds": seconds,
        "device": jax.devices()[0].device_kind,
        "devices": devices,
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
    key = jax.random.key(0)
    state = jax.eval_shape(
        learner.init, key, group.config.hyper, group.feed(group.data_seed).prepared
    )
    found = jax.eval_shape(learner.evaluate, state, feed.prepared, key)
    alone = {name for name, metric in found.items() if metric.total.shape == ()}
    for name in definition.objectives:
        if name not in alone:
            raise ObjectiveError(
                f"the validation split has no metric {name}; --objective takes one of "
                f"{', '.join(sorted(alone))}"
            )


class _Ways:
    """How long the whole group would take in each way that may pay, and which is best.

    Another way than one member after the other pays if it saves more than compiling it
    costs. So none is tried whose compilation would take half as long as all steps do in
    the best way known, and on a CPU only those that ever win there: its grouped
    convolutions, and gradients of convolutions in a loop, are slow beyond hope, and
    without convolutions it gains nothing that `vmap` does not.

    Attributes:
        measured: Every way that was tried.
        seconds: What it would still take, by way; compiling what is measured is done.
        fastest: The way with the least.
        why: In words.
    """

    def __init__(
        self, definition: Definition, group: Group, one: "_Measured", settings: int
    ) -> None:
        self.measured = {"separate": one}
        taken, sizes = _work(definition, group.plan.steps, settings)
        self.seconds = {"separate": taken * one.step}
        skipped = []
        for mode in _candidates(one):
            rows, again = max(sizes), len(sizes) - 1
            if mode == "unrolled":  # its compilation grows with its members
                rows, again = min(_PROBED, rows), sum(sizes) / min(_PROBED, rows)
            price = one.compiling * (1 + again) * (rows if mode == "unrolled" else 1)
            if price > min(self.seconds.values()) / 2:
                skipped.append(f"{mode}, whose compilation takes {price:.2g}")
                continue
            self.measured[mode] = few = _Measured(group, mode, rows)
            self.seconds[mode] = again * few.compiling + taken * few.step / rows
        self.fastest = min(
            self.seconds, key=lambda m: (self.seconds[m], MODES.index(m))
        )
        expected = [f"{name} {value:.3g}" for name, value in self.seconds.items()]
        self.why = f"seconds expected: {', '.join(expected)}" + (
            f"; not worth a try: {', '.join(skipped)}" if skipped else ""
        )


def _candidates(one: "_Measured") -> tuple[str, ...]:
    """Ways that may be faster than one member after the other, cheapest first."""
    if jax.default_backend() != "cpu":
        return ("vmap", "loop", "unrolled")
    return ("unrolled",) if one.convolves else ("vmap",)


def _work(definition: Definition, steps: int, settings: int) -> tuple[int, set[int]]:
    """Steps of all members in all, and the sizes of the populations that take them."""
    taken, sizes = 0, set()
    for bracket in plans.brackets(definition, {"steps": steps}):
        start = 0
        for count, stop in zip(bracket.sizes, bracket.stops, strict=True):
            taken += count * (stop - start) * definition.replicas
            sizes.add(rungs.even(count, settings) * definition.replicas)
            start = stop
    return taken, sizes


class _Measured:
    """One step of a population: seconds to compile, to run, and its memory.

    Attributes:
        compiling: Seconds.
        bytes: That a member takes.
        shared: That the data takes.
    """

    def __init__(self, group: Group, mode: str, count: int) -> None:
        learner, feed = group.learner((), mode), group.feed(group.data_seed)
        values = {name: own.nonzero() for name, own in group.space.items()}
        row = SeededSetting(values, group.config.seed, group.data_seed)
        state = first(group, (), row)
        if mode != "separate":
            state = restoring.on_device(members.stacked([state] * count))
        columns = loop.placed(feed, None)
        lowered = loop.compiled(learner, feed, None).one.lower(  # type: ignore[attr-defined]
            state, columns, feed.fetch(0)
        )
        # What is in the cache counts as what it took: another way may not be there.
        self._lowered, saved = lowered, compilation.saved_seconds()
        begun = time.perf_counter()
        self._program = lowered.compile()
        self.compiling = time.perf_counter() - begun
        self.compiling += max(compilation.saved_seconds() - saved, 0.0)
        self.shared = sum(leaf.nbytes for leaf in jax.tree.leaves(columns))
        self.bytes = _bytes(self._program, state, self.shared) // count
        self._given = state, columns, feed

    @property
    def convolves(self) -> bool:
        """Whether there is a convolution in it."""
        return "stablehlo.convolution" in self._lowered.as_text()

    @functools.cached_property
    def step(self) -> float:
        """Seconds."""
        state, columns, feed = self._given
        del self._given  # a step donates the state
        compiled = self._program
        state, _ = compiled(state, columns, feed.fetch(0))  # the first touches memory
        jax.block_until_ready(state)
        begun, taken = time.perf_counter(), 0
        while taken < _STEPS and time.perf_counter() - begun < _SECONDS:
            state, _ = compiled(state, columns, feed.fetch(taken))
            jax.block_until_ready(state)
            taken += 1
        return (time.perf_counter() - begun) / taken

    def fitting(self, available: int) -> int:
        """Members that the memory holds, one at least."""
        return max(int(available * _SHARE - self.shared) // max(self.bytes, 1), 1)


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
