import subprocess
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def toy(tmp_path, surroundings, warm):
    """Starts a toy experiment as a process of its own, in an empty folder."""

    def start(name, *flags, program=None, true_start=False, **more):
        environment = surroundings(**more.pop("environment", {}))
        path = program or TOYS / f"{name}.py"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        how = {"cwd": tmp_path, "env": environment, **pipes, **more}
        return warm.start([path, *flags], true_start=true_start, **how)

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
