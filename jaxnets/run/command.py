"""The command line of every experiment: its flags, and the verbs they all share."""

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxnets.data.dataset import DataError
from jaxnets.models.weights import WeightsError
from jaxnets.ops.pool import ImageSizeError
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
            help text, and the string below a field says what the field means. Where it
            has a method `preset`, the defaults are what that returns for the choices
            made, the recipe of the chosen network say; every flag still wins.
        arguments: Instead of the command line's.
        verbs: What the experiment can do: `Describing` adds `--describe`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with exits():
        flags = functools.partial(_flags, kind, verbs)
        config, chosen = preset(kind, arguments, flags)
        if chosen.evaluate is not None:
            recorded = _recorded(kind, chosen.evaluate)
            config, chosen = flags(recorded, arguments)
            _judged(recorded, config)
        if wrong := settings.too_small(config) + settings.too_small(chosen):
            print("error: " + "; ".join(wrong), file=sys.stderr)  # noqa: T201
            sys.exit(2)
        try:
            main(config, chosen)
        except NonFiniteError:
            sys.exit("error: the run has stopped; checkpoints from before are intact")


@contextlib.contextmanager
def exits() -> Iterator[None]:
    """Ends the program as `command` says, where what is done inside is stopped."""
    try:
        yield
    except InterruptedRun as stopped:
        print("stopped; the state is saved. The same command goes on from there.")  # noqa: T201
        sys.exit(128 + stopped.signum)  # as a shell expects: 130 for Ctrl-C
    except (
        RunError,
        DataError,
        CheckpointError,
        WeightsError,
        ImageSizeError,
    ) as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
        sys.exit(128 + signal.SIGPIPE)


def preset(
    kind: type, arguments: list[str], flags: Callable[[Any, list[str]], tuple[Any, ...]]
) -> tuple[Any, ...]:
    """What the flags say, over the defaults that the choices among them bring.

    Args:
        kind: The experiment's `Config`; see `command` for its method `preset`.
        arguments: Of the command line.
        flags: Reads arguments over the defaults of a configuration, and returns a
            configuration first.
    """
    if not hasattr(kind, "preset"):
        return flags(kind(), arguments)
    # Twice: what is chosen decides the defaults of the rest, in the help text too.
    plain = [word for word in arguments if word not in ("-h", "--help")]
    return flags(flags(kind(), plain)[0].preset(), arguments)


def _flags(
    kind: type, known: type[Verbs], default: Any, arguments: list[str]
) -> tuple[Any, Verbs]:
    unnamed = tyro.conf.arg(name="")

    def both(
        config: Annotated[kind, unnamed] = default,  # type: ignore[valid-type]
        verbs: Annotated[known, unnamed] = known(),  # type: ignore[valid-type]  # noqa: B008
    ) -> tuple[Any, Verbs]:
        return config, verbs

    return tyro.cli(
        both,
        args=arguments,
        description=(sys.modules[kind.__module__].__doc__ or kind.__doc__),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _recorded(kind: type, path: Path) -> Any:
    """The configuration of a run."""
    stored = folder.read_settings(path)["config"]
    try:
        return settings.from_json(kind, stored)
    except ValueError as error:
        raise RunError(
            f"{path} was made by another version of this experiment: {error}"
        ) from error


def _judged(recorded: Any, config: Any) -> None:
    """Refuses flags that contradict a run, but for fields marked `Judging`."""
    free = settings.judging(type(recorded))
    apart = settings.differences(settings.to_json(recorded), settings.to_json(config))
    if wrong := sorted(name for name in apart if settings.field_of(name) not in free):
        raise RunError(f"--evaluate takes the run's own settings, not {wrong}")
