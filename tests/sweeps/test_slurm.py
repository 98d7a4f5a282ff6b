"""The command of a worker on a cluster: without what only the submission reads."""

import shlex

import pytest

from jaxnets.sweeps import slurm

pytestmark = pytest.mark.host


@pytest.mark.parametrize(
    "written",
    [
        ["--slurm", "4", "--slurm-options", "partition=gpu", "time=60"],
        ["--slurm=4", "--slurm-options=partition=gpu", "time=60"],
        ["--worker", "--dry-run", "--slurm", "4"],
    ],
)
def test_a_worker_submits_nothing_itself(written):
    rest = ["classify", "--members", "16", "--grid", "model=convnet,mlp"]
    for arguments in ([*written, *rest[1:]], [*rest[1:], *written]):
        words = shlex.split(slurm.command([rest[0], *arguments]))[2:]
        assert words == [*rest, "--worker"]
