import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxnets import files
from jaxnets.run import compilation


def entry(folder, name, age):
    path = folder / f"{name}-cache"
    path.write_bytes(b"compiled")
    moment = time.time() - age
    os.utime(path, (moment, moment))
    return path


def test_what_a_killed_process_may_have_left_is_removed(tmp_path):
    old, new = entry(tmp_path, "old", 100), entry(tmp_path, "new", 1)
    mark = tmp_path / "writing-1.lock"
    mark.touch()
    begun = time.time() - 50
    os.utime(mark, (begun, begun))
    assert compilation.mend(tmp_path) == 1
    assert old.exists()
    assert not new.exists()
    assert not mark.exists()


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    new = entry(tmp_path, "new", 1)
    mark = tmp_path / "writing-1.lock"
    with mark.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.utime(mark, (time.time() - 50,) * 2)
        assert compilation.mend(tmp_path) == 0
    assert new.exists()
    assert mark.exists()


def test_a_truncated_entry_of_a_killed_process_is_compiled_anew(toy, cache, tmp_path):
    shared = cache / "compiled"
    flags = ("--steps", "100000", "--every", "50", "--checkpoint-seconds", "1000")
    process = toy.start("small", *flags)
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (mark,) = shared.glob("writing-*.lock")
    victims = sorted(shared.glob("*-cache"), key=lambda p: p.stat().st_size)[-3:]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:100])
    _, err = toy("small")
    assert err == ""  # no complaint of a damaged entry
    assert not mark.exists()
    assert all(v.stat().st_size > 100 for v in victims if v.exists())
    assert not list(shared.glob("writing-*.lock"))  # it ended well


def test_the_folder_is_the_users_to_choose(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("JAXNETS_CACHE", str(tmp_path))
    assert compilation.cache_folder() == tmp_path / "compiled"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert compilation.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("JAXNETS_CACHE")
    assert files.cache_root().name == "jaxnets"


def test_a_cache_that_cannot_be_written_only_costs_time(toy, tmp_path):
    (tmp_path / "file").touch()
    flags = {"JAXNETS_CACHE": str(tmp_path / "file" / "below")}
    out, _ = toy("small", environment=flags)
    assert "test accuracy" in out


def test_compiling_is_timed():
    import jax

    before = compilation.compile_seconds()
    jax.jit(lambda x: x * 3.25 + 1)(1.0)
    assert compilation.compile_seconds() > before


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cache_can_be_switched_off(toy, tmp_path, enabled):
    mine = tmp_path / "mine"
    toy(
        "small",
        environment={
            "JAXNETS_CACHE": str(mine),
            "JAX_ENABLE_COMPILATION_CACHE": str(enabled).lower(),
        },
    )
    assert bool(list(mine.glob("compiled/*-cache"))) == enabled


def test_what_the_cache_has_saved_is_added_up(surroundings):
    code = """
import jax
from jaxnets.run import compilation
compilation.use_cache()
before = compilation.saved_seconds()
jax.jit(lambda x: jax.numpy.linalg.svd(jax.numpy.sin(x @ x.T)))(jax.numpy.ones((9, 9)))
print(compilation.saved_seconds() != before)
"""
    command = [sys.executable, "-c", code]
    said = [
        subprocess.run(
            command, env=surroundings(), capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert said[1] == "True\n"
