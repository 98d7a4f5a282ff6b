import subprocess
from pathlib import Path

import pytest

from tests.warm import ended

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def toy(tmp_path, surroundings, warm):
    """Starts a toy experiment as a process of its own, in an empty folder.

    It writes no report, unless its interpreter is a fresh one (`true_start=True`).
    """
    with ended() as started:
        yield starter(tmp_path, surroundings, warm, started)


def starter(folder, surroundings, warm, started):
    """What starts toys in a folder and lists them in `started`."""

    def start(name, *flags, program=None, **more):
        asked = surroundings(**more.pop("environment", {}))
        environment = {n: value for n, value in asked.items() if value is not None}
        path = program or TOYS / f"{name}.py"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        how = {"cwd": folder, "env": environment, "report": False, **pipes, **more}
        started.append(warm.start([path, *flags], **how))
        return started[-1]

    def run(name, *flags, status=0, **more):
        process = start(name, *flags, **more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, f"{process.returncode}\n{out}\n{err}"
        return out, err

    run.start = start
    return run


@pytest.fixture
def here(here, monkeypatch):
    """The same, and what children compile is kept in that folder."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(here / "cache"))
    return here
