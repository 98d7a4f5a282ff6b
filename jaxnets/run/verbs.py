"""What to do with a configuration: the flags that all experiments share."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import tyro

from jaxnets import ranges
from jaxnets.ranges import Count, NonNegative
from jaxnets.run.folder import RunError


@runtime_checkable
class RunConfig(Protocol):
    """What a run reads from an experiment's configuration."""

    @property
    def seed(self) -> int:
        """Decides initialisation and noise."""
        ...

    @property
    def hyper(self) -> Any:
        """The hyperparameters, a `NamedTuple` of numbers."""
        ...


@dataclasses.dataclass(frozen=True)
class Verbs:
    """What to do with a configuration; never part of it."""

    run_dir: Path | None = None
    """Folder of the run. None: runs/EXPERIMENT/TIME-ID."""
    resume: Literal["auto", "never", "weights"] = "auto"
    """auto: resume an unfinished run of the same configuration. never: begin a new run.
    weights: begin a new run from the weights in --run-dir."""
    evaluate: Annotated[Path | None, tyro.conf.arg(metavar="RUN_DIR")] = None
    """Folder of a run to score again, with its own configuration. None: train."""
    checkpoint_seconds: NonNegative = 30.0
    """Seconds between two checkpoints. 0: as often as possible."""
    checkpoint_every: Annotated[int | None, ranges.within(1)] = None
    """Steps between two checkpoints, if sooner than by time. None: only by time."""
    steps_per_call: Annotated[int | None, ranges.within(1)] = None
    """Training steps in one call of the device. None: measured once on each machine."""
    keep: Count = 2
    """Number of checkpoints to keep, the newest ones."""


@dataclasses.dataclass(frozen=True)
class Describing(Verbs):
    """The verbs of a network that describes pictures."""

    describe: Annotated[Path | None, tyro.conf.arg(metavar="PHOTO")] = None
    """Image to describe with the network of --run; nothing is trained or scored."""
    evaluate: Annotated[
        Path | None, tyro.conf.arg(metavar="RUN_DIR", aliases=["--run"])
    ] = None
    """Folder of a run to score again, with its own configuration. None: train."""

    def checked(self) -> "Describing":
        """Returns self after validating the flags.

        Raises:
            RunError: If `--describe` is given without `--run`, or is no file.
        """
        if self.describe is not None and self.evaluate is None:
            raise RunError("--describe needs --run: the folder of a run to take from")
        if self.describe is not None and not self.describe.is_file():
            raise RunError(f"{self.describe} is not a file")
        return self
