import os
import subprocess
import sys
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys"
sys.path.insert(0, str(TOYS))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A compilation cache that the children of this session share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(tmp_path, cache):
    """Starts the toy sweep as a process of its own, in an empty folder."""

    def started(*flags, **environment):
        around = {
            **os.environ,
            "JAXNETS_CACHE": str(cache),
            "JAX_PLATFORMS": "cpu",
            **environment,
        }
        around.pop("JAX_COMPILATION_CACHE_DIR", None)
        return subprocess.Popen(
            [sys.executable, str(TOYS / "sweep.py"), "net", *flags],
            cwd=tmp_path,
            env=around,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return started


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The test runs in an empty folder, without a persistent cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
    return tmp_path
