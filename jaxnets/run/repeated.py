"""Runs that a study is made of: each is trained once, and its result is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnets.run import records
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
        RunError: If the folder belongs to another configuration and is not finished.
    """
    result = path / "result.json"
    if not result.exists():
        main(config, Verbs(run_dir=path))
    return records.load(result)
