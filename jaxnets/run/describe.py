"""What a run says before its first step: the start line, or all of a dry run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxnets import files
from jaxnets.data.feeds.base import Feed
from jaxnets.learners.base import Learner
from jaxnets.run import environment, settings
from jaxnets.run.console import Console
from jaxnets.run.experiment import source_of
from jaxnets.run.folder import Folder
from jaxnets.types import Variables


class Facts(NamedTuple):
    """What the start line says of a run.

    Attributes:
        experiment: Its name.
        config: Its configuration.
        step: Steps taken so far.
        steps: Steps to take.
    """

    experiment: str
    config: Any
    step: int
    steps: int


def greet(
    output: Folder, facts: Facts, state: Any, feed: Feed, say: Callable[[str], None]
) -> None:
    """Writes environment.json and prints the start line.

    Args:
        output: The run folder.
        facts: What the line says.
        state: Of the learner; its parameters are counted.
        feed: What it trains on.
        say: Prints a line.
    """
    own = source_of(type(facts.config))
    # In a notebook the folder counts.
    found, patch = environment.commit_of(own or Path.cwd() / "notebook")
    now = environment.environment(found, patch)
    now["source"] = str(own) if own else None
    if patch:
        output.write("changes.patch", patch.encode("utf-8", "surrogateescape"))
    sessions = environment.sessions(output.path)
    if sessions and (moved := environment.differences(sessions[-1], now)):
        say(f"bits may differ from before: {'; '.join(moved)}")
    text = files.dump_json({"sessions": [*sessions, now]}, indent=2)
    output.write("environment.json", text + "\n")
    count, platform = len(jax.devices()), jax.devices()[0].platform
    if count > 1 and feed.batch_size % count:
        say(
            f"the batch of all {feed.batch_size:,} examples does not split over "
            f"{count} devices: each computes the whole of it"
        )
    commit = (found or "none")[:8] + (" with changes" if patch else "")
    begin = f"resumed at step {facts.step}" if facts.step else "new"
    say(
        f"{facts.experiment}: seed {facts.config.seed}, {count} {platform} "
        f"device{'s' if count > 1 else ''}, {parameters(state):,} parameters, "
        f"{feed.examples:,} examples, {facts.steps} steps, commit {commit}, {begin}  "
        f"->  {output.path}"
    )
    for remark in _remarks(facts.config):
        say(remark)


def dry_run(name: str, config: Any, learner: Learner, feed: Feed, steps: int) -> None:
    """Prints the settings, shapes, parameters and steps of a run; writes nothing.

    Args:
        name: Of the experiment.
        config: Its configuration.
        learner: What would improve the state.
        feed: What it would train on.
        steps: How many steps it would take.
    """
    say = Console().say
    say(f"{name}: dry run, nothing is written")
    for remark in _remarks(config):
        say(remark)
    for field, value in settings.flat(settings.to_json(config)).items():
        say(f"  {field}: {value}")
    batch = feed.prepared
    for field, leaf in zip(batch._fields, batch, strict=True):
        say(f"  batch.{field}: {_shape(leaf)}")
    key = jax.random.key(config.seed)
    state = jax.eval_shape(learner.init, key, config.hyper, batch)
    for tree in _params(state):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            where = "/".join(str(getattr(part, "key", part)) for part in path)
            say(f"  params {where}: {_shape(leaf)}")
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    say(
        f"{parameters(state):,} parameters, state {size / 2**20:.2f} MiB, {steps} "
        f"steps of {feed.batch_size} examples, "
        f"{steps * feed.batch_size / feed.examples:.1f} epochs"
    )


def _remarks(config: Any) -> list[str]:
    """What an experiment says of its settings, where its `Config` has `remarks()`."""
    return config.remarks() if hasattr(config, "remarks") else []


def parameters(state: Any) -> int:
    """How many numbers gradients change in a state; all of a population's."""
    return sum(leaf.size for leaf in jax.tree.leaves(_params(state)))


def _params(state: Any) -> list[Any]:
    """The `params` of every `Variables` inside a state, averages left out."""
    found: list[Any] = []

    def visit(path: Any, node: Any) -> None:
        average = any(getattr(part, "name", None) == "average" for part in path)
        if isinstance(node, Variables) and not average:
            found.append(node.params)

    jax.tree_util.tree_map_with_path(
        visit, state, is_leaf=lambda node: isinstance(node, Variables)
    )
    return found


def _shape(leaf: Any) -> str:
    return f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
