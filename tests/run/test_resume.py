"""Kill it at any moment, start it again: the same bits as if nothing had happened."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.warm import ended

# Two folders have a conftest.py, and only one of them can be imported.
TOYS = Path(__file__).parent / "toys"

KILLS, QUICKLY = 5, 2  # of each experiment: in the campaign, and always


def only_run(tmp_path, name):
    folders = list((tmp_path / "runs" / name).iterdir())
    assert len(folders) == 1, folders
    return folders[0]


def outcome(tmp_path, name):
    """What must be the same bits: the state, the scores, the metrics file."""
    folder = only_run(tmp_path, name)
    metrics = (folder / "metrics.jsonl").read_bytes()
    steps = [json.loads(line)["step"] for line in metrics.splitlines()]
    assert steps == sorted(set(steps)), "a step stands in the metrics twice"
    result = json.loads((folder / "result.json").read_text())
    return {**result, "metrics": hashlib.sha256(metrics).hexdigest(), "steps": steps}


# A short run with several checkpoints.
SHORT = ("--steps", "60", "--every", "20", "--checkpoint-every", "7")


class Whole(NamedTuple):
    """A run that nobody killed."""

    folder: Path
    outcome: dict
    seconds: float  # of wall time


def undisturbed(toy, tmp_path, name, flags):
    begun = time.monotonic()
    toy(name, *flags)
    seconds = time.monotonic() - begun
    found = outcome(tmp_path, name)
    (tmp_path / "runs").rename(tmp_path / "undisturbed")
    (folder,) = (tmp_path / "undisturbed" / name).iterdir()
    return Whole(folder, found, seconds)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, environment, warm):
    """A short run of the small toy, to be compared with, or copied and damaged."""
    folder = tmp_path_factory.mktemp("whole")
    warm.run(["-c", ""], cwd=folder, env=environment)  # its imports are not timed
    with ended() as started:

        def toy(name, *flags):
            how = {"cwd": folder, "env": environment, "report": False}
            started.append(warm.start([TOYS / f"{name}.py", *flags], **how))
            assert started[-1].wait(300) == 0

        return undisturbed(toy, folder, "small", SHORT)


def copied(whole, tmp_path):
    """The short run where the next one looks for it, without its result."""
    folder = tmp_path / "runs" / "small" / whole.folder.name
    shutil.copytree(whole.folder, folder)
    (folder / "result.json").unlink()
    return folder


def killed(toy, tmp_path, name, flags, kills, seconds, rng):
    """Kills the same command so often, at random moments, then lets it end.

    Returns how many kills there were: fewer, where it came to its end before; and how
    long one start took at most, in seconds.
    """
    done = 0
    while done < kills:
        process, begun = toy.start(name, *flags), time.monotonic()
        try:
            process.wait(timeout=rng.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            done += 1
        else:
            # The first one had to compile.
            seconds = min(seconds, time.monotonic() - begun)
        process.communicate()
        if list(tmp_path.glob("runs/*/*/result.json")):
            return done, seconds
    toy(name, *flags)
    return done, seconds


def campaign(toy, tmp_path, name, flags, kills, whole=None):
    """So many kills; every run must end as `whole`, by default a run of its own."""
    _, expected, seconds = whole or undisturbed(toy, tmp_path, name, flags)
    rng, done = random.Random(f"{name} {kills}"), 0
    while done < kills:
        left = kills - done
        more, seconds = killed(toy, tmp_path, name, flags, left, seconds, rng)
        done += more
        assert outcome(tmp_path, name) == expected
        if done < kills:
            (tmp_path / "runs").rename(tmp_path / f"early-{done}-{time.time()}")
    return done


SMALL = DUEL = ("--steps", "200", "--every", "40", "--checkpoint-every", "7")
SCANNED = (*SMALL, "--steps-per-call", "5")


def test_kills_at_random_moments_change_no_bit(toy, tmp_path, whole):
    assert campaign(toy, tmp_path, "small", SHORT, QUICKLY, whole) == QUICKLY


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("name", "flags"), [("small", SMALL), ("duel", DUEL), ("small", SCANNED)]
)
def test_15_kills_over_three_experiments(toy, tmp_path, name, flags):
    assert campaign(toy, tmp_path, name, flags, KILLS) == KILLS


# Where a crash hurts most: (module, function, before or after, at which call).
POINTS = {
    "before config.json": ("jaxnets.run.folder", "_begin", "before", 1),
    "after config.json": ("jaxnets.run.folder", "_begin", "after", 1),
    "before the arrays": ("orbax.checkpoint", "PyTreeCheckpointer.save", "before", 3),
    "after the arrays": ("orbax.checkpoint", "PyTreeCheckpointer.save", "after", 3),
    "inside the manifest": ("jaxnets.files", "sha256", "before", 25),
    "before the rename": ("pathlib", "Path.rename", "before", 4),
    "after the rename": ("pathlib", "Path.rename", "after", 4),
    "before a deletion": (
        "jaxnets.run.checkpoints",
        "Checkpoints._remove",
        "before",
        1,
    ),
    "inside a deletion": ("shutil", "rmtree", "before", 9),
    "before a metrics line": ("jaxnets.run.records", "Records.add", "before", 2),
    "after a metrics line": ("jaxnets.run.records", "Records.add", "after", 2),
    "before the result": ("jaxnets.run.report", "write", "before", 1),
}
assert len(POINTS) == 12

CRASH = textwrap.dedent("""
    import importlib, os, signal, sys
    module, name, when, count = sys.argv[1:5]
    sys.path.insert(0, sys.argv[5])
    sys.argv = [sys.argv[6], *sys.argv[7:]]
    import small
    from jaxnets.run.command import command

    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    original, calls = getattr(owner, last), 0

    def crashing(*arguments, **options):
        global calls
        calls += 1
        if calls == int(count) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if calls == int(count) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, last, crashing)
    command(small.main, small.Config)
""")


def crash(toy, tmp_path, expected, point):
    program = tmp_path / "crash.py"
    program.write_text(CRASH)
    module, name, when, count = POINTS[point]
    flags = (module, name, when, str(count), str(TOYS), "small.py", *SHORT)
    toy("", *flags, program=program, status=-9, report=True)
    toy("small", *SHORT, report=True)
    assert outcome(tmp_path, "small") == expected, point
    left = {entry.name for entry in only_run(tmp_path, "small").rglob("*")}
    assert not [name for name in left if name.endswith((".tmp", ".trash", ".part"))]
    (tmp_path / "runs").rename(tmp_path / point)


@pytest.mark.parametrize(
    "point", ["inside the manifest", "after a metrics line", "before the result"]
)
def test_crashes_at_three_named_points_change_no_bit(toy, tmp_path, whole, point):
    crash(toy, tmp_path, whole.outcome, point)


@pytest.mark.campaign
def test_crashes_at_twelve_named_points(toy, tmp_path, whole):
    for point in POINTS:
        crash(toy, tmp_path, whole.outcome, point)


SAVES = textwrap.dedent("""
    import sys
    from pathlib import Path
    import jax.numpy as jnp
    from jaxnets.run.checkpoints import Checkpoints

    checkpoints = Checkpoints(Path("loop"), keep=2, say=lambda text: None)
    target = {"w": jnp.zeros(20_000), "n": jnp.int32(0)}
    found = checkpoints.newest(target)
    step = 0 if found is None else found.step
    if found is not None:
        assert int(found.state["n"]) == step
        assert (found.state["w"] == step).all()
    print("restored", step, flush=True)
    while True:
        step += 1
        state = {"w": jnp.full(20_000, float(step)), "n": jnp.int32(step)}
        checkpoints.save(step, state, {})
        print("saved", step, flush=True)
""")


def save_loop(toy, tmp_path, kills):
    """Kills a loop of saves; returns how many acknowledged ones were lost."""
    program = tmp_path / "saves.py"
    program.write_text(SAVES)
    rng, lost, acknowledged = random.Random(0), 0, 0
    for _ in range(kills + 1):
        process = toy.start("", program=program)
        restored = int(process.stdout.readline().split()[1])
        lost += restored < acknowledged
        assert restored <= acknowledged + 1
        time.sleep(rng.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        lines = out.splitlines()
        acknowledged = int(lines[-1].split()[1]) if lines else restored
    return lost


def test_kills_in_a_save_loop_lose_nothing(toy, tmp_path):
    assert save_loop(toy, tmp_path, 6) == 0


@pytest.mark.campaign
def test_60_kills_in_a_save_loop(toy, tmp_path):
    assert save_loop(toy, tmp_path, 60) == 0


def test_two_starts_give_the_same_bits(toy, tmp_path, whole):
    unfinished = copied(whole, tmp_path)
    # An interpreter of its own: forks share what Python draws when it starts.
    toy("small", *SHORT, "--resume", "never", true_start=True)
    (result,) = tmp_path.glob("runs/small/*/result.json")
    assert result.parent != unfinished
    found = json.loads(result.read_text())
    assert found == json.loads((whole.folder / "result.json").read_text())
    assert len(found["state_sha256"]) == 64


def test_a_damaged_newest_checkpoint_costs_steps_and_no_bits(toy, tmp_path, whole):
    folder = copied(whole, tmp_path)
    newest = max((folder / "checkpoints").iterdir(), key=lambda p: int(p.name))
    victim = next(p for p in (newest / "state" / "d").iterdir())
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(bytes(content))
    out, _ = toy("small", *SHORT)
    assert f"checkpoint {newest.name} is damaged" in out
    assert "resumed at step" in out
    assert outcome(tmp_path, "small") == whole.outcome


def test_without_an_intact_checkpoint_the_run_does_not_begin_again(
    toy, tmp_path, whole
):
    folder = copied(whole, tmp_path)
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    _, err = toy("small", *SHORT, status=1)
    assert "none of the checkpoints" in err
    assert "--resume never" in err
    assert "Traceback" not in err
