"""The state of a run folder, and whether it may go on with what is given now.

state, step = restored(Path("runs/classify/..."), learner, data.train)
logits = loop.predict(learner, state, data.test)
"""

import collections
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets import files
from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.metrics import Mean, Metrics
from jaxnets.once import once
from jaxnets.run import environment, loop, records, settings
from jaxnets.run.checkpoints import Checkpoints
from jaxnets.run.folder import Folder, RunError, read_settings
from jaxnets.run.verbs import RunConfig

# Sums in another order differ in the last digits of a 32-bit number, about 1e-7 each.
# TF32 on GPUs keeps 10 bits; one example in a thousand may change its class.
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5


def restored(
    path: Path,
    learner: Learner,
    feed: Feed,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Any, int]:
    """Returns the state of a run's newest intact checkpoint, and the steps it took.

    The folder is only read. The learner is the one that the run's configuration
    describes: `build(config, data)` of its experiment.

    Args:
        path: The run folder.
        learner: What made the state.
        feed: The training batches; their shapes decide those of the state.
        metadata: Of the `Plan`, to be compared with the checkpoint's; None: unchecked.

    Raises:
        RunError: If there is no run or no checkpoint, or its metadata is another one.
        CheckpointError: If no checkpoint is intact, or the state has another structure.
    """
    plain = read_settings(path)["config"]["hyper"]
    # The recorded values under the recorded names: the type of the experiment is not
    # needed, since a checkpoint knows its arrays by field names.
    hyper = collections.namedtuple("Hyper", plain)(**plain)
    key = jax.random.key(0)
    target = jax.eval_shape(learner.init, key, hyper, feed.prepared)
    return read_only(path, target, metadata)


def read_only(
    path: Path,
    target: Any,
    metadata: Mapping[str, Any] | None,
    say: Callable[[str], None] = print,
) -> tuple[Any, int]:
    """Returns the newest intact state in a folder that nothing is written to.

    Args:
        path: The run folder.
        target: A state of the same structure: arrays, or their shapes and dtypes.
        metadata: As in `restored`.
        say: Where damage is reported.

    Raises:
        RunError: If there is no checkpoint, or its metadata is another one.
        CheckpointError: If no checkpoint is intact, or the state has another structure.
    """
    reader = Checkpoints(path / "checkpoints", sweep=False, say=say)
    found = reader.newest(target)
    if found is None:
        raise RunError(f"{path} has no checkpoint")
    if metadata is not None:
        refuse_other_metadata(path, found.record, metadata)
    return on_device(found.state), found.step


def initial(
    learner: Learner, config: RunConfig, feed: Feed, weights: Mapping[str, np.ndarray]
) -> Any:
    """Returns the state before the first step.

    Args:
        learner: Whose state it is.
        config: With the seed and the hyperparameters.
        feed: What it trains on.
        weights: Of another run, as `weights_of` returns them; empty: none.

    Raises:
        RunError: If the weights are not those of this network.
    """
    state = once(learner.init)(jax.random.key(config.seed), config.hyper, feed(0))
    state = on_device(state)
    return with_weights(state, weights) if weights else state


def weights_of(
    path: Path | None, say: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns where the weights of a run come from, and the weights by their path.

    Args:
        path: The run folder.
        say: Where damage is reported.

    Raises:
        RunError: If no folder is given.
        CheckpointError: If no checkpoint is intact.
    """
    if path is None:
        raise RunError("--resume weights needs --run-dir: the run to take from")
    reader = Checkpoints(path / "checkpoints", sweep=False, say=say)
    digest, weights = reader.leaves()
    return {"run": path.name, "checkpoint": digest}, weights


def refuse_other(
    output: Folder, config: Any, steps: int, learner: Learner, state: Any, feed: Feed
) -> None:
    """Remembers what a run began with, and refuses to go on with anything else.

    The data is told by its digest, and the network, the task and the optimizer by the
    text of the compiled training step: another text is another computation, whatever
    the settings say. Another version of JAX writes another text, and is only reported.

    Args:
        output: The run folder.
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
    before = output.settings.get("began")
    if before is None:
        output.update(began=now)
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
            f"{output.path} cannot go on:{lines}\nTo begin a new run: --resume never, "
            'in a notebook Verbs(resume="never"). To begin one from its weights: '
            "--resume weights --run-dir FOLDER"
        )
    if before["steps"] != now["steps"]:
        output.update(began={**before, "steps": steps}, config=config)


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


def compared(path: Path, config: Any, scores: Mapping[str, Any], step: int) -> str:
    """Compares scores with the recorded ones, and returns in words how they compare.

    Nothing is compared if the run is unfinished, or if fields marked `Judging` have
    other values now.

    Args:
        path: The run folder.
        config: The configuration that the scores were computed with.
        scores: What was computed now, by group and name.
        step: Steps that the state took.

    Raises:
        RunError: Naming every score that is not the recorded one, or every setting
            that is another one and not marked `Judging`.
    """
    if not (path / "result.json").exists():
        return f"(step {step}, an unfinished run)"
    stored = read_settings(path)["config"]
    free, neutral = settings.judging(type(config)), settings.neutral(type(config))
    found = settings.differences(stored, settings.to_json(config))
    changed = {name: how for name, how in found.items() if name not in neutral}
    other = [f"{name} {change}" for name, change in changed.items()]
    if any(settings.field_of(name) not in free for name in changed):
        raise RunError(f"{path} has other settings: {', '.join(other)}")
    if not scores:
        return "(nothing was scored, so nothing is compared)"
    if other:
        return f"(judged otherwise: {', '.join(other)})"
    return f"(as recorded{_as_recorded(path, scores)})  ->  {path}"


def _as_recorded(folder: Path, scores: Mapping[str, Any]) -> str:
    """Compares with result.json: to the bit where the result was made like this one.

    On other devices, or with other versions, to a relative tolerance of 0.1 %.

    Args:
        folder: The run folder.
        scores: What was computed now, by group and name.

    Returns:
        Nothing, or in words what is different here and how much was allowed for it.

    Raises:
        RunError: Naming every score that is not the recorded one.
    """
    before = settings.flat(records.load(folder / "result.json"))
    now = settings.flat(json.loads(files.dump_json(dict(scores))))
    changed = {name: value for name, value in now.items() if before.get(name) != value}
    if not changed:
        return ""
    moved = environment.moved_since(folder)
    if moved:
        changed = {n: v for n, v in changed.items() if not _close(before.get(n), v)}
    if changed:
        lines = "".join(
            f"\n  {name}: recorded {before.get(name)}, now {value}"
            for name, value in changed.items()
        )
        here = f"\nWhat is different here: {'; '.join(moved)}" if moved else ""
        raise RunError(f"{folder} does not give its recorded result:{lines}{here}")
    return f" within {_RELATIVE:.1%}; {'; '.join(moved)}"


def _close(before: Any, now: Any) -> bool:
    """Whether two numbers, or lists of them, agree to the tolerance."""
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(map(_close, before, now))
    if isinstance(before, int | float) and isinstance(now, int | float):
        return math.isclose(before, now, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
    return False
