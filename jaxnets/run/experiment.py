"""An experiment: a module with a few public names, and the plan of its training."""

import inspect
import sys
from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxnets import files, ranges
from jaxnets.learners.base import Learner
from jaxnets.run.folder import RunError


class Plan(NamedTuple):
    """How long a training is, and what its checkpoints hold beside the state.

    Attributes:
        steps: Training steps in all, at least 1.
        report_every: Steps between two reports, at least 1. The last step is reported
            too.
        metadata: Plain data by name, without which the state has no meaning: for
            example a vocabulary. It is part of every checkpoint, and a run does not
            resume from a checkpoint with other metadata.
    """

    steps: int
    report_every: int
    metadata: Mapping[str, Any] = MappingProxyType({})


@runtime_checkable
class Experiment(Protocol):
    """A module that trains from the command line, and is swept.

    A sweep also needs the attributes `train`, `validation` and `test` of what `load`
    returns, which are feeds. A public name `SPACE`, a `Hyper` of ranges, says what is
    searched by default; without it, that is the learning rate.

    Attributes:
        Config: A frozen dataclass with the fields `seed` and `hyper`.
        load: `load(config)` returns the data. It may depend on `config.data_seed`, and
            depends neither on `config.seed` nor on `config.hyper`.
        build: `build(config, data)` returns the learner.
        plan: `plan(config, data)` returns the `Plan`. A pure function: the dry run, the
            sweep and the schedule of `build` call it too.
        main: `main(config, verbs)` trains, scores the test split, and draws.
    """

    Config: type
    load: Callable[[Any], Any]
    build: Callable[[Any, Any], Learner]
    plan: Callable[[Any, Any], Plan]
    main: Callable[..., object]


def checked(plan: Plan) -> Plan:
    """The same plan.

    Raises:
        RunError: If its numbers are not whole, less than 1, or too large to count.
    """
    for name, value in ("steps", plan.steps), ("report_every", plan.report_every):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise RunError(
                f"the plan has {name} {value}: it must be a whole number of at least "
                "1, so use more --epochs"
            )
        if value > ranges.LARGEST:
            raise RunError(
                f"the plan has {name} {value:,}: at most {ranges.LARGEST:,} can be "
                "counted, so use fewer --epochs"
            )
    return plan


def complete(module: Any) -> Experiment:
    """Returns the module, once it has the public names of an experiment.

    Raises:
        RunError: With the names that are missing.
    """
    names = ("Config", "load", "build", "plan", "main")
    if missing := [name for name in names if not hasattr(module, name)]:
        raise RunError(
            f"{module.__name__} is no whole experiment: it has no {', '.join(missing)}"
        )
    return module


def experiment_with(main: Callable[..., object]) -> Experiment:
    """Returns the module that defines `main`; see `complete`."""
    return complete(sys.modules[main.__module__])


def experiment_of(kind: type) -> str:
    """Returns the name of an experiment by its `Config`: of its file, or "notebook"."""
    source = source_of(kind)
    return files.slug(source.stem) if source else "notebook"


def source_of(kind: type) -> Path | None:
    """Returns the file that defines a class; None in a notebook, or after `-c`."""
    try:
        path = Path(inspect.getfile(kind))
    except (TypeError, OSError):
        return None
    return path.absolute() if path.is_file() else None
