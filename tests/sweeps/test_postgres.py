"""Two workers on one PostgreSQL server share a study.

The server is Debian's package, begun here in a folder of its own, on a local socket.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest

FLAGS = ("--mode", "vmap", "--members", "2", "--trials", "8", "--steps", "40")


def programs():
    """The folder of the server's programs, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    other = shutil.which("initdb")
    return found[-1].parent if found else Path(other).parent if other else None


pytestmark = [
    pytest.mark.campaign,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed"),
    pytest.mark.skipif(
        importlib.util.find_spec("psycopg") is None,
        reason="the extra `postgresql` is not installed",
    ),
]


@pytest.fixture
def server():
    """The address of a server that lives as long as the test."""
    # Not in pytest's own folder, which is closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="jaxnets-postgres-"))
    # The server refuses to run as root: there it runs as Debian's own user.
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        folder.chmod(0o755)
        shutil.chown(folder, "postgres")
    bin_folder, data = programs(), folder / "data"

    def run(name, *arguments):
        command = [*user, str(bin_folder / name), *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    run("initdb", "-D", str(data), "-U", "sweeper", "--auth=trust", "--no-sync")
    options = f"-c listen_addresses='' -k {folder} -c fsync=off"
    log = str(folder / "log")
    run("pg_ctl", "-D", str(data), "-o", options, "-l", log, "-w", "start")
    run("createdb", "-h", str(folder), "-U", "sweeper", "sweeps")
    yield f"postgresql+psycopg://sweeper@/sweeps?host={folder}"
    run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    shutil.rmtree(folder)


def test_two_workers_share_a_study(server, start, tmp_path):
    lead = start(*FLAGS, "--storage", server, "--folder", "shared")
    helper = start(*FLAGS, "--storage", server, "--folder", "shared", "--worker")
    for process in (lead, helper):
        out, _ = process.communicate(timeout=900)
        assert process.returncode == 0, out
    storage = optuna.storages.RDBStorage(server)
    names = {s.study_name for s in optuna.get_all_study_summaries(storage)}
    (name,) = (n for n in names if not n.endswith(".work"))
    found = optuna.load_study(study_name=name, storage=storage)
    numbers = sorted(trial.user_attrs["trial"] for trial in found.trials)
    assert numbers == list(range(8))
    work = optuna.load_study(study_name=f"{name}.work", storage=storage)
    assert {trial.state.name for trial in work.trials} == {"COMPLETE"}
    workers = {trial.user_attrs["worker"] for trial in work.trials}
    assert len(workers) == 2, "one of the two did nothing"
    storage.remove_session()
    storage.engine.dispose()
    result = json.loads((tmp_path / "shared" / "result.json").read_text())
    assert result["trials"] == 8
