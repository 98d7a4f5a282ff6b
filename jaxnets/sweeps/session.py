"""A sweep from its first line to its report."""

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

from jaxnets import files
from jaxnets.run import compilation, settings
from jaxnets.run import folder as folders
from jaxnets.run import mesh as on
from jaxnets.run.console import one_line, show
from jaxnets.run.experiment import Experiment, complete
from jaxnets.run.folder import Folder, RunError
from jaxnets.run.interrupts import Interrupts
from jaxnets.run.memory import keep_freed
from jaxnets.sweeps import extraction, plans, report, results
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.ledger import Ledger
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.work import Workshop, work


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """Where and how a sweep is done; never part of what it is."""

    worker: bool = False
    storage: str | None = None
    folder: Path | None = None
    resume: Literal["auto", "never"] = "auto"
    lease: float = 60.0
    checkpoint_seconds: float = 30.0


def sweep(
    definition: Definition,
    experiment: Experiment,
    configs: dict[str, Any],
    around: Surroundings = Surroundings(),
) -> Path:
    """Does a sweep, or a worker's share of it, and says what came out.

    Args:
        definition: What is searched.
        experiment: The module.
        configs: Label to configuration of every group, as in the definition.
        around: Where and how.

    Returns:
        The folder of the sweep.

    Raises:
        RunError: If another process leads the same sweep, it cannot go on here, or the
            module is no whole experiment.
        InterruptedRun: After Ctrl-C or SIGTERM.
    """
    complete(experiment)
    began = time.monotonic()
    keep_freed()  # before JAX starts its threads
    on.refuse_many_processes()
    compilation.compile_seconds()  # starts the clock
    compilation.use_cache()
    plain = json.loads(files.dump_json(dataclasses.asdict(definition)))
    wanted = {"experiment": f"sweep of {definition.experiment}", "config": plain}
    held, path = _folder(definition, wanted, around)
    if held is None and (path / "result.json").exists():
        _say(f"the sweep in {path} is finished: nothing is left for a worker")
        return path
    shop = Workshop(
        definition,
        experiment,
        configs,
        path,
        _say,
        checkpoint_seconds=around.checkpoint_seconds,
    )
    name = f"{definition.experiment}-{settings.identity(wanted)}"
    if around.storage is None:
        name = definition.experiment
    ledger = Ledger(
        path,
        name,
        plain,
        len(definition.objectives),
        url=around.storage,
        lease=around.lease,
    )
    try:
        with _signals(shop):
            _greet(definition, path, worker=held is None)
            agenda = work(shop, ledger, publish=held is not None)
            if held is not None:
                _end(shop, agenda, ledger, time.monotonic() - began)
    finally:
        ledger.close()
        if held is not None:
            held.close()
    return path


class _signals:
    """Ctrl-C and SIGTERM stop between two blocks of steps."""

    def __init__(self, shop: Workshop) -> None:
        self._signals = Interrupts()
        shop.signals = self._signals

    def __enter__(self) -> None:
        self._signals.__enter__()

    def __exit__(self, *details: object) -> None:
        self._signals.__exit__()


def _folder(
    definition: Definition, wanted: dict[str, Any], around: Surroundings
) -> tuple[Folder | None, Path]:
    """The folder, and the lock on it of the one who leads."""
    root = Path("runs/sweeps") / files.safe_name(definition.experiment)
    fresh = around.resume == "never"
    if not around.worker:
        held = folders.opened(root, wanted, named=around.folder, fresh=fresh)
        return held, held.path
    if around.folder is not None:
        same = [around.folder] if (around.folder / "config.json").exists() else []
    else:
        same = sorted(root.glob(f"*-{settings.identity(wanted)}"), reverse=True)
    unfinished = [path for path in same if not (path / "result.json").exists()]
    if same:
        return None, (unfinished or same)[0]
    return None, folders.prepared(
        root, wanted, named=around.folder
    )  # who leads is late


def _greet(definition: Definition, path: Path, *, worker: bool) -> None:
    free = spaces.from_json(definition.space)
    searched = ", ".join(f"{name} {own}" for name, own in free.items())
    groups = len(definition.groups)
    _say(
        f"sweep of {definition.experiment}: {definition.method} search of {searched}; "
        f"{definition.trials} settings"
        + (f" in each of {groups} groups" if groups > 1 else "")
        + (f", {definition.replicas} seeds" if definition.replicas > 1 else "")
        + f", {definition.schedule}{', worker' if worker else ''}  ->  {path}"
    )


def _end(shop: Workshop, agenda: plans.Agenda, ledger: Ledger, seconds: float) -> None:
    """The winner's run, the table, the report; the result comes last."""
    definition, path = shop.definition, shop.folder
    best = extraction.winner(definition, agenda.finished)
    result: dict[str, Any] = {"trials": len(agenda.finished)}
    if best is None:
        reasons = sorted({r for done in agenda.finished for r in done.reasons if r})
        files.write(path / "result.json", files.dump_json(result, indent=2) + "\n")
        raise RunError(f"no setting came to its end: {'; '.join(reasons[:3])}")
    replica = extraction.best_replica(definition, best)
    _say("the winner ends as an ordinary run, and is scored on the test split:")
    tested = extraction.taken_out(shop, best, replica, path / "best")
    outcomes = ledger.outcomes()
    written = path
    try:
        written = report.write(
            path,
            definition,
            agenda.finished,
            outcomes,
            ledger.results,
            best,
            tested,
            seconds,
        )
    except Exception as error:  # a picture does not cost a sweep its result
        _say(f"warning: report.html is left out: {one_line(error)}")
    result |= {
        "compute": report.compute(definition, agenda.finished, outcomes),
        "winner": best._asdict(),
        "replica": replica,
        "test": tested.get("test", {}),
    }
    # Last: a sweep that has a result has everything.
    files.write(path / "result.json", files.dump_json(result, indent=2) + "\n")
    for line in results.lines(definition, agenda.finished):
        _say(line)
    spent = result["compute"]
    stopped = f", {spent['saved']} saved" if definition.schedule != "full" else ""
    _say(f"{spent['member-steps']} steps of all members{stopped}  ->  {written}")


def _say(text: str) -> None:
    show(text, sys.stdout)
