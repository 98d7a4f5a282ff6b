"""What a finished training is never lost to: pictures, prints, names, interrupts."""

import contextlib
import dataclasses
import errno
import json
import os
import signal

import jax
import numpy as np
import pytest
from toys import small

from jaxnets import files
from jaxnets.metrics import Mean
from jaxnets.run import environment
from jaxnets.run.folder import RunError
from jaxnets.run.interrupts import InterruptedRun
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs

CONFIG = small.Config(steps=4, every=2)


@contextlib.contextmanager
def trained(folder, config=CONFIG, **verbs):
    data = small.load(config)
    with Run(config, Verbs(run_dir=folder, **verbs)) as run:
        learner = small.build(config, data)
        for _ in run.train(learner, data.train, steps=config.steps, every=config.every):
            pass
        yield run


def fails(*given, **options):
    raise IndexError(f"list index\nout of range {given}")


def test_a_picture_that_fails_is_a_warning_and_the_result_is_written(
    here, plain, capfd
):
    with trained(here / "r") as run:
        run.figure("words", fails, 1)
        with run.optional("the picture of maps"):
            fails()
        run.finish(test={"loss": 0.5})
    assert json.loads((here / "r" / "result.json").read_text())["test"] == {"loss": 0.5}
    err = capfd.readouterr().err.splitlines()
    assert err == [
        "warning: the picture 'words' is left out: IndexError: list index out of range "
        "(1,)",
        "warning: the picture of maps is left out: IndexError: list index out of range "
        "()",
    ]


def test_a_report_that_fails_is_a_warning(here, monkeypatch, capfd):
    monkeypatch.setattr("jaxnets.run.report.write", fails)
    with trained(here / "r") as run:
        run.finish(test={"loss": 0.5})
    assert (here / "r" / "result.json").is_file()
    assert "warning: report.html is left out: IndexError" in capfd.readouterr().err


def test_scores_that_fail_leave_a_run_that_is_scored_again(here, plain):
    with pytest.raises(IndexError), trained(here / "r"):
        fails()
    assert not (here / "r" / "result.json").exists()
    with trained(here / "r") as run:
        assert run.step == 4
        run.finish(test={"loss": 0.5})
    assert (here / "r" / "result.json").is_file()


def test_ctrl_c_while_a_picture_is_drawn_leaves_the_result(here, plain, capfd):
    def interrupted():
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    def stopped_while_drawing():
        with trained(here / "r") as run:
            run.figure("first", interrupted)
            run.figure("second", drawn.append)
            run.finish(test={"loss": 0.5})

    drawn = []
    with pytest.raises(InterruptedRun) as stopped:
        stopped_while_drawing()
    assert not drawn
    assert json.loads((here / "r" / "result.json").read_text())["step"] == 4
    assert stopped.value.left == f"the run had ended: its result is in {here / 'r'}"
    assert "'first' is left out: stopped by a signal" in capfd.readouterr().err


@pytest.mark.parametrize("steps", [0, 4])
def test_ctrl_c_outside_the_loop_says_what_is_saved(here, plain, steps):
    def run_until(steps):
        data = small.load(CONFIG)
        with Run(CONFIG, Verbs(run_dir=here / "r")) as run:
            learner = small.build(CONFIG, data)
            if steps:
                for _ in run.train(learner, data.train, steps=4, every=2):
                    pass
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("not reached")

    with pytest.raises(InterruptedRun) as stopped:
        run_until(steps)
    expected = "the state is saved." if steps else "nothing to save yet."
    assert stopped.value.left.startswith(expected)
    assert not (here / "r" / "result.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_written_and_is_no_success(here, plain, value):
    with (
        pytest.raises(RunError, match=r"^test\.loss is (nan|inf): scores must"),
        trained(here / "r") as run,
    ):
        run.finish(test={"loss": Mean(np.float64(value), np.int64(1)), "kept": 2.0})
    found = json.loads((here / "r" / "result.json").read_text())["test"]
    assert found == {"loss": str(value), "kept": 2.0}
    with (
        pytest.raises(RunError, match=r"^test\.loss is (nan|inf): scores must"),
        trained(None, evaluate=here / "r") as run,
    ):
        run.finish(test={"loss": value, "kept": 2.0})


def test_other_devices_are_compared_to_a_tolerance(here, plain, capsys, monkeypatch):
    with trained(here / "r") as run:
        run.finish(test={"loss": 0.04048231800833901, "by_class": [1.0, 0.5]})

    def scored(loss):
        with trained(None, evaluate=here / "r") as run:
            run.finish(test={"loss": loss, "by_class": [1.0, 0.5]})
        return capsys.readouterr().out

    assert "(as recorded)" in scored(0.04048231800833901)
    with pytest.raises(RunError, match="does not give its recorded result"):
        scored(0.040482320628323396)
    now = environment.environment(None, "")
    elsewhere = {**now, "devices": ["cpu cpu"] * 8}
    monkeypatch.setattr(environment, "environment", lambda *given: elsewhere)
    shown = scored(0.040482320628323396)
    assert "(as recorded within 0.1%; devices 1 x cpu cpu, now 8 x cpu cpu)" in shown
    with pytest.raises(RunError, match="What is different here: devices 1 x cpu cpu"):
        scored(0.05)


def test_several_processes_are_refused_in_one_line(here, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(RunError, match="JAX runs as 2 processes, and a run takes one"):
        Run(CONFIG)
    assert not list(here.iterdir())


def test_a_configuration_that_was_typed_in_needs_no_file(here, plain):
    names = {"dataclasses": dataclasses, "CONFIG": CONFIG, "__name__": "typed"}
    exec(  # noqa: S102 - as a notebook does
        "@dataclasses.dataclass(frozen=True)\n"
        "class Config:\n"
        "    seed: int = 0\n"
        "    hyper: tuple = CONFIG.hyper\n",
        names,
    )
    run = Run(names["Config"]())
    assert run.experiment == "notebook"


NAMES = {
    "classify": "classify",
    "été": "été",
    "my run": "my run",
    "x (1)": "x-1-",
    "../x": "x-",
    "x" * 300: "x" * 80 + "-",
    "é" * 200: "é" * 40 + "-",
    "()": "",
    os.fsdecode(b"caf\xe9"): "caf",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_script_of_any_name_gives_a_folder(name):
    slug = files.slug(name)
    assert files.safe_name(slug) == slug
    assert slug.startswith(NAMES[name])
    assert (slug == name) == (NAMES[name] == name)
    assert files.slug(name) != files.slug(name + "?")


def test_names_that_are_not_utf8_survive_json():
    name = os.fsdecode(b"caf\xe9")
    text = files.dump_json({"data": name, "named": "é"})
    assert json.loads(text.encode()) == {"data": name, "named": "é"}
    assert "é" in text


class Full:
    """An output on a disk that is full."""

    encoding = "utf-8"

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    def flush(self):
        pass


def test_an_output_that_cannot_be_written_is_a_warning(here, plain, monkeypatch, capfd):
    monkeypatch.setattr("sys.stdout", Full())
    with trained(here / "r") as run:
        run.text("samples", "once upon a time")
        run.finish(test={"loss": 0.5})
    assert (here / "r" / "result.json").is_file()
    assert (here / "r" / "texts" / "samples.txt").is_file()
    assert capfd.readouterr().err.splitlines() == [
        "warning: the output is not written any more: No space left on device"
    ]


def test_what_was_trained_is_saved_before_it_is_said(here, monkeypatch):
    """The reader of a pipe may be gone, as `| head -1` is."""
    said = []

    def say(self, text):
        if text.startswith("step 4"):
            raise BrokenPipeError
        said.append(text)

    monkeypatch.setattr("jaxnets.run.console.Console.say", say)
    with pytest.raises(BrokenPipeError), trained(here / "r", keep=9):
        pass
    assert (here / "r" / "checkpoints" / "4").is_dir()
