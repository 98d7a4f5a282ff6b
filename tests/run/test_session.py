import base64
import dataclasses
import html.parser
import json
import os
import re
import shutil
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from toys import small

from jaxnets.plots import runs
from jaxnets.run import loop, records, report
from jaxnets.run.checkpoints import Checkpoints, digest
from jaxnets.run.command import command, dry_run
from jaxnets.run.experiment import Plan
from jaxnets.run.folder import RunError
from jaxnets.run.loop import NonFiniteError
from jaxnets.run.repeated import result_of
from jaxnets.run.restoring import restored
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs
from jaxnets.tasks.base import Trivial

CONFIG = small.Config(steps=12, every=4)
write_report = report.write  # before `plain` takes it away


@pytest.fixture(autouse=True)
def _plain(plain):
    """Only the run of `done` writes a report."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run's folder, to be read only."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("done"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
            run = small.main(CONFIG, Verbs(checkpoint_every=4))
        return run.folder.absolute()
    finally:
        os.chdir(before)


@pytest.fixture
def mine(done, here):
    """A copy of that run."""
    return Path(shutil.copytree(done, here / "mine"))


@pytest.fixture
def unfinished(mine):
    """As if it had been killed before its result was written."""
    (mine / "result.json").unlink()
    return mine


def test_the_folder_holds_everything(done):
    names = {str(path.relative_to(done)) for path in done.rglob("*")}
    assert {
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "timing.jsonl",
        "result.json",
        "report.html",
        "checkpoints/12/manifest.json",
    } <= names
    assert any(name.startswith("tensorboard/events") for name in names)
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", done.name)
    assert done.parent.name == "small"


def test_the_configuration_is_all_there(done):
    found = json.loads((done / "config.json").read_text())
    assert found["experiment"] == "small"
    assert found["config"]["hyper"]["learning_rate"] == 0.01
    assert found["config"]["seed"] == 0
    assert re.fullmatch("[0-9a-f]{64}", found["began"]["program"])
    assert found["began"]["data"]["examples"] == 1292


def test_the_environment_is_all_there(done):
    (session,) = json.loads((done / "environment.json").read_text())["sessions"]
    assert session["packages"]["jax"] == jax.__version__
    assert session["devices"] == ["cpu cpu"]
    assert session["python"].count(".") == 2
    assert "commit" in session


def test_the_metrics_hold_no_clock_and_the_times_are_elsewhere(done):
    lines = records.read(done)
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert set(lines[0]) == {"step", "train", "validation"}
    assert "second" not in (done / "metrics.jsonl").read_text()
    timing = [json.loads(t) for t in (done / "timing.jsonl").read_text().splitlines()]
    assert all(line["steps_per_second"] > 0 for line in timing)


def test_the_events_are_read_by_tensorboards_format(done):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import RecordWriter  # noqa: F401 - same format

    (path,) = (done / "tensorboard").iterdir()
    content, found = path.read_bytes(), {}
    while content:
        (length,) = np.frombuffer(content[:8], "<u8")
        event = Event.FromString(content[12 : 12 + int(length)])
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
        content = content[16 + int(length) :]
    for line in records.read(done):
        for name in ("loss", "accuracy"):
            expected = line["validation"][name]
            np.testing.assert_allclose(
                found[f"validation/{name}", line["step"]], expected, rtol=1e-6
            )


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_report_needs_nothing_else_and_shows_the_result(done):
    page = Page()
    page.feed((done / "report.html").read_text())
    assert "script" not in page.tags
    assert page.sources
    for source in page.sources:
        head, content = source.split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
    result = json.loads((done / "result.json").read_text())
    assert f"test accuracy {result['test']['accuracy']:.2%}" in page.text
    assert result["state_sha256"] in page.text


def test_the_report_escapes_everything(tmp_path):
    evil = "<script>alert(1)</script>"
    config = {"experiment": evil, "config": {evil: evil}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    line = {"step": 1, "train": {evil: 1.0, "loss": 2.0}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "changes.patch").write_text(evil)
    (tmp_path / "environment.json").write_text(json.dumps({"sessions": [{"a": evil}]}))
    write_report(tmp_path, evil, {evil: evil})
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 8


def test_evaluate_gives_the_recorded_number(done, capsys):
    before = {p: p.stat().st_mtime_ns for p in done.rglob("*")}
    small.main(CONFIG, Verbs(evaluate=done))
    result = json.loads((done / "result.json").read_text())
    out = capsys.readouterr().out
    assert f"test accuracy {result['test']['accuracy']:.2%}" in out
    assert "as recorded" in out
    assert {p: p.stat().st_mtime_ns for p in done.rglob("*")} == before


def test_a_run_is_restored_for_a_notebook_without_training(done, tmp_path):
    data = small.load(CONFIG)
    learner = small.build(CONFIG, data)
    state, step = restored(done, learner, data.train)
    found = json.loads((done / "result.json").read_text())
    assert (step, digest(state)) == (12, found["state_sha256"])
    score = loop.evaluate(learner, state, data.test)
    assert score["loss"].compute() == found["test"]["loss"]
    with pytest.raises(RunError, match="no run folder"):
        restored(tmp_path, learner, data.train)


def test_evaluate_says_so_where_the_number_is_another(mine):
    result = json.loads((mine / "result.json").read_text())
    result["test"]["accuracy"] += 0.01
    (mine / "result.json").write_text(json.dumps(result))
    with pytest.raises(
        RunError, match=r"does not give its recorded result:\n  test\.acc"
    ):
        small.main(CONFIG, Verbs(evaluate=mine))


def test_a_run_of_a_study_is_trained_once(mine):
    def never(config, verbs):
        raise AssertionError("trained again")

    assert result_of(never, CONFIG, mine)["step"] == CONFIG.steps
    (mine / "result.json").unlink()
    again = result_of(small.main, CONFIG, mine)
    assert again["test"]["accuracy"] > 0
    assert again == json.loads((mine / "result.json").read_text())


def test_a_dry_run_writes_nothing(here, capsys):
    dry_run(small, CONFIG)
    assert os.listdir(here) == []
    out = capsys.readouterr().out
    assert "hyper.learning_rate: 0.01" in out
    assert "batch.image: float32[32, 8, 8, 1]" in out
    assert "params dense1/kernel: float32[64, 16]" in out
    assert "1,210 parameters" in out
    assert "12 steps of 32 examples" in out


def test_a_dry_run_needs_the_names_of_an_experiment(capsys):
    with pytest.raises(SystemExit, match="it has no Config, load, build, pl"):
        command(lambda config, verbs: None, small.Config, ["--dry-run"])


def test_training_takes_a_plan_or_steps_and_not_both(here):
    data = small.load(CONFIG)
    learner = small.build(CONFIG, data)
    plan = small.plan(CONFIG, data)
    with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
        for wrong in ({}, {"every": 4}, {"plan": plan, "steps": 4}):
            with pytest.raises(TypeError, match="and not both"):
                next(run.train(learner, data.train, **wrong))


def test_a_finished_run_stays_and_a_new_one_begins(done, here, monkeypatch):
    moments = iter(["20260101-000000", "20260101-000000"])
    waited, clock = [], types.SimpleNamespace()
    clock.strftime = lambda form: next(moments, "20260101-000001")
    clock.sleep = waited.append
    monkeypatch.setattr("jaxnets.run.folder.time", clock)
    first = here / "runs" / "small" / f"20260101-000000-{done.name[-8:]}"
    shutil.copytree(done, first)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    second = small.main(CONFIG).folder
    assert second.name == f"20260101-000001-{done.name[-8:]}"
    assert len(waited) == 2
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before


def test_another_configuration_is_another_run(done, here):
    other = small.main(dataclasses.replace(CONFIG, seed=1)).folder
    assert other.name[-8:] != done.name[-8:]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed: 0, now 1"),
        ({"data_seed": 2}, "data_seed: 0, now 2"),
        ({"width": 8}, "width: 16, now 8"),
        (
            {"hyper": small.Hyper(learning_rate=0.5)},
            "hyper.learning_rate: 0.01, now 0.5",
        ),
    ],
)
def test_a_changed_configuration_is_refused_with_a_diff(mine, change, words):
    with pytest.raises(RunError, match=words):
        small.main(dataclasses.replace(CONFIG, **change), Verbs(run_dir=mine))


def test_changed_code_is_refused(unfinished, monkeypatch):
    build = small.build

    def other(config, data):
        learner = build(config, data)

        def step(state, batch):
            return learner.step(state, batch._replace(image=batch.image * 2))

        return learner._replace(step=step)

    monkeypatch.setattr(small, "build", other)
    with pytest.raises(RunError, match="training step: compiles to another program"):
        small.main(CONFIG, Verbs(run_dir=unfinished))


def test_changed_data_is_refused(unfinished, monkeypatch):
    load = small.load

    def other(config):
        data = load(config)
        identity = {**data.train.identity, "digest": "another"}
        return data._replace(train=dataclasses.replace(data.train, identity=identity))

    monkeypatch.setattr(small, "load", other)
    with pytest.raises(RunError, match=r"digest: .*, now another"):
        small.main(CONFIG, Verbs(run_dir=unfinished))


def test_a_run_may_grow_only_where_the_schedule_does_not_depend_on_its_length(
    here, mine
):
    constant = dataclasses.replace(CONFIG, cosine=False)
    longer = dataclasses.replace(constant, steps=24)
    small.main(constant, Verbs(run_dir=here / "grown"))
    grown = small.main(longer, Verbs(run_dir=here / "grown"))
    whole = small.main(longer, Verbs(run_dir=here / "whole"))
    assert grown.step == whole.step == 24
    names = ("metrics.jsonl", "result.json")
    for name in names:
        assert (here / "grown" / name).read_text() == (
            here / "whole" / name
        ).read_text()
    config = json.loads((here / "grown" / "config.json").read_text())
    assert config["config"]["steps"] == 24

    with pytest.raises(RunError, match="depends on the number of steps"):
        small.main(dataclasses.replace(CONFIG, steps=24), Verbs(run_dir=mine))


def test_a_setting_that_changes_no_bit_may_differ(mine, capsys):
    other = dataclasses.replace(CONFIG, kept=False)
    small.main(other, Verbs(evaluate=mine))
    assert "as recorded" in capsys.readouterr().out
    before = (mine / "result.json").read_text()
    (mine / "result.json").unlink()
    small.main(other, Verbs(run_dir=mine))
    assert (mine / "result.json").read_text() == before


def test_weights_alone_may_be_taken_over(mine):
    first = small.main(CONFIG, Verbs(evaluate=mine))
    other = dataclasses.replace(CONFIG, seed=5, hyper=small.Hyper(learning_rate=0.0))
    second = small.main(other, Verbs(run_dir=mine, resume="weights"))
    assert second.folder.parent == Path("runs") / "small"
    ours = jax.tree.leaves(second.state.inner.variables.params)
    theirs = jax.tree.leaves(first.state.inner.variables.params)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)  # a rate of 0: nothing has moved since
    origin = json.loads((second.folder / "config.json").read_text())["origin"]
    assert origin["run"] == "mine"
    assert len(origin["checkpoint"]) == 64
    wider = dataclasses.replace(other, width=8)
    with pytest.raises(RunError, match="weights cannot be taken over"):
        small.main(wider, Verbs(run_dir=mine, resume="weights"))
    with pytest.raises(RunError, match="needs --run-dir"):
        small.main(other, Verbs(resume="weights"))


def test_two_runs_cannot_be_in_one_folder(unfinished):
    verbs = Verbs(run_dir=unfinished)
    owner = f"is being run by process {os.getpid()}"
    with Run(CONFIG, verbs), pytest.raises(RunError, match=owner), Run(CONFIG, verbs):
        pytest.fail("it runs there too")


def test_a_folder_that_is_no_run_is_left_alone(here):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(RunError, match="no run folder"):
        small.main(CONFIG, Verbs(run_dir=here / "mine"))
    assert os.listdir(here / "mine") == ["thesis.tex"]


def test_evaluating_what_is_no_run_says_so(here):
    with pytest.raises(RunError, match="has no checkpoint"):
        small.main(CONFIG, Verbs(evaluate=here))


@pytest.mark.parametrize("checkpoint", [12, None])
def test_the_metrics_file_is_cut_back_to_the_checkpoint(unfinished, checkpoint):
    whole = (unfinished / "metrics.jsonl").read_bytes()
    with (unfinished / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 16, "train": {}}\n{"step": 2')  # and a torn line
    if checkpoint is None:  # as if it had been killed before the first one
        shutil.rmtree(unfinished / "checkpoints")
    small.main(CONFIG, Verbs(run_dir=unfinished))
    assert (unfinished / "metrics.jsonl").read_bytes() == whole
    # It came to its end, and was not stopped: it may still grow.
    record = json.loads((unfinished / "checkpoints/12/record.json").read_text())
    assert record["record"]["ended"] is False


def test_metrics_that_were_changed_are_noticed(unfinished, capsys):
    expected = (unfinished / "metrics.jsonl").read_bytes()
    lines = expected.splitlines(keepends=True)
    (unfinished / "metrics.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:-9])
    small.main(CONFIG, Verbs(run_dir=unfinished))
    assert (
        "checkpoint 12 is damaged and is skipped: metrics.jsonl"
        in capsys.readouterr().out
    )
    assert (unfinished / "metrics.jsonl").read_bytes() == expected


def poisoned(monkeypatch, step):
    load = small.load

    def other(config):
        data = load(config)

        def prepare(columns, fetched):
            batch = data.train.prepare(columns, fetched)
            bad = jax.numpy.where(fetched.step == step, jax.numpy.nan, 1.0)
            return batch._replace(image=batch.image * bad)

        return data._replace(train=dataclasses.replace(data.train, prepare=prepare))

    monkeypatch.setattr(small, "load", other)


def test_a_step_that_is_not_finite_stops_the_run_and_keeps_its_batch(
    here, monkeypatch, capsys
):
    poisoned(monkeypatch, 9)
    verbs = Verbs(run_dir=here / "mine", checkpoint_every=4)
    with pytest.raises(NonFiniteError, match="step 9") as error:
        small.main(CONFIG, verbs)
    batch, checkpoint = error.value.__notes__
    assert batch.startswith("The batch itself holds a NaN or an infinity in image:")
    assert checkpoint.startswith("The checkpoint of step 8 is intact.")
    assert f"--resume weights --run-dir {here / 'mine'}" in checkpoint
    with np.load(
        here / "mine" / "nonfinite" / "step-9.npz", allow_pickle=False
    ) as kept:
        assert set(kept) == {"image", "label", "mask"}
        assert np.isnan(kept["image"]).all()
        assert kept["label"].shape == (32,)
    assert "nonfinite/step-9.npz" in capsys.readouterr().out
    assert Checkpoints(here / "mine" / "checkpoints").steps() == [4, 8]
    assert not (here / "mine" / "result.json").exists()
    assert [line["step"] for line in records.read(here / "mine")] == [4, 8]


WILD = ["--steps", "12", "--every", "4", "--learning-rate", "1e9"]


@pytest.mark.parametrize("saved", [0, 2])
def test_a_run_that_diverges_says_where_and_what_to_do(here, capsys, saved):
    every = ["--checkpoint-every", str(saved)] if saved else []
    with pytest.raises(SystemExit) as stop:
        command(small.main, small.Config, [*WILD, "--run-dir", "mine", *every])
    first, *rest = str(stop.value).split("\n")
    assert first.startswith("error: the run has stopped: step 3: ")
    grew = "The gradient grew first in layer output: norm "
    assert rest[0].startswith("" if saved else grew)  # seen from the second step on
    assert rest[0].endswith("In step 3 the gradient is not finite in every layer.")
    assert rest[1] == "Try --learning-rate 1e+08 (now 1e+09)."
    kept = "The checkpoint of step 2 is intact."
    assert [line[: len(kept)] for line in rest[2:]] == [kept] * bool(saved)
    again = f"taking steps {saved} to 3 again, to see where the gradient grew"
    assert again in capsys.readouterr().out


def test_what_was_not_learned_is_warned_of_once_and_at_the_end(here, capsys):
    data, config = small.load(CONFIG), dataclasses.replace(CONFIG, steps=60, every=20)
    learner = small.build(CONFIG, data)._replace(
        trivial=(Trivial("loss", 0.0, 100.0, "as it began"),)
    )

    def main():
        with Run(config, Verbs(run_dir=here / "mine")) as run:
            for _ in run.train(learner, data.train, steps=60, every=20):
                pass
            run.finish(test=run.evaluate(data.test))
        result = json.loads((here / "mine" / "result.json").read_text())
        return result, capsys.readouterr().err.splitlines()

    result, said = main()
    assert len(said) == 2
    for text, line in zip(said, records.read(here / "mine")[1:], strict=True):
        assert text.startswith("warning: the training loss, now ")
        assert "between 0 and 100 since step 20: as it began. Try --l" in text
        assert f"now {line['train']['loss']:.4g}" in text
    lines = records.read(here / "mine")
    assert [line.get("warning") for line in lines] == [
        None,
        {"loss": said[0].removeprefix("warning: ")},
        None,
    ]
    assert result["warning"] == {"loss": said[1].removeprefix("warning: ")}
    (here / "mine" / "result.json").unlink()
    assert main() == (result, said[1:])  # resumed at its end


def test_early_stopping_is_two_plain_lines(here):
    data = small.load(CONFIG)
    with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
        for _ in run.train(small.build(CONFIG, data), data.train, steps=12, every=2):
            if run.step == 6:
                run.stop()
        run.finish(test=run.evaluate(data.test))
    result = json.loads((here / "mine" / "result.json").read_text())
    assert result["step"] == run.step == 6
    # Killed before the result: it does not train on.
    (here / "mine" / "result.json").unlink()
    with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
        for _ in run.train(small.build(CONFIG, data), data.train, steps=12, every=2):
            pytest.fail("it trained on")
        run.finish(test=run.evaluate(data.test))
    assert json.loads((here / "mine" / "result.json").read_text()) == result


def test_a_break_is_as_good_as_a_stop(here):
    data = small.load(CONFIG)
    with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
        for _ in run.train(small.build(CONFIG, data), data.train, steps=12, every=2):
            if run.step == 4:
                break
        run.finish(test=run.evaluate(data.test))
    small.main(CONFIG, Verbs(evaluate=here / "mine"))


def test_a_run_that_nobody_finishes_is_finished(here):
    data = small.load(CONFIG)
    with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
        for _ in run.train(small.build(CONFIG, data), data.train, steps=4, every=4):
            pass
    assert json.loads((here / "mine" / "result.json").read_text())["step"] == 4


def test_an_error_in_the_experiment_leaves_the_run_unfinished(here):
    data = small.load(CONFIG)

    def broken():
        with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
            for _ in run.train(small.build(CONFIG, data), data.train, steps=8, every=4):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert not (here / "mine" / "result.json").exists()
    again = small.main(CONFIG, Verbs())  # the lock is free, the handlers are back
    assert again.step == 12


def test_figures_stay_inside_the_folder(here):
    figure = runs.grid(np.zeros((1, 2, 2, 1)))
    data = small.load(CONFIG)
    with Run(CONFIG, Verbs(run_dir=here / "mine")) as run:
        for _ in run.train(small.build(CONFIG, data), data.train, steps=4, every=4):
            pass
        with pytest.raises(ValueError, match="no name for a file"):
            run.figure("../escaped", figure)
        run.figure("inside", figure)
    content = (here / "mine" / "figures" / "inside.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert sorted(os.listdir(here)) == ["mine"]


@pytest.mark.one_python
def test_nothing_is_written_outside_the_run_folder_and_the_cache(toy, tmp_path, cache):
    before = set(tmp_path.rglob("*"))
    home = tmp_path / "home"
    home.mkdir()
    own = {"HOME": str(home), "TMPDIR": str(home), "XDG_CACHE_HOME": ""}
    # matplotlib keeps its list of fonts where this says, unless nothing does.
    toy("small", environment={**own, "MPLCONFIGDIR": None}, true_start=True)
    assert list(home.rglob("*")) == []
    (folder,) = (tmp_path / "runs" / "small").iterdir()
    more = set(tmp_path.rglob("*")) - before - {home}
    outside = {p for p in more if folder not in p.parents}
    assert outside == {tmp_path / "runs", tmp_path / "runs" / "small", folder}
    assert list((cache / "compiled").iterdir())


def test_a_vocabulary_is_part_of_the_checkpoint_and_another_is_refused(here):
    data = small.load(CONFIG)

    def run(words, **verbs):
        verbs = Verbs(run_dir=here / "mine") if not verbs else Verbs(**verbs)
        with Run(CONFIG, verbs) as run:
            learner = small.build(CONFIG, data)
            plan = Plan(steps=8, report_every=4, metadata={"vocabulary": words})
            for _ in run.train(learner, data.train, plan):
                pass
            run.finish(test=run.evaluate(data.test))

    run(["<pad>", "cat", "dog"])
    record = json.loads(
        (here / "mine" / "checkpoints" / "8" / "record.json").read_text()
    )
    assert record["record"]["metadata"] == {"vocabulary": ["<pad>", "cat", "dog"]}
    (here / "mine" / "result.json").unlink()
    for verbs in ({}, {"evaluate": here / "mine"}):
        with pytest.raises(RunError, match=r"another vocabulary: .*'dog', 'cat'"):
            run(["<pad>", "dog", "cat"], **verbs)
    learner, other = small.build(CONFIG, data), {"vocabulary": ["<pad>"]}
    with pytest.raises(RunError, match="another vocabulary"):
        restored(here / "mine", learner, data.train, metadata=other)
    run(["<pad>", "cat", "dog"])


def test_looking_at_a_finished_run_keeps_its_result(mine):
    before, data = (mine / "result.json").read_bytes(), small.load(CONFIG)
    with Run(CONFIG, Verbs(run_dir=mine)) as run:
        plan = small.plan(CONFIG, data)
        assert not list(run.train(small.build(CONFIG, data), data.train, plan))
        assert run.predict(data.test).shape[1] == 10
    assert (mine / "result.json").read_bytes() == before


def test_a_stopped_run_keeps_its_result(here):
    data = small.load(CONFIG)
    learner = small.build(CONFIG, data)
    for _ in range(2):
        with Run(CONFIG, Verbs(run_dir=here / "r")) as run:
            for _ in run.train(learner, data.train, steps=4, every=2):
                run.stop()
            assert run.step == 2
            if not (here / "r" / "result.json").exists():
                run.finish(test={"loss": 0.5})
    assert json.loads((here / "r" / "result.json").read_text())["test"] == {"loss": 0.5}


@pytest.mark.parametrize(
    "plan", [(0, 1), (-3, 1), (4, 0), (4.0, 2), (4, 2.5), (2**40, 1)]
)
def test_a_plan_has_whole_numbers_from_1(here, plan):
    data = small.load(CONFIG)
    with (
        pytest.raises(RunError, match="the plan has"),
        Run(CONFIG, Verbs(run_dir=here / "r")) as run,
    ):
        next(run.train(small.build(CONFIG, data), data.train, Plan(*plan)))
    assert not (here / "r" / "result.json").exists()


def test_there_is_no_score_before_a_training(here):
    with (
        pytest.raises(RunError, match="call train"),
        Run(CONFIG, Verbs(run_dir=here / "r")) as run,
    ):
        run.evaluate(small.load(CONFIG).test)


def test_a_study_refuses_the_result_of_other_settings(mine):
    other = dataclasses.replace(CONFIG, seed=CONFIG.seed + 1)
    with pytest.raises(RunError, match="has other settings: seed 0, now 1"):
        result_of(small.main, other, mine)


def test_the_folder_may_be_the_present_one(here):
    (here / "empty").mkdir()
    os.chdir(here / "empty")
    assert small.main(CONFIG, Verbs(run_dir=Path())).folder == here / "empty"
