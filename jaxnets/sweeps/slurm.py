"""Workers of a sweep on a Slurm cluster, through submitit.

Each job runs the same command with `--worker`. They meet in a storage that all of them
reach: a `--storage` address, and a `--folder` that they share where rungs follow each
other. Submitit submits the plain command, so that nothing is pickled.
"""

import importlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxnets.run.folder import RunError

_LOGS = Path("runs/sweeps/slurm")


def script(options: Sequence[str], arguments: Sequence[str]) -> str:
    """What sbatch would be given for one worker.

    Args:
        options: `name=value` of sbatch.
        arguments: Of the sweep's command; what is said to Slurm is left out.

    Raises:
        RunError: If submitit is not installed, or does not know an option.
    """
    _submitit()
    slurm: Any = importlib.import_module("submitit.slurm.slurm")
    try:
        return slurm._make_sbatch_string(
            command(arguments), folder=_LOGS, **_chosen(options)
        )
    except TypeError as error:
        raise RunError(f"--slurm-options: {error}") from error


def submit(workers: int, options: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """Submits so many workers.

    Returns:
        The numbers of the jobs; their logs are in runs/sweeps/slurm.

    Raises:
        RunError: If submitit or Slurm is not installed.
    """
    submitit = _submitit()
    try:
        executor = submitit.SlurmExecutor(folder=_LOGS)
        executor.update_parameters(**_chosen(options))
    except (RuntimeError, ValueError) as error:
        raise RunError(f"Slurm: {error}") from error
    jobs = [executor._submit_command(command(arguments)) for _ in range(workers)]
    return [job.job_id for job in jobs]


def command(arguments: Sequence[str]) -> str:
    """The command of a worker, as a shell takes it."""
    kept: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        flag, joined, _ = word.partition("=")
        if flag == "--slurm" and not joined:
            words.pop(0)
        elif flag == "--slurm-options":
            while words and not words[0].startswith("--"):
                words.pop(0)
        elif flag not in ("--slurm", "--dry-run", "--worker"):
            kept.append(word)
    return shlex.join([sys.executable, sys.argv[0], *kept, "--worker"])


def _submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError:
        raise RunError("Slurm needs submitit: pip install jaxnets[slurm]") from None


def _chosen(options: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"job_name": "sweep"}
    for text in options:
        name, _, value = text.partition("=")
        found[name.replace("-", "_")] = int(value) if value.isdigit() else value
    return found
