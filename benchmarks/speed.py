"""Is a training step as fast as what a user would pick instead? Side by side, one run.

    uv run benchmarks/speed.py --torch ../torch/bin/python
    uv run benchmarks/speed.py --networks mlp lstm --rounds 3 --no-starts
    uv run benchmarks/speed.py --networks convnet --members 4 16 64
    uv run benchmarks/speed.py --networks convnet --set rows=32 rows=512
    uv run benchmarks/speed.py --ways ours --against HEAD~10

This project, Flax as its examples write it, and PyTorch (plain, channels last,
compiled, bfloat16) train the same networks on the same number of rows: the number of
parameters is compared, and a difference is an error. Every way is a process of its own;
rounds go from one to the next and again, so that whatever else the machine does falls
on all. A ratio is the median over rounds of times in the same round; only ratios mean
something on a shared machine. Writes `runs/speed/TIME.json` and `.png`, and where sizes
or members were varied `TIME-growth.png`.
"""

import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import tyro

from jaxnets import files
from jaxnets.run import settings as plain

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "benchmarks" / "steps"))
from serve import SIZES  # noqa: E402

OURS, FLAX, TORCH, LIMIT = "ours.py", "plain.py", "in_torch.py", "limit.py"
BFLOAT16 = {"dtype": "bfloat16"}
LAST = {"channels_last": True}
# Name to worker and options. Ratios are to the first.
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "ours": (OURS, {}),
    "ours, bfloat16": (OURS, BFLOAT16),
    "Flax": (FLAX, {}),
    "torch": (TORCH, {}),
    "torch, channels last": (TORCH, LAST),
    "torch, compiled": (TORCH, {"compile": True}),
    "torch, bfloat16": (TORCH, {"autocast": True}),
    "torch, bfloat16, channels last": (TORCH, {"autocast": True, **LAST}),
}

# By network and kind of size, and way: the sizes, and milliseconds a step at each.
Curves: TypeAlias = dict[tuple[str, str], dict[str, list[tuple[int, float]]]]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is timed."""

    networks: tuple[str, ...] = tuple(SIZES)  # see steps/serve.py
    ways: tuple[str, ...] = tuple(WAYS)  # see the table above
    torch: Path | None = None  # a Python that has torch; it needs nothing else
    members: tuple[int, ...] = ()  # populations of ours, beside one of them
    modes: tuple[str, ...] = ("vmap", "unrolled")  # how populations are run
    set: tuple[str, ...] = ()  # sizes to try instead, NAME=NUMBER each
    against: str | None = None  # a commit, whose own code is one more way
    rounds: int = 7  # visits to each way
    seconds: float = 1.0  # of every visit, about
    starts: bool = True  # time the first step with an empty cache as well
    folder: Path = ROOT / "runs" / "speed"  # of the results


class Ended(RuntimeError):
    """A worker is gone; the message is the last that it said."""


class Worker:
    """A process that takes steps when told to."""

    def __init__(self, python: Path, script: str, root: Path, cache: str) -> None:
        """Remembers how it is started."""
        workers = ROOT / "benchmarks" / "steps"
        self._command = [str(python), str(workers / script)]
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(root),
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "TORCHINDUCTOR_CACHE_DIR": cache,
            # Threads that wait must not spin while another worker is measured.
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    def start(self, network: str, options: dict[str, Any]) -> dict[str, Any]:
        """Builds a workload and takes a step; returns what it says of that."""
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `stop`
        self._process = subprocess.Popen(  # noqa: S603 - this very program's parts
            [*self._command, network, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
        )
        return self._answer()

    def steps(self, count: int) -> dict[str, Any]:
        """Takes so many steps; returns the seconds of each."""
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _answer(self) -> dict[str, Any]:
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        self._log.seek(0)
        said = self._log.read().strip().splitlines()
        raise Ended(said[-1] if said else f"exit status {self._process.returncode}")


class Way(NamedTuple):
    """One line of the table, on its way."""

    name: str
    options: dict[str, Any]
    worker: Worker
    cold: float | None  # seconds to the first step, with an empty cache
    ready: dict[str, Any]  # what the worker said of its first step
    rounds: list[dict[str, Any]]


def main(settings: Settings) -> list[dict[str, Any]]:
    """Prints the table of every network, and returns its rows."""
    rows: list[dict[str, Any]] = []
    head = "network | way | ms a step | of ours | CPU ms | rows a second | MiB"
    print(f"{machine()}\n\n| {head} | of the limit | compile s | first step s |")
    print("|" + " --- |" * 10)
    for network in settings.networks:
        sizes = [{}, *({n: int(v)} for n, v in (s.split("=") for s in settings.set))]
        for size in sizes[bool(settings.set) :]:
            found = compared(settings, network, size)
            rows += found
            for row in found:
                print(line(row), flush=True)
    if rows:
        settings.folder.mkdir(parents=True, exist_ok=True)
        path = settings.folder / time.strftime("%Y%m%d-%H%M%S")
        whole = {"machine": machine(), "settings": plain.to_json(settings)}
        text = files.dump_json({**whole, "rows": rows}, indent=1)
        files.write(path.with_suffix(".json"), text + "\n")
        drawn(rows, path.with_suffix(".png"))
        if curves := growth(rows):
            drawn_growth(curves, path.with_name(f"{path.name}-growth.png"))
        print(f"\n->  {path}.json, .png")
    return rows


def compared(
    settings: Settings, network: str, size: dict[str, Any]
) -> list[dict[str, Any]]:
    """All ways of a network, in turns."""
    with ExitStack() as stack:
        ways: list[Way] = []
        for name, script, options, root in asked(settings, network, stack):
            python = settings.torch if script == TORCH else Path(sys.executable)
            if python is None:
                continue
            cache = stack.enter_context(tempfile.TemporaryDirectory())
            worker, cold = Worker(python, script, root, cache), None
            options = {**options, **size}
            try:
                if settings.starts:
                    cold = worker.start(network, options)["first"]
                    worker.stop()
                ready = worker.start(network, options)
            except Ended as why:
                print(f"{network}, {name}: left out: {why}", file=sys.stderr)
                continue
            stack.callback(worker.stop)
            ways.append(Way(name, options, worker, cold, ready, []))
        if not ways or ways[0].name == "limit":
            return []
        equal(network, ways)
        counts = [
            max(1, round(settings.seconds / way.worker.steps(2)["wall"]))
            for way in ways
        ]
        for number in range(settings.rounds):
            order = range(len(ways))
            for index in order if number % 2 else reversed(order):
                ways[index].rounds.append(ways[index].worker.steps(counts[index]))
        return summed(network, ways)


def asked(
    settings: Settings, network: str, stack: ExitStack
) -> Iterator[tuple[str, str, dict[str, Any], Path]]:
    """Name, worker, options and code of every way, and of the limit."""
    unknown = {*settings.ways} - {*WAYS} | {*settings.networks} - {*SIZES}
    unknown |= {one.split("=")[0] for one in settings.set} - {*SIZES[network]}
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}")
    for name in settings.ways:
        script, options = WAYS[name]
        yield name, script, options, ROOT
    for members in settings.members:
        for mode in settings.modes:
            options = {"members": members, "mode": mode}
            yield f"ours, {members} members, {mode}", OURS, options, ROOT
    if settings.against:
        root = stack.enter_context(checked_out(settings.against))
        yield f"ours at {settings.against}", OURS, {}, root
    yield "limit", LIMIT, {}, ROOT


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """The code of another commit, in a folder of its own."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "code"
        subprocess.run([*git, "add", "-q", "--detach", path, commit], check=True)  # noqa: S603
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", path], check=True)  # noqa: S603


def equal(network: str, ways: Sequence[Way]) -> None:
    """Stops where two ways train networks of different size.

    By more than a hundredth: Flax's LSTM has one bias where torch's has two.
    """
    counts = {way.name: way.ready["parameters"] for way in ways if way.name != "limit"}
    if max(counts.values()) > 1.01 * min(counts.values()):
        raise SystemExit(f"{network}: parameters differ: {counts}")


def summed(network: str, ways: Sequence[Way]) -> list[dict[str, Any]]:
    """A row for each way: medians over rounds, and the spread."""
    first, limit = ways[0], ways[-1]
    most = limit.ready["multiply_adds"] / median(limit, "wall")
    work = first.ready.get("multiply_adds")
    rows = []
    for way in ways[:-1]:
        members = way.options.get("members", 1)
        walls = [each["wall"] / members for each in way.rounds]
        pairs = zip(walls, (each["wall"] for each in first.rounds), strict=True)
        count = SIZES[network] | way.options
        rows.append(
            {
                "network": network,
                "way": way.name,
                "options": way.options,
                "wall": statistics.median(walls),
                "least": min(walls),
                "most": max(walls),
                "ratio": statistics.median(mine / own for mine, own in pairs),
                "cpu": median(way, "cpu") / members,
                "rows_a_second": count["rows"] / statistics.median(walls),
                "peak": way.rounds[-1]["peak"],
                "of_the_limit": work and work / statistics.median(walls) / most,
                "compile": way.ready.get("compile"),
                "cold": way.cold,
                "warm": way.ready["first"],
                "versions": way.ready.get("versions"),
            }
        )
    return rows


def median(way: Way, what: str) -> float:
    """Over rounds."""
    return statistics.median(each[what] for each in way.rounds)


def line(row: dict[str, Any]) -> str:
    """A row of the table. Times of populations are of one member."""
    spread = f"{1e3 * row['least']:.3g} to {1e3 * row['most']:.3g}"
    shown = lambda value, form: "" if value is None else format(value, form)
    cells = [
        sized(row),
        row["way"],
        f"{1e3 * row['wall']:.3g} ({spread})",
        f"{row['ratio']:.2f}",
        f"{1e3 * row['cpu']:.3g}",
        f"{row['rows_a_second']:,.0f}",
        f"{row['peak'] / 2**20:,.0f}",
        shown(row["of_the_limit"], ".0%"),
        shown(row["compile"], ".1f"),
        " / ".join(shown(row[n], ".1f") for n in ("cold", "warm") if row[n]),
    ]
    return f"| {' | '.join(cells)} |"


def sized(row: dict[str, Any]) -> str:
    """The network, with what is not as big as usual."""
    return " ".join([row["network"], *(f"{n}={v}" for n, v in varied(row).items())])


def varied(row: dict[str, Any]) -> dict[str, int]:
    """The sizes that are not as usual."""
    own = SIZES[row["network"]]
    return {name: size for name, size in row["options"].items() if name in own}


def growth(rows: Sequence[dict[str, Any]]) -> Curves:
    """Milliseconds a step by size, for each network, kind of size and way.

    Sizes are those of `--set` and the number of members; kinds that have one size only
    are left out. The time of a population is that of all its members.
    """
    curves: Curves = {}

    def put(row: dict[str, Any], kind: str, way: str, size: int) -> None:
        whole = row["options"].get("members", 1) * row["wall"] * 1e3
        curves.setdefault((row["network"], kind), {}).setdefault(way, []).append(
            (size, whole)
        )

    modes = {r["options"]["mode"] for r in rows if "members" in r["options"]}
    for row in rows:
        options, sizes = row["options"], varied(row)
        if "members" in options:
            put(row, "members", options["mode"], options["members"])
        elif not sizes:
            for mode in sorted(modes) if row["way"] == "ours" else ():
                put(row, "members", mode, 1)
        elif len(sizes) == 1:
            ((kind, size),) = sizes.items()
            put(row, kind, row["way"], size)
    return {
        name: {way: sorted(points) for way, points in ways.items()}
        for name, ways in curves.items()
        if max(map(len, ways.values())) > 1
    }


def drawn_growth(curves: Curves, path: Path) -> None:
    """Time of a step against size, on logarithmic axes; a panel a network and kind."""
    from matplotlib.figure import Figure

    figure = Figure((4 * len(curves), 4), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    names = list(dict.fromkeys(way for ways in curves.values() for way in ways))
    for axes, ((network, kind), ways) in zip(panels, curves.items(), strict=True):
        for way, points in ways.items():
            colour = f"C{names.index(way)}"
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=way)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        sizes = sorted({size for points in ways.values() for size, _ in points})
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel(kind)
        axes.set_title(network)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    panels[0].set_ylabel("milliseconds a step")
    figure.savefig(path, dpi=120)


def machine() -> str:
    """What the numbers are of."""
    name = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.exists():
        lines = about.read_text().splitlines()
        models = [one.split(":")[1].strip() for one in lines if "model name" in one]
        name = models[0] if models else name
    load = os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} CPUs, load {load:.1f}, {platform.system()}"


def drawn(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Time of every way as a multiple of ours, a line a network."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["way"] for row in rows))
    networks = list(dict.fromkeys(map(sized, rows)))
    figure = Figure((8, 0.5 * len(networks) + 2), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(names):
        mine = [row for row in rows if row["way"] == name]
        heights = [networks.index(sized(row)) for row in mine]
        shift = 0.5 * (index / max(len(names) - 1, 1) - 0.5)
        axes.plot(
            [row["ratio"] for row in mine],
            [height + shift for height in heights],
            marker="o",
            linestyle="",
            label=name,
            color=f"C{index}",
        )
    axes.axvline(1, color="0.7", linewidth=1, zorder=0)
    axes.set_xscale("log", base=2)
    ratios = [row["ratio"] for row in rows]
    axes.set_xlim(min(0.4, *ratios) / 1.1, max(2.5, *ratios) * 1.1)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(networks)), networks)
    axes.invert_yaxis()
    axes.set_xlabel(f"time of a training step, as a multiple of {names[0]}")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
