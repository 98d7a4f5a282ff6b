"""Is a sweep as one program faster than its runs? Wall and CPU time of three ways.

    uv run benchmarks/sweeps.py
    uv run benchmarks/sweeps.py --models mlp --members 16 --epochs 1

Learning rates of `experiments/classify.py` on digits: as one sweep; as the same runs
one after another in one process; the first numbers of them also as processes of their
own, two at a time. Each is what a user would start, with its reports and its
compilation, first with an empty compilation cache and then with a full one. Only the
ratios mean something on a shared machine: all ways of one model and number follow each
other in one run. CPU time hangs less on what else the machine does.
"""

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro

from jaxnets import files

ROOT = Path(__file__).parents[1]
LOW, HIGH = 1e-4, 1e-1

IN_ONE_PROCESS = """
import dataclasses, sys
from pathlib import Path
from experiments import classify
from jaxnets.run.verbs import Verbs

model, epochs, *rates = sys.argv[1:]
for number, rate in enumerate(rates):
    hyper = classify.Config().hyper._replace(learning_rate=float(rate))
    config = classify.Config(model=model, epochs=int(epochs), hyper=hyper)
    classify.main(config, Verbs(run_dir=Path(f"in-turn-{number}")))
"""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is timed."""

    models: tuple[str, ...] = ("convnet", "mlp")  # networks of the zoo
    members: tuple[int, ...] = (16, 64)  # learning rates
    epochs: int = 10  # of every run
    modes: tuple[str, ...] = ("auto",)  # ways to run members; auto measures
    at_once: int = 2  # processes of their own
    processes: int = 16  # up to so many rates are run as processes of their own


def main(settings: Settings) -> list[dict[str, object]]:
    """Prints the times of each way, and their ratios to the sweep's."""
    rows: list[dict[str, object]] = []
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {settings}")
    subprocess.run([sys.executable, "-c", "import jaxnets.plots.parts"], check=True)
    for model in settings.models:
        for members in settings.members:
            with tempfile.TemporaryDirectory() as cache:
                for state in ("cold", "warm"):
                    rows += _compared(settings, model, members, state, cache)
    print(json.dumps(rows))
    return rows


def _compared(
    settings: Settings, model: str, members: int, state: str, cache: str
) -> list[dict[str, object]]:
    ways: dict[str, list[list[str]]] = {}
    for mode in settings.modes:
        ways[f"sweep, {mode}"] = [_sweep(settings, model, members, mode)]
    rates = [repr(float(r)) for r in np.geomspace(LOW, HIGH, members)]
    epochs = str(settings.epochs)
    ways["one after another"] = [["-c", IN_ONE_PROCESS, model, epochs, *rates]]
    script = str(ROOT / "experiments" / "classify.py")
    given = ["--model", model, "--epochs", epochs]
    if members <= settings.processes:
        ways[f"processes, {settings.at_once} at a time"] = [
            [script, *given, "--learning-rate", rate, "--run-dir", f"alone-{i}"]
            for i, rate in enumerate(rates)
        ]
    found: list[dict[str, object]] = []
    first: tuple[float, float] | None = None
    for way, commands in ways.items():
        # Each way fills a cache of its own: none profits from another.
        own = str(Path(cache) / way.replace(" ", "-"))
        wall, cpu, said = _timed(commands, settings.at_once, own)
        first = first or (wall, cpu)
        picked = next((line for line in said if "members run as" in line), "")
        print(
            f"{model}, {members} rates, {state} cache, {way}: wall {wall:.1f} s, "
            f"CPU {cpu:.1f} s; {wall / first[0]:.2f} and {cpu / first[1]:.2f} times "
            f"the sweep's  {picked.strip()}",
            flush=True,
        )
        found.append(
            {"model": model, "members": members, "cache": state, "way": way}
            | {"wall": round(wall, 2), "cpu": round(cpu, 2), "picked": picked.strip()}
        )
    return found


def _sweep(settings: Settings, model: str, members: int, mode: str) -> list[str]:
    fixed = ("--space.weight-decay", "0.02", "--mode", mode, "--method", "grid")
    return [
        *(str(ROOT / "experiments" / "sweep.py"), "classify", "--model", model),
        *("--epochs", str(settings.epochs), "--members", str(members), *fixed),
        *("--space.learning-rate", f"{LOW!r}..{HIGH!r}", "--folder", "sweep"),
    ]


def _timed(
    commands: Sequence[Sequence[str]], at_once: int, cache: str
) -> tuple[float, float, list[str]]:
    """Wall seconds, CPU seconds, and what was said; in an empty folder."""
    environment = {**os.environ, "JAXNETS_CACHE": cache, "PYTHONPATH": str(ROOT)}
    # The list of fonts is no part of it.
    environment["MPLCONFIGDIR"] = str(files.cache_root() / "matplotlib")
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    with tempfile.TemporaryDirectory() as folder:
        before, begun = _spent(), time.perf_counter()
        waiting, running = list(commands), []
        logs = []
        while waiting or running:
            while waiting and len(running) < at_once:
                log = (Path(folder) / f"log-{len(logs)}").open("w+")
                logs.append(log)
                command = [sys.executable, *waiting.pop(0)]
                running.append(
                    subprocess.Popen(  # noqa: S603 - this very program's parts
                        command, cwd=folder, env=environment, stdout=log, stderr=log
                    )
                )
            for process in [p for p in running if p.poll() is not None]:
                running.remove(process)
                if process.returncode:
                    logs[-1].seek(0)
                    raise SystemExit(logs[-1].read())
            time.sleep(0.02)
        wall, cpu = time.perf_counter() - begun, _spent() - before
        said = []
        for log in logs:
            log.seek(0)
            said += log.read().splitlines()
            log.close()
    return wall, cpu, said


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
