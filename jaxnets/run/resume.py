"""May this folder go on with what it is given now, and with which state?"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import files
from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.metrics import Mean, Metrics
from jaxnets.run import loop, settings
from jaxnets.run.folder import Folder, RunError


def refuse_other(
    held: Folder, config: Any, steps: int, learner: Learner, state: Any, feed: Feed
) -> None:
    """Remembers what a run began with, and refuses to go on with anything else.

    The data is told by its digest, and the network, the task and the optimizer by the
    text of the compiled training step: another text is another computation, whatever
    the settings say. Another version of JAX writes another text, and is only reported.

    Args:
        held: The run folder.
        config: The configuration, as plain data.
        steps: How many steps the run is to take; may differ if the program does not.
        learner: What improves the state.
        state: A state of it.
        feed: What it trains on.

    Raises:
        RunError: Showing what has changed.
    """
    text = loop.program_text(learner, state, feed)
    now = {
        "data": dict(feed.identity),
        "program": hashlib.sha256(text.encode()).hexdigest(),
        "jax": jax.__version__,
        "steps": steps,
    }
    before = held.settings.get("began")
    if before is None:
        held.update(began=now)
        return
    changed = settings.differences(before["data"], now["data"])
    if before["jax"] == now["jax"] and before["program"] != now["program"]:
        grown = before["steps"] != now["steps"]
        changed["training step"] = (
            "depends on the number of steps, which is another one now"
            if grown
            else "compiles to another program than before: its code has changed"
        )
    if changed:
        lines = "".join(f"\n  {name}: {how}" for name, how in changed.items())
        raise RunError(
            f"{held.path} cannot go on:{lines}\n--resume never begins a new run, "
            'Verbs(resume="never") in a notebook; '
            "--resume weights --run-dir FOLDER begins one from its weights"
        )
    if before["steps"] != now["steps"]:
        held.update(began={**before, "steps": steps}, config=config)


def metadata_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metadata in the record of a checkpoint.

    Args:
        record: What was saved with a state. Versions before 2026-12 wrote the metadata
            under another name, `keeps`.
    """
    return record.get("metadata", record.get("keeps", {}))


def refuse_other_metadata(
    path: Path, record: Mapping[str, Any], now: Mapping[str, Any]
) -> None:
    """Refuses a checkpoint with other metadata, for example another vocabulary.

    What the checkpoint does not hold is not compared: earlier versions held less.

    Args:
        path: The run folder.
        record: What was saved with the state.
        now: The metadata of the run's `Plan`.

    Raises:
        RunError: Naming what differs, and where first.
    """
    before = json.loads(files.dump_json(dict(metadata_of(record))))
    given = json.loads(files.dump_json(dict(now)))
    for name in sorted(before):
        if before[name] != given.get(name):
            changed = settings.differences(before.get(name), given.get(name))
            first, how = next(iter(changed.items()))
            short = how if len(how) < 300 else how[:300] + "..."
            raise RunError(
                f"the checkpoint in {path} was made with another {name}: "
                f"{first + ': ' if first else ''}{short}"
            )


def with_weights(state: Any, weights: Mapping[str, np.ndarray]) -> Any:
    """The state with its variables taken from another run's.

    Args:
        state: A fresh state.
        weights: Path in the state to array, as `Checkpoints.leaves` returns them.

    Raises:
        RunError: If one is missing there, or has another shape.
    """

    def taken(path: Any, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path)
        if ".variables" not in name:
            return leaf
        found = weights.get(name)
        if found is None or found.shape != leaf.shape or found.dtype != leaf.dtype:
            there = "missing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise RunError(
                f"weights cannot be taken over: {name} is {there} there and "
                f"{leaf.dtype}{list(leaf.shape)} here"
            )
        return jnp.array(found)

    return jax.tree_util.tree_map_with_path(taken, state)


def on_device(state: Any) -> Any:
    """Copies as strongly typed arrays, so that a restored state is as a fresh one."""

    def placed(leaf: Any) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jnp.copy(leaf)
        return jnp.array(np.asarray(leaf), copy=True)

    return jax.tree.map(placed, state)


def to_lists(metrics: Metrics) -> dict[str, Any]:
    """Metrics on the host as plain numbers; JSON keeps every bit of them."""
    return {
        name: {
            "total": np.asarray(value.total).tolist(),
            "weight": np.asarray(value.weight).tolist(),
        }
        for name, value in metrics.items()
    }


def from_lists(plain: Mapping[str, Any]) -> Metrics | None:
    """What `to_lists` was given; None if that was nothing."""
    found = {
        name: Mean(np.float64(value["total"]), np.int64(value["weight"]))
        for name, value in plain.items()
    }
    return found or None
