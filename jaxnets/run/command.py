"""The command line of every experiment: its flags, and the verbs they all share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnets.data.dataset import DataError
from jaxnets.run import folder, settings
from jaxnets.run.checkpoints import CheckpointError
from jaxnets.run.folder import RunError
from jaxnets.run.interrupts import InterruptedRun
from jaxnets.run.loop import NonFiniteError
from jaxnets.run.session import Verbs


def command(
    main: Callable[[Any, Verbs], object],
    kind: type,
    arguments: list[str] | None = None,
    *,
    verbs: type[Verbs] = Verbs,
) -> None:
    """Runs an experiment from the command line, and exits as a program should.

    Exit status: 0 done, 1 the run failed, 2 the flags are wrong, 130 Ctrl-C, 143
    SIGTERM.

    Args:
        main: Called with the configuration and the verbs.
        kind: The experiment's `Config`, a frozen dataclass; its docstring heads the
            help text, and the string below a field says what the field means.
        arguments: Instead of the command line's.
        verbs: What the experiment can do: `Describing` adds `--describe`.
    """
    config, chosen = _parsed(kind, verbs, arguments)
    try:
        if chosen.evaluate is not None:
            config = _recorded(kind, config, chosen.evaluate)
        main(config, chosen)
    except InterruptedRun as stopped:
        print("stopped; the state is saved. The same command goes on from there.")  # noqa: T201
        sys.exit(128 + stopped.signum)  # as a shell expects: 130 for Ctrl-C
    except NonFiniteError:
        sys.exit("error: the run has stopped; checkpoints from before are intact")
    except (RunError, DataError, CheckpointError) as error:
        sys.exit(f"error: {error}")


def _parsed(
    kind: type, known: type[Verbs], arguments: list[str] | None
) -> tuple[Any, Verbs]:
    unnamed = tyro.conf.arg(name="")

    def both(
        config: Annotated[kind, unnamed],  # type: ignore[valid-type]
        verbs: Annotated[known, unnamed],  # type: ignore[valid-type]
    ) -> tuple[Any, Verbs]:
        return config, verbs

    return tyro.cli(
        both,
        args=arguments,
        description=(sys.modules[kind.__module__].__doc__ or kind.__doc__),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _recorded(kind: type, config: Any, path: Path) -> Any:
    """The configuration of a run; flags that contradict it are refused."""
    stored = folder.read_settings(path)["config"]
    try:
        found = settings.from_json(kind, stored)
    except ValueError as error:
        raise RunError(
            f"{path} was made by another version of this experiment: {error}"
        ) from error
    asked = settings.differences(settings.to_json(kind()), settings.to_json(config))
    apart = settings.differences(stored, settings.to_json(config))
    if wrong := sorted(set(asked) & set(apart)):
        raise RunError(f"--evaluate takes the run's own settings, not {wrong}")
    return found
