"""How a command ends: one line for what a user can cause, whatever it is."""

import errno
import importlib
import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from toys import small

import jaxnets
from jaxnets.data.files.problems import DataWarning
from jaxnets.errors import UserError
from jaxnets.ranges import RangeError
from jaxnets.run import batches, console, environment
from jaxnets.run.command import command, exits
from jaxnets.run.folder import RunError
from jaxnets.run.loop import NonFiniteError
from jaxnets.sweeps.space import SpaceError


def ended(error):
    """The status or message that the program ends with."""
    with pytest.raises(SystemExit) as stop, exits():
        raise error
    return stop.value.code


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "Choose another folder"),
        (errno.EACCES, "Choose another folder"),
        (errno.ENAMETOOLONG, "Choose another folder"),
        (errno.ENOSPC, "Free some space"),
        (errno.ENOTDIR, "A file is where a folder should be"),
        (errno.EEXIST, "A file is where a folder should be"),
    ],
)
def test_what_the_system_refuses_is_one_line_with_a_remedy(number, remedy):
    said = ended(OSError(number, os.strerror(number), "runs/é"))
    assert said.startswith(f"error: runs/é: {os.strerror(number)}. {remedy}")
    assert "\n" not in said


def test_a_file_called_runs(here):
    (here / "runs").touch()
    with pytest.raises(SystemExit, match=r"error: runs.*A file is where a folder"):
        command(small.main, small.Config, [])


def test_what_runs_out_of_memory_says_what_it_needed():
    exhausted = jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory allocating 309237645312 bytes."
    )
    said = ended(exhausted)
    assert said.startswith("error: out of memory: 288.00 GiB were asked for at once.")
    assert "--batch-size" in said
    assert "checkpoint" not in said
    exhausted.add_note("The checkpoint of step 7 is intact.")
    assert ended(exhausted) == f"{said}\nThe checkpoint of step 7 is intact."
    with pytest.raises(MemoryError) as raised:
        np.empty((2**40, 2**10), np.uint8)
    assert "Unable to allocate 1.00 PiB" in ended(raised.value)
    with pytest.raises(jax.errors.JaxRuntimeError), exits():
        raise jax.errors.JaxRuntimeError("INTERNAL: our own bug")
    with pytest.raises(KeyError), exits():
        raise KeyError("our own bug")


def test_what_a_user_can_mend_is_lines_without_a_traceback(capsys):
    assert ended(UserError("it is so: do that")) == "error: it is so: do that"
    lost = NonFiniteError(3, ["loss"], None)
    lost.add_note("The checkpoint of step 2 is intact.")
    lost.add_note("---\nFor simplicity, JAX has removed its internal frames from ...")
    text = "error: the run has stopped: step 3: loss is not finite\n"
    assert ended(lost) == f"{text}The checkpoint of step 2 is intact."
    assert capsys.readouterr().err == ""
    assert ended(RangeError("--a is wrong\n--b is wrong")) == 2
    assert ended(SpaceError("--space.c is wrong")) == 2
    lines = ["--a is wrong", "--b is wrong", "--space.c is wrong"]
    assert capsys.readouterr().err == "".join(f"error: {line}\n" for line in lines)


def test_every_error_of_the_package_is_one_that_a_user_can_mend():
    package = Path(jaxnets.__file__).parent
    caught = {"DamagedError"}  # by the cache, which then makes its file anew
    faults = {"TestSplitError"}  # of an experiment's code, whose place matters
    pattern, found = r"^class ([A-Z]\w+(?:Error|Warning))\(", set()
    for path in package.rglob("*.py"):
        for name in re.findall(pattern, path.read_text(), re.MULTILINE):
            module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            kind = getattr(importlib.import_module(module), name)
            assert issubclass(kind, UserError) == (name not in caught | faults), name
            found.add(name)
    assert {"DataWarning", "HyperError", "ImageSizeError", "WeightsError"} <= found


def test_a_home_folder_that_is_not_known_is_one_line():
    said = ended(RuntimeError("Could not determine home directory."))
    assert said.startswith("error: Could not determine home directory. Set HOME")
    with pytest.raises(RuntimeError), exits():
        raise RuntimeError("our own bug")


def test_ctrl_c_before_the_first_step_has_nothing_to_save(capsys):
    assert ended(KeyboardInterrupt()) == 130
    said = "stopped; nothing to save yet. The same command begins again.\n"
    assert capsys.readouterr().out == said


def test_warnings_of_ours_are_plain_lines(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        with exits():
            warnings.warn("half of it is left out", DataWarning, stacklevel=1)
            for name in ("one", "two"):
                unkept = f"Error writing persistent compilation cache entry for {name}"
                warnings.warn(unkept, stacklevel=1)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "warning: half of it is left out"
    assert second.startswith("warning: compiled programs cannot be kept in ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # as PYTHONWARNINGS=error does
        with pytest.raises(SystemExit, match=r"^error: half"), exits():
            warnings.warn("half of it is left out", DataWarning, stacklevel=1)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_console_stops_a_print(encoding):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding)
    text = "мама é \udce9"
    console.show(text, stream)
    stream.flush()
    expected = text.encode(encoding, "backslashreplace")
    assert written.getvalue() == expected + b"\n"
    console.show(text, None)  # closed: nothing, and no error


@pytest.mark.parametrize(
    ("size", "devices", "rounded"),
    [(64, 3, 63), (100, 8, 96), (100, 3, 99), (2, 8, 8), (62, 4, 60), (63, 4, 64)],
)
def test_a_default_batch_is_rounded_to_the_devices(monkeypatch, size, devices, rounded):
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class Config:
        batch_size: int = size

    monkeypatch.setattr(jax, "devices", lambda: list(range(devices)))
    said = []
    assert batches.for_devices(Config(), [], said.append).batch_size == rounded
    (line,) = said
    assert f"--batch-size {rounded}: the default of {size} does not" in line
    for flags in (["--batch-size", str(size)], [f"--batch_size={size}"]):
        with pytest.raises(RunError, match=f"--batch-size {size} does not split over"):
            batches.for_devices(Config(), flags)
    for kept in (0, 2 * devices):
        config = Config(kept)
        assert batches.for_devices(config, [], said.append) is config
    assert len(said) == 1


def git(folder, *arguments):
    command = ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*command, *arguments], check=True, capture_output=True)


def test_changes_in_files_of_any_encoding_are_recorded(tmp_path):
    source = tmp_path / "notes.txt"
    source.write_bytes(b"caf\xe9\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "first")
    source.write_bytes(b"caf\xe9 noir\n")
    commit, patch = environment.commit_of(source)
    assert len(commit) == 40
    assert b"-caf\xe9\n+caf\xe9 noir\n" in os.fsencode(patch)
    source.write_bytes(b"\x00\x01" * 100)  # binary
    assert "Binary files" in environment.commit_of(source)[1]
    source.write_text("a long line\n" * 200_000)
    assert len(environment.commit_of(source)[1]) == 2**20


@pytest.mark.parametrize("broken", ["dir", "head", "program", "none"])
def test_without_a_sound_repository_there_is_no_commit(tmp_path, monkeypatch, broken):
    if broken == "dir":
        monkeypatch.setenv("GIT_DIR", "/nowhere")
    elif broken == "head":
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "HEAD").write_bytes(b"\xff\xff")
    elif broken == "program":
        monkeypatch.setenv("PATH", str(tmp_path))
    assert environment.commit_of(tmp_path / "x.py") == (None, "")


@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "ImportError from"])
def test_ctrl_c_during_imports_is_one_line(tmp_path, raised):
    raised = raised.replace("from", "('C') from KeyboardInterrupt()")
    (tmp_path / "slow.py").write_text(f"raise {raised}\n")
    program = "import jaxnets, sys\nsys.path.insert(0, sys.argv[1])\nimport slow\n"
    run = [sys.executable, "-S", "-c", program, str(tmp_path)]
    root = {"PYTHONPATH": str(Path(jaxnets.__file__).parents[1])}
    done = subprocess.run(run, capture_output=True, text=True, env=root)
    assert done.returncode in (-2, 130, 1)
    assert done.stderr == "stopped; nothing to save yet.\n"
    later = program.replace("import slow", "raise KeyboardInterrupt")
    done = subprocess.run(
        [*run[:3], later, str(tmp_path)], capture_output=True, text=True, env=root
    )
    assert "Traceback" in done.stderr
