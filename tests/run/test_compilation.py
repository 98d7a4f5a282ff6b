import fcntl
import os
import signal
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


def test_what_is_distrusted_is_mended_by_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "_marks", {})
    monkeypatch.setattr(compilation, "_distrusted", set())
    compilation._mark(tmp_path)
    compilation.distrust()  # Ctrl-C in a notebook, which runs on
    compilation._mark(tmp_path)  # would wait for ever for a lock of its own
    (mark,) = tmp_path.glob("writing-*.lock")
    assert compilation.mend(tmp_path) == 0, "its own process lives"
    compilation._marks.pop(mark).close()
    (tmp_path / "torn-cache").write_bytes(b"x")
    assert compilation.mend(tmp_path) == 1


def test_a_truncated_entry_of_a_killed_process_is_compiled_anew(toy, tmp_path):
    shared = tmp_path / "mine"
    mine = {"JAX_COMPILATION_CACHE_DIR": str(shared)}
    process = toy.start("stuck", environment=mine)
    while process.stdout.readline() != "evaluating\n":
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (mark,) = shared.glob("writing-*.lock")
    victims = sorted(shared.glob("*-cache"), key=lambda p: p.stat().st_size)[-3:]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:100])
    _, err = toy("small", "--steps", "20", environment=mine)
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


@pytest.mark.one_python
def test_a_cache_that_cannot_be_written_only_costs_time(toy, tmp_path):
    (tmp_path / "file").touch()
    found = {"JAXNETS_CACHE": str(tmp_path / "file" / "below"), "MPLCONFIGDIR": None}
    out, _ = toy("small", "--steps", "4", "--every", "4", environment=found)
    assert "test accuracy" in out


def test_compiling_is_timed():
    import jax

    before = compilation.compile_seconds()
    jax.jit(lambda x: x * 3.25 + 1)(1.0)
    assert compilation.compile_seconds() > before


COMPILES = """
import jax
from jaxnets.run import compilation
compilation.use_cache()
before = compilation.saved_seconds()
jax.jit(lambda x: jax.numpy.linalg.svd(jax.numpy.sin(x @ x.T)))(jax.numpy.ones((9, 9)))
print(compilation.saved_seconds() != before)
"""


@pytest.mark.parametrize("enabled", [True, False])
def test_the_cache_can_be_switched_off(warm, surroundings, tmp_path, enabled):
    more = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine")}
    if not enabled:
        more["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    done = warm.run(["-c", COMPILES], cwd=tmp_path, env=surroundings(**more))
    assert done.returncode == 0, done.stderr
    assert bool(list(tmp_path.glob("mine/*-cache"))) == enabled


def test_what_the_cache_has_saved_is_added_up(warm, surroundings, tmp_path):
    for _ in range(2):
        done = warm.run(["-c", COMPILES], cwd=tmp_path, env=surroundings())
        assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
