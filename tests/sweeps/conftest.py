import subprocess
import sys
from pathlib import Path

import pytest

from tests.warm import ended

TOYS = Path(__file__).parent / "toys"
sys.path.insert(0, str(TOYS))


@pytest.fixture
def start(tmp_path, surroundings, warm):
    """Starts the toy sweep as a process of its own, in an empty folder."""

    with ended() as processes:

        def started(*flags, **environment):
            process = warm.start(
                [TOYS / "sweep.py", "net", *flags],
                cwd=tmp_path,
                env=surroundings(**environment),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            processes.append(process)
            return process

        yield started
