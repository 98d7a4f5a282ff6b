"""Benchmarks: every way does the same work, and is timed."""

import importlib.util
import json
import os
import re
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


def test_growth_is_sorted_by_kind_of_size(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speed

    def row(way, wall, **options):
        return {"network": "mlp", "way": way, "wall": wall, "options": options}

    rows = [
        row("ours", 0.004, rows=64),
        row("Flax", 0.005, rows=64),
        row("ours", 0.001, rows=16),
        row("Flax", 0.002, rows=16, dtype="bfloat16"),
        row("ours", 0.002),
        row("ours, 4 members, vmap", 0.003, members=4, mode="vmap"),
        row("ours, 2 members, unrolled", 0.003, members=2, mode="unrolled"),
        row("ours", 0.009, side=8),  # one size only
        row("ours", 0.009, rows=8, side=8),  # neither the one nor the other
    ]
    curves = speed.growth(rows)
    expected = {
        ("mlp", "rows"): {"ours": [(16, 1), (64, 4)], "Flax": [(16, 2), (64, 5)]},
        ("mlp", "members"): {"unrolled": [(1, 2), (2, 6)], "vmap": [(1, 2), (4, 12)]},
    }
    assert curves.keys() == expected.keys()
    for name, ways in expected.items():
        assert curves[name].keys() == ways.keys()
        for way, points in ways.items():
            sizes, times = zip(*curves[name][way], strict=True)
            assert sizes == tuple(size for size, _ in points)
            assert times == pytest.approx([time for _, time in points])
    speed.drawn_growth(curves, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 1000
    assert speed.sized(rows[8]) == "mlp rows=8 side=8"


@pytest.mark.campaign
@pytest.mark.skipif(
    importlib.util.find_spec("pycocotools") is None,
    reason="pycocotools is not installed",
)
def test_ours_and_pycocotools_score_the_same_detections():
    program = str(ROOT / "benchmarks/detection_scores.py")
    flags = ("--images", "40", "--classes", "5", "--detections", "30")
    done = subprocess.run(
        [sys.executable, program, *flags], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert 0 < float(re.search(r"ratio (\S+),", done.stdout)[1]) < 10
