import os
import subprocess
import sys
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A compilation cache that the children of this session share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def toy(tmp_path, cache):
    """Starts a toy experiment as a process of its own, in an empty folder."""

    def start(name, *flags, program=None, **more):
        environment = {
            **os.environ,
            "JAXNETS_CACHE": str(cache),
            "JAX_PLATFORMS": "cpu",
            **more.pop("environment", {}),
        }
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        path = program or TOYS / f"{name}.py"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            [sys.executable, str(path), *flags],
            cwd=tmp_path,
            env=environment,
            **{**pipes, **more},
        )

    def run(name, *flags, status=0, **more):
        process = start(name, *flags, **more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, f"{process.returncode}\n{out}\n{err}"
        return out, err

    run.start = start
    return run


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The test runs in an empty folder, without a persistent cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
    return tmp_path
