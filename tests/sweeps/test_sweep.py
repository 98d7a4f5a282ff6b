"""Whole sweeps: what is found, recorded, taken out, and shown."""

import importlib.util
import json
import subprocess
import sys

import net
import numpy as np
import optuna
import pytest

from jaxnets.plots import sweeps as figures
from jaxnets.run.settings import from_json
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps import results
from jaxnets.sweeps.command import command

SMALL = ("--steps", "20", "--mode", "vmap", "--members", "4", "--sweep-seed", "3")


def swept(*flags):
    command({"net": lambda: net}, ["net", *flags])


def trials(folder, name="net"):
    """The trials of the studies of units and of results, as anyone may read them."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    try:
        return [
            optuna.load_study(study_name=study, storage=storage).trials
            for study in (f"{name}.work", name)
        ]
    finally:
        storage.engine.dispose()


@pytest.fixture
def plain(monkeypatch):
    """Draws no pictures, which take most of the time of a small sweep."""
    monkeypatch.setattr("jaxnets.sweeps.report._figures", lambda *arguments: {})
    monkeypatch.setattr("jaxnets.run.report.write", lambda *arguments: None)


curves_drawn = []  # of the sweep below: all learning curves, and which are the winner's


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep of four settings with two seeds each."""
    path = tmp_path_factory.mktemp("whole")
    draw = figures.curves

    def curves(runs, best, **options):
        curves_drawn.append((runs, best))
        return draw(runs, best, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setattr(figures, "curves", curves)
        patch.setattr("jaxnets.run.report.write", lambda *arguments: None)
        patch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
        swept(*SMALL, "--seeds", "2", "--folder", "sweep")
    return path / "sweep"


def test_the_winner_is_the_lowest_mean_and_is_tested_once(whole):
    result = json.loads((whole / "result.json").read_text())
    rows = results.rows(whole)
    assert len(rows) == result["trials"] == 4
    losses = [row["loss"] for row in rows]
    assert losses == sorted(losses)
    assert rows[0]["trial"] == result["winner"]["trial"]
    runs = [rows[0]["loss_0"], rows[0]["loss_1"]]
    assert rows[0]["loss"] == pytest.approx(np.mean(runs))
    assert rows[0]["loss_deviation"] == pytest.approx(np.std(runs, ddof=1))
    best = json.loads((whole / "best" / "result.json").read_text())
    assert best["test"] == result["test"]
    tested = [path for path in whole.rglob("result.json") if path.parent != whole]
    assert tested == [whole / "best" / "result.json"]
    text = (whole / "table.csv").read_text().splitlines()
    assert len(text) == 5
    assert text[0].startswith("group,trial,learning_rate,dropout,state,step,loss")


def test_the_best_member_is_an_ordinary_run_equal_to_the_lone_one(
    whole, here, plain, capsys
):
    stored = json.loads((whole / "best" / "config.json").read_text())["config"]
    config = from_json(net.Config, stored)
    seed = json.loads((whole / "result.json").read_text())["replica"]
    assert config.seed == seed
    net.main(config, Verbs(evaluate=whole / "best"))
    assert "as recorded" in capsys.readouterr().out
    net.main(config, Verbs(run_dir=here / "lone"))

    def numbers(folder):
        lines = (folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    mine, lone = numbers(whole / "best"), numbers(here / "lone")
    assert (
        [line["step"] for line in mine] == [line["step"] for line in lone] == [10, 20]
    )
    for a, b in zip(mine, lone, strict=True):
        for kind in ("train", "validation"):
            assert a[kind].keys() == b[kind].keys()
            for name, value in b[kind].items():
                np.testing.assert_allclose(a[kind][name], value, rtol=1e-5, atol=1e-6)
    a, b = (
        json.loads((folder / "result.json").read_text())
        for folder in (whole / "best", here / "lone")
    )
    assert a["test"]["loss"] == pytest.approx(b["test"]["loss"], rel=1e-5)


def test_the_best_member_can_be_continued(whole, here, plain):
    import shutil

    shutil.copytree(whole / "best", here / "best")
    stored = json.loads((here / "best" / "config.json").read_text())["config"]
    config = from_json(net.Config, {**stored, "steps": 30})
    run = net.main(config, Verbs(run_dir=here / "best"))
    assert run.step == 30
    lines = (here / "best" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [10, 20, 30]


def test_every_trial_is_in_optunas_study_and_none_is_running(whole):
    work, found = trials(whole)
    states = optuna.trial.TrialState
    assert {trial.state for trial in work} == {states.COMPLETE}
    assert {trial.state for trial in found} == {states.COMPLETE}
    rows = {row["trial"]: row for row in results.rows(whole)}
    for trial in found:
        row = rows[trial.user_attrs["trial"]]
        assert trial.value == pytest.approx(row["loss"])
        assert trial.params["learning_rate"] == row["learning_rate"]
        assert list(trial.intermediate_values) == [10, 20]


def test_the_report_shows_everything(whole):
    page = (whole / "report.html").read_text()
    for word in (
        "Ranking",
        "Learning curves",
        "Response",
        "Parallel coordinates",
        "Importance",
        "All settings",
        "Compute",
        "vmap: as asked for",
    ):
        assert word in page, word
    assert "http" not in page.replace("http-equiv", "")
    pictures = {path.stem for path in (whole / "figures").glob("*.png")}
    assert pictures >= {"ranking", "learning_curves", "response", "importance"}


def test_the_curves_of_the_winner_s_seeds_are_marked(whole):
    ((runs, best),) = curves_drawn
    winner = json.loads((whole / "result.json").read_text())["winner"]
    assert len(runs) == 8
    assert len(winner["curves"]) == 2
    marked = json.loads(json.dumps([runs[index] for index in best]))
    assert marked == winner["curves"]


@pytest.mark.campaign
def test_the_same_seed_gives_the_same_trials_to_the_bit(whole, here, plain):
    swept(*SMALL, "--seeds", "2", "--folder", "again")
    for name in ("table.csv", "table.json", "result.json"):
        assert (here / "again" / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.one_python
def test_halving_with_tpe_frees_the_compute(here, plain):
    small = ("--steps", "20", "--mode", "separate", "--members", "4", "--seeds", "2")
    small += ("--sweep-seed", "2")  # its winner is not the first in its batch
    flags = ("--plan", "halving", "--method", "tpe", "--trials", "8", "--eta", "2")
    swept(*small, *flags, "--folder", "sweep")
    result = json.loads((here / "sweep" / "result.json").read_text())
    # By hand: in each of two brackets 4 settings for 5 steps, 2 for 5 more, 1 for 10;
    # of each two seeds.
    assert result["compute"]["member-steps"] == 2 * 2 * (4 * 5 + 2 * 5 + 1 * 10)
    assert result["compute"]["member-steps without stopping early"] == 2 * 8 * 20
    rows = results.rows(here / "sweep")
    assert [row["step"] for row in rows].count(20) == 2
    _, found = trials(here / "sweep")
    states = [trial.state.name for trial in found]
    assert (states.count("COMPLETE"), states.count("PRUNED")) == (2, 6)
    # Who survived went on from its own state: it is the lone run still.
    stored = json.loads((here / "sweep/best/config.json").read_text())["config"]
    net.main(from_json(net.Config, stored), Verbs(run_dir=here / "lone"))
    lone = json.loads((here / "lone" / "result.json").read_text())
    assert result["test"]["loss"] == pytest.approx(lone["test"]["loss"], rel=1e-5)


@pytest.mark.campaign
def test_who_survives_all_rungs_is_the_lone_run_still(here, plain):
    flags = ("--plan", "halving", "--trials", "4", "--eta", "2")
    swept(*SMALL, *flags, "--folder", "sweep")
    stored = json.loads((here / "sweep/best/config.json").read_text())["config"]
    net.main(from_json(net.Config, stored), Verbs(run_dir=here / "lone"))
    a, b = (
        json.loads((folder / "result.json").read_text())["test"]["loss"]
        for folder in (here / "sweep/best", here / "lone")
    )
    assert a == pytest.approx(b, rel=1e-5)


def test_a_failing_group_is_recorded_and_the_others_go_on(here, plain, capsys):
    grid = ("--grid", "model=broken,mlp", "--space.learning-rate", "1e-3,1e30")
    swept(
        *SMALL, *grid, "--method", "grid", "--folder", "sweep", "--space.dropout", "0.1"
    )
    rows = results.rows(here / "sweep")
    broken = [row for row in rows if row["group"] == "model=broken"]
    assert {row["state"] for row in broken} == {"failed"}
    assert "cannot be built" in broken[0]["reason"]
    wild = [row for row in rows if row["group"] != "model=broken"]
    assert [row["state"] for row in wild] == ["whole", "failed"]
    assert "is not finite" in wild[1]["reason"]
    _, found = trials(here / "sweep")
    states = [trial.state.name for trial in found]
    assert (states.count("COMPLETE"), states.count("FAIL")) == (1, 3)
    page = (here / "sweep" / "report.html").read_text()
    assert "cannot be built" in page
    assert "3 failed" in capsys.readouterr().out


@pytest.mark.campaign
def test_a_population_evolves(here, plain):
    flags = ("--plan", "pbt", "--first", "5", "--members", "6", "--folder", "sweep")
    swept(*SMALL, *flags)
    _, found = trials(here / "sweep")
    moved = [t for t in found if len(t.user_attrs["history"]) > 1]
    assert moved
    best = json.loads((here / "sweep/best/result.json").read_text())
    assert best["step"] == 20


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--grid", "modle=mlp"), "did you mean model"),
        (("--grid", "model=mpl,conv"), "mpl"),
        (("--grid", "steps=ten"), "ten"),
        (("--space.learning-rat", "1e-3..1"), "did you mean learning_rate"),
        (("--members", "0"), "must be in [1, 2147483647]"),
        (("--objective", "los"), "no metric los"),
        (("--method", "gp"), "torch"),
        (("--space.learning-rate", "0.1", "--space.dropout", "0"), "nothing is"),
    ],
)
def test_a_wrong_flag_is_answered_with_what_is_right(
    flags, says, here, capsys, monkeypatch
):
    loaded, load = [], net.load
    monkeypatch.setattr(net, "load", lambda config: loaded.append(1) or load(config))
    with pytest.raises(SystemExit) as stop:
        swept(*flags)
    assert stop.value.code == 2
    out = capsys.readouterr()
    assert says in out.out + out.err
    # What can be known before the data is loaded is said before.
    assert bool(loaded) == (says == "no metric los")


def test_a_dry_run_writes_nothing(here, capsys):
    swept("--dry-run", "--members", "8", "--seeds", "3")
    text = capsys.readouterr().out
    assert "8 settings x 3 seeds x 1 groups = 24 runs" in text
    assert "search learning_rate: 0.001..0.05:log" in text
    assert list(here.iterdir()) == []


@pytest.mark.campaign
@pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None,
    reason="the extra `slurm` is not installed",
)
def test_slurm_shows_its_script(start, tmp_path):
    flags = ("--slurm", "2", "--slurm-options", "partition=gpu", "time=60")
    process = start("--members", "8", *flags, "--dry-run")
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 0, text
    assert "#SBATCH --partition=gpu" in text
    assert "net --members 8 --worker" in text
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_experiment_is_answered_with_the_nearest(capsys):
    with pytest.raises(SystemExit):
        command({"classify": lambda: net}, ["clasify"])
    assert "did you mean classify" in capsys.readouterr().err


def test_tables_are_data_frames_where_pandas_is(whole):
    pytest.importorskip("pandas", reason="the extra `notebook` is not installed")
    from jaxnets.sweeps.results import curves, rows, table

    frame = table(whole)
    assert frame["loss"].tolist() == [row["loss"] for row in rows(whole)]
    last = curves(whole).query("step == 20").sort_values(["trial", "run"])
    expected = frame.sort_values("trial")[["loss_0", "loss_1"]].to_numpy().ravel()
    np.testing.assert_allclose(last["loss"], expected, rtol=1e-12)


def test_ranges_and_tables_come_without_what_a_lone_run_does_not_need():
    code = """
import sys
from jaxnets.sweeps.results import curves, rows, table
from jaxnets.sweeps.space import Choice, LogUniform
late = {"jax", "matplotlib", "optuna", "pandas", "scipy", "sqlalchemy"} & {*sys.modules}
assert not late, late
"""
    subprocess.run([sys.executable, "-c", code], check=True)  # nothing is imported yet


@pytest.mark.campaign
def test_members_split_over_four_devices_are_those_of_one(start, tmp_path):
    flags = ("--steps", "20", "--members", "4")
    for folder, devices, mode in (("four", "4", "auto"), ("one", "1", "vmap")):
        process = start(
            *flags, "--mode", mode, "--folder", folder, JAX_NUM_CPU_DEVICES=devices
        )
        out, _ = process.communicate(timeout=600)
        assert process.returncode == 0, out
        assert ("split over 4 devices" in out) == (folder == "four")
    four, one = (results.rows(tmp_path / name) for name in ("four", "one"))
    for mine, other in zip(four, one, strict=True):
        assert mine["trial"] == other["trial"]
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
