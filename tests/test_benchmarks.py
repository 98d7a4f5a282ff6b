"""The benchmark of training steps: every way trains the same network, and is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.campaign
@pytest.mark.parametrize(
    "network",
    ["mlp", "lenet5", "convnet", "resnet20", "lstm", "captioner", "vae", "dcgan"],
)
def test_ours_and_flax_are_the_same_network_and_are_timed(network, tmp_path):
    flags = ("--rounds", "2", "--seconds", "0.1", "--no-starts")
    ways = ("--ways", "ours", "Flax")
    command = [sys.executable, str(ROOT / "benchmarks/speed.py"), *flags, *ways]
    done = subprocess.run(
        [*command, "--networks", network, "--folder", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("*.json")
    rows = json.loads(path.read_text())["rows"]
    assert [row["way"] for row in rows] == ["ours", "Flax"]
    assert rows[0]["ratio"] == 1
    for row in rows:
        assert 0 < row["least"] <= row["wall"] <= row["most"]
        assert 0 < row["of_the_limit"] < 2  # the limit is one operation's, not theirs
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_a_difference_in_size_is_an_error(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed

    def way(name, parameters):
        return speed.Way(name, {}, None, None, {"parameters": parameters}, [])

    speed.equal("mlp", [way("ours", 1000), way("Flax", 1009), way("limit", 0)])
    with pytest.raises(SystemExit, match="parameters differ"):
        speed.equal("mlp", [way("ours", 1000), way("torch", 1011), way("limit", 0)])
