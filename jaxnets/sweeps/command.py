"""The command line of sweeps: the flags of an experiment, and those of the search."""

import contextlib
import dataclasses
import difflib
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from optuna.exceptions import StorageInternalError

from jaxnets import ranges
from jaxnets.ranges import (
    Count,
    CountOrZero,
    NonNegative,
    Positive,
    RangeError,
    Seed,
    within,
)
from jaxnets.run import settings
from jaxnets.run.command import exits, preset, use_utf8
from jaxnets.sweeps import search
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.rungs import SCHEDULES
from jaxnets.sweeps.search import METHODS
from jaxnets.sweeps.session import Surroundings, sweep


@dataclasses.dataclass(frozen=True)
class Options:
    """How to search; the flags of the experiment say what is trained."""

    members: Count = 16
    """Settings that are trained together, as one program."""
    trials: Annotated[int | None, within(1)] = None
    """Settings to train in each group of --grid. None: as many as --members."""
    method: Annotated[str, settings.one_of(METHODS)] = "random"
    """Method that proposes settings."""
    plan: Annotated[str, settings.one_of(SCHEDULES)] = "full"
    """full: train every setting to the end. halving, hyperband: stop the worst early.
    pbt: the worst copy the weights of the best and change their hyperparameters."""
    eta: Annotated[int, within(2)] = 3
    """halving, hyperband: one setting in ETA enters the next, ETA times longer rung."""
    first: Annotated[int | None, within(1)] = None
    """Steps of the shortest rung. None: it follows from --plan and --eta."""
    batch: Annotated[int | None, within(1)] = None
    """Settings that are proposed at once and compared by halving. None: --members.
    With several workers: the sum of their members."""
    seeds: Count = 1
    """Runs of each setting that differ in initialisation and noise."""
    data_seeds: Count = 1
    """Runs of each setting that differ in order and augmentation of the data."""
    objective: tuple[str, ...] = ("loss",)
    """Metrics of the validation split to optimise; several with nsga2 and tpe only."""
    maximise: Literal["auto", "yes", "no"] = "auto"
    """Whether to maximise --objective. auto: metrics with accuracy in their name."""
    grid: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Values of a flag that are searched as groups, for example model=lenet5,resnet20.
    If repeated, every combination is a group, with a program of its own."""
    mode: Literal["auto", "vmap", "unrolled", "loop", "separate"] = "auto"
    """How members are run. auto: measure which way is fastest."""
    memory: Annotated[float | None, within(0, 1e9, above=True)] = None
    """GiB of memory, of which a population may take 80 %. None: what is free."""
    sweep_seed: Seed = 0
    """Seed of the search: it decides which settings are proposed."""


@dataclasses.dataclass(frozen=True)
class SweepVerbs:
    """What to do with the search; never part of it."""

    dry_run: bool = False
    """Print the search, or with --slurm its script, and write nothing."""
    worker: bool = False
    """Join the sweep that the same command without this flag has begun."""
    storage: str | None = None
    """Storage of Optuna that the workers share: a URL of SQLAlchemy, or grpc://HOST:PORT.
    None: a SQLite file in the sweep's folder."""
    folder: Path | None = None
    """Folder of the sweep. None: runs/sweeps/EXPERIMENT/TIME-ID."""
    resume: Literal["auto", "never"] = "auto"
    """auto: resume an unfinished sweep of the same settings. never: begin a new one."""
    lease: Positive = 60.0
    """Seconds without a sign of life after which a worker's share is reassigned."""
    checkpoint_seconds: NonNegative = 30.0
    """Seconds between two checkpoints of a population."""
    slurm: CountOrZero = 0
    """Workers to submit to Slurm, which needs the extra `slurm`. 0: run here."""
    slurm_options: tuple[str, ...] = ()
    """Options of sbatch, for example partition=gpu gres=gpu:1 time=60."""


def command(
    experiments: Mapping[str, Callable[[], Any]], arguments: list[str] | None = None
) -> None:
    """Runs a sweep from the command line, and exits as a program should.

    Exit status: 0 done, 1 it failed, 2 the flags are wrong, 130 Ctrl-C, 143 SIGTERM.

    Args:
        experiments: Name to what imports the experiment; only these can be swept.
        arguments: Instead of the command line's: the name, then flags.
    """
    if arguments is None:
        use_utf8()
        arguments = sys.argv[1:]
    name = arguments[0] if arguments else ""
    if name not in experiments:
        asked = name in ("", "-h", "--help")
        near = difflib.get_close_matches(name, experiments, n=1)
        print(
            ("" if asked else f"there is no experiment {name!r}")
            + (f"; did you mean {near[0]}?" if near else "")
            + f"\nusage: sweep.py {{{','.join(sorted(experiments))}}} [flags], and "
            "--help behind the name for the flags",
            file=sys.stdout if asked else sys.stderr,
        )
        sys.exit(0 if name in ("-h", "--help") else 2)
    with exits():
        try:
            _searched(name, experiments[name](), arguments)
        except StorageInternalError as error:
            cause = error.__cause__ or error
            sys.exit(
                f"error: the storage does not answer: {cause}\nOnce it does, the same "
                "command goes on from the last checkpoint"
            )


def _searched(name: str, module: Any, arguments: list[str]) -> None:
    definition, configs, verbs = parsed(name, module, arguments[1:])
    around = Surroundings(
        **{f.name: getattr(verbs, f.name) for f in dataclasses.fields(Surroundings)}
    )
    if verbs.slurm:
        from jaxnets.sweeps import slurm

        if verbs.dry_run:
            print(slurm.script(verbs.slurm_options, arguments))  # noqa: T201
        else:
            jobs = slurm.submit(verbs.slurm, verbs.slurm_options, arguments)
            print(f"submitted {', '.join(jobs)}")  # noqa: T201
    elif verbs.dry_run:
        print(described(definition))  # noqa: T201
    else:
        sweep(definition, module, configs, around)


def parsed(
    name: str, module: Any, arguments: Sequence[str]
) -> tuple[Definition, dict[str, Any], SweepVerbs]:
    """The sweep that the flags describe, the configuration of every group, the verbs.

    The flags are read once for each group, with its static choices behind them: so
    these are checked as flags are, and a network brings its own recipe.

    Raises:
        SpaceError: If a hyperparameter or a range is wrong.
    """
    kind = module.Config
    config, options, verbs, texts = _read(module, list(arguments))
    own = getattr(module, "SPACE", None)
    known = spaces.of(own if own is not None else config.hyper)
    if own is None and not texts:
        known = spaces.default(config.hyper)
    chosen = spaces.narrowed(known, texts)
    free: spaces.Space = dict(spaces.free(chosen))
    fixed = {
        name: float(chosen[name])
        for name in (written.replace("-", "_") for written in texts)
        if name not in free
    }
    configs = {}
    for label, flags in _choices(kind, options.grid):
        if flags:
            config = _read(module, [*arguments, *flags])[0]
        hyper = config.hyper._replace(**fixed)
        configs[label] = dataclasses.replace(config, hyper=hyper)
    ranges.check(options, verbs, *configs.values())
    check_space(config.hyper, free)
    _check_seeds(configs.values(), options)
    # What cannot be searched at all is said now, and not when the data is there.
    count = len(options.objective)
    search.proposals(free, options.method, 0, [1], objectives=count)
    return _definition(name, configs, free, options), configs, verbs


def check_space(hyper: Any, free: spaces.Space) -> None:
    """Refuses a search outside of what the experiment allows.

    Raises:
        RangeError: With a line for every end of a range, or entry of a choice, that the
            hyperparameter cannot have.
    """
    wrong = [
        f"--space.{flag[2:]} must stay in {allowed}, not {bound:g}"
        for flag, searched, allowed, _ in ranges.numbers(hyper._replace(**free))
        if isinstance(searched, spaces.Range) and allowed is not None
        for bound in searched.bounds
        if bound not in allowed
    ]
    if wrong:
        raise RangeError("\n".join(wrong))


def _check_seeds(configs: Iterable[Any], options: Options) -> None:
    """Refuses repetitions whose last seed would be larger than any seed may be.

    Raises:
        RangeError: With a line for every such seed.
    """
    counts = {"seed": options.seeds, "data_seed": options.data_seeds}
    for config in configs:
        last = {
            name: getattr(config, name) + count - 1
            for name, count in counts.items()
            if hasattr(config, name)
        }
        ranges.check(dataclasses.replace(config, **last))


def _definition(
    name: str, configs: Mapping[str, Any], free: spaces.Space, options: Options
) -> Definition:
    up = {"yes": True, "no": False}
    trials = options.trials or options.members
    if options.method == "grid" and options.plan == "hyperband":
        raise spaces.SpaceError("hyperband counts its own settings: no grid")
    return Definition(
        experiment=name,
        groups={label: settings.to_json(config) for label, config in configs.items()},
        space=spaces.to_json(free),
        method=options.method,
        schedule=options.plan,
        trials=trials,
        members=options.members,
        batch=options.batch or options.members,
        eta=options.eta,
        first=options.first,
        seeds=options.seeds,
        data_seeds=options.data_seeds,
        objectives=options.objective,
        maximise=tuple(
            up.get(options.maximise, "accuracy" in metric)
            for metric in options.objective
        ),
        mode=options.mode,
        memory=options.memory,
        seed=options.sweep_seed,
    )


def _choices(kind: type, grid: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Label and flags of every combination of static choices."""
    known = {field.name for field in dataclasses.fields(kind)} - {"hyper"}
    axes = []
    for text in grid:
        name, _, values = text.partition("=")
        name = name.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise spaces.SpaceError(f"--grid {text}: there is no setting {name}{meant}")
        if not values or len(set(values.split(","))) < values.count(",") + 1:
            raise spaces.SpaceError(f"--grid {text}: write {name}=VALUE,OTHER")
        if name in {axis[0][0] for axis in axes}:
            raise spaces.SpaceError(
                f"--grid {text}: {name} is there twice; write {name}=VALUE,OTHER once"
            )
        axes.append([(name, value) for value in values.split(",")])
    found = []
    for combination in itertools.product(*axes):
        label = " ".join(f"{name}={value}" for name, value in combination) or "all"
        flags = []
        for name, value in combination:
            flag = "config." + name.replace("_", "-")
            truth = {"true": [f"--{flag}"], "false": [f"--config.no-{flag[7:]}"]}
            flags += truth.get(value.lower(), [f"--{flag}", value])
        found.append((label, flags))
    return found


def _read(
    module: Any, arguments: list[str]
) -> tuple[Any, Options, SweepVerbs, dict[str, str]]:
    rest, texts = _spaces(arguments)
    read = lambda default, words: _flags(module, default, words)
    config, options, verbs = preset(module.Config, rest, read)
    return config, options, verbs, texts


def _spaces(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Takes the flags `--space.NAME RANGE` out."""
    rest, texts, words = [], {}, iter(arguments)
    for word in words:
        if not word.startswith("--space."):
            rest.append(word)
            continue
        name, equals, text = word.removeprefix("--space.").partition("=")
        texts[name] = text if equals else next(words, "")
    return rest, texts


def _flags(
    module: Any, default: Any, arguments: list[str]
) -> tuple[Any, Options, SweepVerbs]:
    """Two parsers: what the search does not know is for the experiment.

    A flag that both have is the search's; the experiment's is then `--config.NAME`.
    """
    unnamed = tyro.conf.arg(name="")

    def search(
        options: Annotated[Options, unnamed] = Options(),
        verbs: Annotated[SweepVerbs, unnamed] = SweepVerbs(),
    ) -> tuple[Options, SweepVerbs]:
        return options, verbs

    name = f"sweep.py {module.__name__.rsplit('.', 1)[-1]}"
    flat = (tyro.conf.OmitArgPrefixes,)
    helps = {"-h", "--help"} & set(arguments)
    own = getattr(module, "SPACE", None)
    ranges = spaces.free(spaces.of(own)) if own is not None else {}
    lines = [f"  --space.{n.replace('_', '-')} {r}" for n, r in ranges.items()]
    about = (
        "Searches the hyperparameters of an experiment, many in one program. A range "
        "replaces a hyperparameter: --space.NAME 1e-4..1e-1, or 0.1,0.2,0.5, or a "
        "number.\n\nSearched by default:\n" + "\n".join(lines)
    )
    with contextlib.suppress(SystemExit) if helps else contextlib.nullcontext():
        (options, verbs), rest = tyro.cli(
            search,
            args=list(helps) or arguments,
            prog=name,
            description=about,
            config=flat,
            return_unknown_args=True,
        )
    config = tyro.cli(
        module.Config,
        args=list(helps)
        or [
            "--" + word.removeprefix("--config.")
            if word.startswith("--config.")
            else word
            for word in rest
        ],
        default=default,
        prog=name,
        description="Flags of the experiment; where the search has one of the same "
        "name, this one is --config.NAME.",
        config=flat,
    )
    return config, options, verbs


def described(definition: Definition) -> str:
    """What a dry run prints."""
    lines = [f"sweep of {definition.experiment}: dry run, nothing is written"]
    lines += [
        f"  search {name}: {value}"
        for name, value in spaces.from_json(definition.space).items()
    ]
    lines += [f"  group {label}" for label in definition.groups]
    for field in dataclasses.fields(definition):
        if field.name not in ("experiment", "groups", "space"):
            lines.append(f"  {field.name}: {getattr(definition, field.name)}")
    runs = definition.trials * definition.replicas * len(definition.groups)
    lines.append(
        f"{definition.trials} settings x {definition.replicas} seeds x "
        f"{len(definition.groups)} groups = {runs} runs"
    )
    return "\n".join(lines)
