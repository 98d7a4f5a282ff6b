"""Kill it at any moment, start it again: the same bits as if nothing had happened."""

import hashlib
import json
import random
import signal
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

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


def undisturbed(toy, tmp_path, name, flags):
    begun = time.monotonic()
    toy(name, *flags)
    seconds = time.monotonic() - begun
    found = outcome(tmp_path, name)
    (tmp_path / "runs").rename(tmp_path / "undisturbed")
    return found, seconds


def killed(toy, tmp_path, name, flags, kills, seconds, rng):
    """Kills the same command so often, at random moments, then lets it end.

    Returns how many kills there were: fewer, where it came to its end before.
    """
    done = 0
    while done < kills:
        process = toy.start(name, *flags)
        try:
            process.wait(timeout=rng.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.communicate()
        if list(tmp_path.glob("runs/*/*/result.json")):
            return done
    toy(name, *flags)
    return done


def campaign(toy, tmp_path, name, flags, kills):
    expected, seconds = undisturbed(toy, tmp_path, name, flags)
    rng, done = random.Random(f"{name} {kills}"), 0
    while done < kills:
        done += killed(toy, tmp_path, name, flags, kills - done, seconds, rng)
        assert outcome(tmp_path, name) == expected
        if done < kills:
            (tmp_path / "runs").rename(tmp_path / f"early-{done}-{time.time()}")
    return done


SMALL = DUEL = ("--steps", "200", "--every", "40", "--checkpoint-every", "7")
SCANNED = (*SMALL, "--steps-per-call", "5")


@pytest.mark.parametrize(("name", "flags"), [("small", SMALL), ("duel", DUEL)])
def test_kills_at_random_moments_change_no_bit(toy, tmp_path, name, flags):
    assert campaign(toy, tmp_path, name, flags, QUICKLY) == QUICKLY


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
CRASHED = ("--steps", "60", "--every", "20", "--checkpoint-every", "7")


def crash(toy, tmp_path, expected, point):
    program = tmp_path / "crash.py"
    program.write_text(CRASH)
    module, name, when, count = POINTS[point]
    flags = (module, name, when, str(count), str(TOYS), "small.py", *CRASHED)
    toy("", *flags, program=program, status=-9)
    toy("small", *CRASHED)
    assert outcome(tmp_path, "small") == expected, point
    left = {entry.name for entry in only_run(tmp_path, "small").rglob("*")}
    assert not [name for name in left if name.endswith((".tmp", ".trash", ".part"))]
    (tmp_path / "runs").rename(tmp_path / point)


def crash_at(toy, tmp_path, points):
    expected, _ = undisturbed(toy, tmp_path, "small", CRASHED)
    for point in points:
        crash(toy, tmp_path, expected, point)


def test_crashes_at_three_named_points_change_no_bit(toy, tmp_path):
    points = ["inside the manifest", "after a metrics line", "before the result"]
    crash_at(toy, tmp_path, points)


@pytest.mark.campaign
def test_crashes_at_twelve_named_points(toy, tmp_path):
    crash_at(toy, tmp_path, POINTS)


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


def test_two_starts_give_the_same_bits(toy, tmp_path):
    for _ in range(2):
        toy("small", "--resume", "never")
        time.sleep(1)
    results = [
        json.loads((folder / "result.json").read_text())
        for folder in (tmp_path / "runs" / "small").iterdir()
    ]
    assert len(results) == 2
    assert results[0] == results[1]
    assert len(results[0]["state_sha256"]) == 64


def test_a_damaged_newest_checkpoint_costs_steps_and_no_bits(toy, tmp_path):
    flags = ("--steps", "60", "--every", "20", "--checkpoint-every", "7")
    expected, _ = undisturbed(toy, tmp_path, "small", flags)
    toy("small", *flags)
    folder = only_run(tmp_path, "small")
    (folder / "result.json").unlink()
    newest = max((folder / "checkpoints").iterdir(), key=lambda p: int(p.name))
    victim = next(p for p in (newest / "state" / "d").iterdir())
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 4
    victim.write_bytes(bytes(content))
    out, _ = toy("small", *flags)
    assert f"checkpoint {newest.name} is damaged" in out
    assert "resumed at step" in out
    assert outcome(tmp_path, "small") == expected


def test_without_an_intact_checkpoint_the_run_does_not_begin_again(toy, tmp_path):
    toy("small")
    folder = only_run(tmp_path, "small")
    (folder / "result.json").unlink()
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    _, err = toy("small", status=1)
    assert "none of the checkpoints" in err
    assert "--resume never" in err
    assert "Traceback" not in err
