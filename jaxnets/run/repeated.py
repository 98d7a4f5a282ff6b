"""Runs that a study is made of: each is trained once, and its result is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnets.run import records, settings
from jaxnets.run.folder import RunError, read_settings
from jaxnets.run.verbs import RunConfig, Verbs


def result_of(
    main: Callable[[Any, Verbs], object], config: RunConfig, path: Path
) -> dict[str, Any]:
    """Returns what result.json of a run holds; trains the run if it is not there.

    A run that was stopped on its way resumes.

    Args:
        main: Of the experiment.
        config: Of the run.
        path: The run folder.

    Raises:
        RunError: If the folder belongs to another configuration.
    """
    result = path / "result.json"
    if not result.exists():
        main(config, Verbs(run_dir=path))
    elif changed := settings.differences(
        read_settings(path)["config"], settings.to_json(config)
    ):
        told = ", ".join(f"{name} {change}" for name, change in changed.items())
        raise RunError(f"{path} has other settings: {told}. Move it, to train anew")
    return records.load(result)
