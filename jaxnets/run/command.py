"""The command line of every experiment: its flags, and the verbs they all share."""

import contextlib
import errno
import functools
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from jaxnets import ranges
from jaxnets.errors import UserError
from jaxnets.run import batches, compilation, describe, folder, settings
from jaxnets.run import mesh as on
from jaxnets.run.console import one_line, show
from jaxnets.run.experiment import (
    Experiment,
    checked,
    experiment_of,
    experiment_with,
)
from jaxnets.run.folder import RunError
from jaxnets.run.interrupts import NOTHING_YET, InterruptedRun
from jaxnets.run.loop import NonFiniteError
from jaxnets.run.memory import keep_freed
from jaxnets.run.verbs import Verbs

_ELSEWHERE = "Choose another folder: change to it, or use --run-dir or JAXNETS_CACHE"
_REMEDIES = {
    errno.ENOSPC: "Free some space, and give the same command again",
    errno.EDQUOT: "Free some space, and give the same command again",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENAMETOOLONG: _ELSEWHERE,
    errno.ENOTDIR: "A file is where a folder should be: rename it, or use --run-dir",
    errno.EEXIST: "A file is where a folder should be: rename it, or use --run-dir",
}


def command(
    main: Callable[[Any, Verbs], object],
    kind: type,
    arguments: list[str] | None = None,
    *,
    verbs: type[Verbs] = Verbs,
) -> None:
    """Runs an experiment from the command line, and exits as a program should.

    Exit status: 0 done, 1 the run failed or a score is not finite, 2 the flags are
    wrong, 130 Ctrl-C, 143 SIGTERM.

    Args:
        main: Called with the configuration and the verbs, unless `--dry-run` is given:
            then `load`, `build` and `plan` of its module are called instead.
        kind: The experiment's `Config`, a frozen dataclass; its docstring heads the
            help text, and the string below a field says what the field means. With a
            method `preset` the defaults follow from the flags; see there.
        arguments: Instead of the command line's.
        verbs: What the experiment can do: `Describing` adds `--describe`.
    """
    if arguments is None:
        use_utf8()
        arguments = sys.argv[1:]
    with exits():
        flags = functools.partial(_flags, kind, verbs)
        config, chosen, dry = preset(kind, arguments, flags)
        if chosen.evaluate is not None:
            recorded = _recorded(kind, chosen.evaluate)
            config, chosen, dry = flags(recorded, arguments)
            _judged(recorded, config)
        ranges.check(config, chosen)
        keep_freed()  # before JAX has a device
        on.refuse_many_processes()
        if chosen.evaluate is None:
            rounded = batches.for_devices(config, arguments)
            if rounded is not config:  # what depends on the batch follows it
                own = [*arguments, f"--batch-size={rounded.batch_size}"]
                config = preset(kind, own, flags)[0]
        if dry:
            dry_run(experiment_with(main), config)
        else:
            main(config, chosen)


def dry_run(experiment: Experiment, config: Any) -> None:
    """Prints the settings, shapes, parameters and steps of a run; writes nothing.

    Loads the data and builds the learner; nothing is trained, and `main` is not called.

    Args:
        experiment: The module.
        config: A configuration of it.
    """
    data = experiment.load(config)
    learner = experiment.build(config, data)
    steps = checked(experiment.plan(config, data)).steps
    name = experiment_of(type(config))
    describe.dry_run(name, config, learner, data.train, steps)


def study(main: Callable[..., Any], arguments: list[str] | None = None) -> None:
    """Runs a study from the command line, and exits as `command` does.

    Args:
        main: Its parameters are the flags; fields of a `Config` among them are flags
            of their own. The docstring of its module heads the help text.
        arguments: Instead of the command line's.
    """
    read = functools.wraps(main)(lambda **values: values)
    values = tyro.cli(
        read,
        args=arguments,
        description=sys.modules[main.__module__].__doc__,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    with exits():
        ranges.check_call(main, values)
        main(**values)


@contextlib.contextmanager
def exits() -> Iterator[None]:
    """Ends the program as `command` says if what is done inside `with` is stopped.

    A `UserError`, an `OSError` and a lack of memory end it with a line and no
    traceback. Warnings of jaxnets are lines of their own, without the place in our
    source.
    """
    _write_any_character()
    try:
        with _plain_warnings():
            yield
    except KeyboardInterrupt as stopped:
        left = stopped.left if isinstance(stopped, InterruptedRun) else NOTHING_YET
        number = getattr(stopped, "signum", signal.SIGINT)
        show(f"stopped; {left}", sys.stdout)
        sys.exit(128 + number)  # as a shell expects: 130 for Ctrl-C
    except NonFiniteError as error:
        sys.exit(f"error: the run has stopped: {_noted(str(error), error)}")
    except UserError as error:
        if error.status == 1:
            sys.exit(f"error: {error}")
        for fault in str(error).splitlines():
            show(f"error: {fault}", sys.stderr)
        sys.exit(error.status)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        sys.exit(f"error: {_system_error(error)}")
    except RuntimeError as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and _exhausted(error):
            sys.exit(f"error: {_memory_error(error)}")
        if "home directory" in str(error):  # of `~` in a path
            sys.exit(f"error: {error} Set HOME, or write paths without ~")
        raise
    except MemoryError as error:
        sys.exit(f"error: {_memory_error(error)}")


def use_utf8() -> None:
    """Starts this program again in Python's UTF-8 mode, where the locale is not UTF-8.

    There, text of the command line and names of files would be read with another
    encoding than they were written with. Since Python 3.15 this mode is the default.
    """
    encoded = sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode
    if not encoded and sys.executable:
        again = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, again)  # noqa: S606 - this very program


def _write_any_character() -> None:
    """Has standard output and error write escapes for what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows warnings of jaxnets as `warning: ...`; others keep their form.

    JAX warns of every program that it cannot keep; one line says it.
    """
    before, unkept = warnings.showwarning, []

    def shown(message: Any, category: type, filename: str, *rest: Any) -> None:
        if "persistent compilation cache entry" in str(message):
            if not unkept:
                folder = compilation.cache_folder()
                text = f"compiled programs cannot be kept in {folder}: {message}"
                show(f"warning: {text[:300]}", sys.stderr)
            unkept.append(message)
        elif category.__module__.startswith("jaxnets"):
            show(f"warning: {message}", sys.stderr)
        else:
            before(message, category, filename, *rest)

    warnings.showwarning = shown
    try:
        yield
    finally:
        warnings.showwarning = before


def _system_error(error: OSError) -> str:
    """`runs: Read-only file system. Choose another folder: ...`."""
    name = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{name}{error.strerror or error}" + (f". {remedy}" if remedy else "")


def _exhausted(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error)


def _memory_error(error: BaseException) -> str:
    """What was asked for, and what to lower."""
    asked = re.search(r"(\d+) bytes", str(error))
    size = f": {int(asked[1]) / 2**30:.2f} GiB were asked for at once" if asked else ""
    if not asked and str(error):
        size = f" ({one_line(error)})"
    remedy = "Use a smaller --batch-size, smaller images or a smaller network"
    return _noted(f"out of memory{size}. {remedy}", error)


def _noted(text: str, error: BaseException) -> str:
    """A message, and in lines of their own our notes of an error, but not JAX's."""
    notes = [n for n in getattr(error, "__notes__", ()) if "internal frames" not in n]
    return "\n".join([text, *notes])


def preset(
    kind: type, arguments: list[str], flags: Callable[[Any, list[str]], tuple[Any, ...]]
) -> tuple[Any, ...]:
    """Returns what the flags say, over the defaults that follow from them.

    Every flag wins over every default.

    Args:
        kind: The experiment's `Config`. It may have a method `preset()`, which returns
            the defaults for the choices that are its own fields, for example the
            recipe of a network; and then a method `adjusted(chosen)` of the defaults,
            which returns those that depend on a number among the flags, for example a
            learning rate on `chosen.batch_size`.
        arguments: Of the command line.
        flags: Reads arguments over the defaults of a configuration, and returns a
            configuration first.
    """
    if not hasattr(kind, "preset"):
        return flags(kind(), arguments)
    # Read again with each set of defaults, which the help text shows too.
    plain = [word for word in arguments if word not in ("-h", "--help")]
    defaults = flags(kind(), plain)[0].preset()
    if hasattr(kind, "adjusted"):
        defaults = defaults.adjusted(flags(defaults, plain)[0])
    return flags(defaults, arguments)


def _flags(
    kind: type, known: type[Verbs], default: Any, arguments: list[str]
) -> tuple[Any, Verbs, bool]:
    unnamed = tyro.conf.arg(name="")

    def flags(
        config: Annotated[kind, unnamed] = default,  # type: ignore[valid-type]
        verbs: Annotated[known, unnamed] = known(),  # type: ignore[valid-type]  # noqa: B008
        *,
        dry_run: bool = False,
    ) -> tuple[Any, Verbs, bool]:
        """Returns its arguments.

        Args:
            config: The experiment's configuration.
            verbs: What to do with it.
            dry_run: Print settings, shapes, parameters and steps; write nothing.
        """
        return config, verbs, dry_run

    return tyro.cli(
        flags,
        args=arguments,
        description=(sys.modules[kind.__module__].__doc__ or kind.__doc__),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _recorded(kind: type, path: Path) -> Any:
    """The configuration of a run.

    Raises:
        RunError: If it is of another experiment, or its fields or their ranges are
            other ones now.
    """
    described = folder.read_settings(path)
    made_by, mine = described.get("experiment"), experiment_of(kind)
    if made_by not in (None, mine):
        raise RunError(f"{path} is a run of {made_by}, not of {mine}")
    try:
        config = settings.from_json(kind, described["config"])
    except ValueError as error:
        raise RunError(
            f"{path} was made by another version of this experiment: {error}"
        ) from error
    if wrong := ranges.faults(config):
        raise RunError(
            f"{path} was trained with settings that are no longer allowed: "
            f"{'; '.join(wrong)}. Train it anew"
        )
    return config


def _judged(recorded: Any, config: Any) -> None:
    """Refuses flags that contradict a run, but for fields that are marked."""
    kind = type(recorded)
    free = settings.judging(kind) | settings.neutral(kind)
    apart = settings.differences(settings.to_json(recorded), settings.to_json(config))
    if wrong := sorted(name for name in apart if settings.field_of(name) not in free):
        raise RunError(f"--evaluate takes the run's own settings, not {wrong}")
