"""Every number of every command line has a range, and the range is kept."""

import dataclasses
import importlib
import re
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pytest

from jaxnets import ranges
from jaxnets.ranges import Interval, Rate, within
from jaxnets.run import settings
from jaxnets.run.command import command, study
from jaxnets.run.session import Run
from jaxnets.run.verbs import Describing, Verbs
from jaxnets.sweeps import command as sweeps
from jaxnets.sweeps import space as spaces

EXPERIMENTS = sorted(
    path.stem
    for path in Path("experiments").glob("*.py")
    if "\ndef plan(" in path.read_text()
)
STUDIES = sorted(
    path.stem
    for path in Path("experiments/studies").glob("*.py")
    if path.stem != "__init__"
)


def module(name):
    return importlib.import_module(f"experiments.{name}")


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        (Interval(0, 1), [0, 1, 0.5, -0.0], [-1e-9, 1.001, float("nan")]),
        (Interval(0, 1, below=True), [0, 0.999], [1, 1.0, 0.99999999, 2]),
        (Interval(0, 1e9, above=True), [1e-30, 1e9], [0, 0.0, 1e-50, -1, float("inf")]),
        (Interval(1, 2**31 - 1), [1, 2**31 - 1], [0, 2**31, -(2**70), 2**70]),
        (Interval(0, 2**32 - 1), [0, 2**32 - 1], [-1, 2**32]),
        (Interval(0, 1), [], [None, "0.5", float("-inf"), 1e300]),
    ],
)
def test_an_interval_is_of_numbers_as_float32_has_them(interval, inside, outside):
    assert [value for value in inside if value not in interval] == []
    assert [value for value in outside if value in interval] == []


def test_an_interval_is_written_as_in_mathematics():
    assert str(Interval(0, 1, below=True)) == "[0, 1)"
    assert str(Interval(0, 1e9, above=True)) == "(0, 1e9]"
    assert str(Interval(0, 2**32 - 1)) == "[0, 4294967295]"


class Inner(NamedTuple):
    rate: Rate = 0.5  # of something
    free: float = 1.0  # without a range


@dataclasses.dataclass(frozen=True)
class Outer:
    """Numbers in every place."""

    count: Annotated[int | None, within(1, 9)] = None  # of something
    widths: Annotated[tuple[int, ...], within(1, 9)] = (3,)  # of something
    loose: tuple[int, ...] | None = None  # without a range
    name: str = "x"  # no number
    truth: bool = True  # no number
    hyper: Inner = Inner()


def test_faults_name_flag_range_and_value_of_nested_fields_and_tuples():
    wrong = Outer(count=0, widths=(3, 10), loose=(-1,), hyper=Inner(rate=1 - 1e-9))
    assert ranges.faults(wrong) == [
        "--count must be in [1, 9], not 0",
        "--widths must be in [1, 9], not 10",
        "--rate must be in [0, 1), not 0.999999999 (1 in float32)",
    ]
    assert ranges.faults(Outer()) == []
    assert ranges.unstated(Outer) == ["--loose", "--free"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_number_of_an_experiment_has_a_range(name):
    experiment = module(name)
    assert ranges.unstated(experiment.Config) == []
    assert ranges.faults(experiment.Config()) == []
    # A space is inside of what its hyperparameters may be.
    sweeps.check_space(experiment.SPACE, spaces.free(spaces.of(experiment.SPACE)))


def test_numbers_of_other_types_are_taken_or_named():
    classify = module("classify")
    config, hyper = classify.Config(), classify.Hyper(dropout=np.float32(0.5))
    sound = dataclasses.replace(config, seed=np.int64(3), hyper=hyper)
    assert ranges.faults(sound) == []
    stored = settings.to_json(sound)
    assert (stored["seed"], stored["hyper"]["dropout"]) == (3, 0.5)
    wrong = {"seed": np.int64(-3), "epochs": 1.5, "batch_size": "32", "reports": True}
    lines = ranges.faults(dataclasses.replace(config, **wrong))
    assert sorted(lines) == [
        "--batch-size must be a number in [0, 2147483647], not '32'",
        "--epochs must be a whole number in [1, 2147483647], not 1.5",
        "--reports must be a number in [1, 2147483647], not True",
        "--seed must be in [0, 4294967295], not -3",
    ]


def test_recipes_are_inside_the_ranges():
    classify, recipes = module("classify"), module("recipes")
    for model in recipes.RECIPES:
        paper = classify.Config(model=model, recipe=recipes.PAPER)
        assert ranges.faults(paper.preset()) == []
    for choice in recipes.CHOICES:
        assert ranges.faults(classify.Config(recipe=choice).preset()) == []


@pytest.mark.parametrize("name", STUDIES)
def test_every_number_of_a_study_has_a_range(name):
    assert ranges.unstated(module(f"studies.{name}").main) == []


def a_study(config: Outer, shares: Annotated[tuple[float, ...], within(0, 1)] = (0,)):
    """Returns nothing."""
    pytest.fail(f"it ran with {config} and {shares}")


def test_a_study_refuses_numbers_out_of_range(capsys):
    with pytest.raises(SystemExit) as stop:
        study(a_study, ["--shares", "0.5", "2", "--rate", "-1", "--count", "3"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: --rate must be in [0, 1), not -1.0",
        "error: --shares must be in [0, 1], not 2.0",
    ]


def test_a_number_that_other_settings_make_too_large_is_refused():
    ranges.below("--beta-warmup", 20, 21, "the steps of this run")
    words = "--beta-warmup must be less than 21, the steps of this run, not 21"
    with pytest.raises(ranges.RangeError, match=words):
        ranges.below("--beta-warmup", 21, 21, "the steps of this run")


@pytest.mark.parametrize("kind", [Verbs, Describing, sweeps.Options, sweeps.SweepVerbs])
def test_every_number_of_what_to_do_has_a_range(kind):
    assert ranges.unstated(kind) == []
    assert ranges.faults(kind()) == []


def refused(name, *flags):
    """What is printed when flags are refused, before any work."""
    experiment = module(name)
    with pytest.raises(SystemExit) as stop:
        command(
            lambda config, verbs: pytest.fail("it ran"), experiment.Config, [*flags]
        )
    assert stop.value.code == 2


@pytest.mark.parametrize(
    ("name", "flags", "lines"),
    [
        (
            "classify",
            "--average-decay 1.0",
            ["--average-decay must be in [0, 1), not"],
        ),
        ("classify", "--label-smoothing 1.5 --dropout 1", ["--label-smo", "--dropout"]),
        ("classify", "--learning-rate -1", ["--learning-rate must be in (0, 1e9]"]),
        ("classify", "--learning-rate nan", ["--learning-rate must be in (0, 1e9]"]),
        ("classify", "--momentum 1 --clip-norm inf", ["--momentum", "--clip-norm"]),
        ("classify", "--seed -1 --data-seed 4294967296", ["--seed", "--data-seed"]),
        ("classify", "--keep 0 --checkpoint-seconds nan", ["--keep", "--checkpoint-s"]),
        ("vae", "--widths 3 0 --binarise-seed -1", ["--widths", "--binarise-seed"]),
        ("gan", "--beta2 1 --noise 0", ["--noise", "--beta2"]),
        ("language", "--temperature 0 --top-p 0", ["--temperature", "--top-p"]),
        ("caption", "--side 1 --features 0 --longest 2", ["--side", "--longest"]),
        ("caption", "--beams 0 --each 0 --generated 0", ["--generated", "--beams"]),
        ("translate", "--longest 0 --embedding 0", ["--longest", "--embedding"]),
        ("sentiment", "--shown 0 --words 0", ["--words", "--shown"]),
        ("draw", "--steps 0 --read -1", ["--steps", "--read"]),
    ],
)
def test_numbers_out_of_range_are_refused_before_any_work(name, flags, lines, capsys):
    refused(name, *flags.split())
    said = capsys.readouterr().err.splitlines()
    for line in lines:
        assert [s for s in said if s.startswith(f"error: {line}")], said
    assert all(re.match(r"error: --[a-z0-9-]+ must be in .*, not ", s) for s in said)


def test_help_states_the_range(capsys):
    with pytest.raises(SystemExit):
        command(lambda config, verbs: None, Outer, ["--help"])
    text = re.sub(r"\x1b\[[0-9;]*m|[│\s]+", " ", capsys.readouterr().out)
    assert "(default: 0.5; range: [0, 1))" in text
    assert str(Interval(1, 9)("")) == "(default: none; range: [1, 9])"


def test_a_config_that_is_made_in_python_is_checked_too():
    classify = module("classify")
    with pytest.raises(ranges.RangeError, match=r"--seed must be in"):
        Run(classify.Config(seed=-1))
    with pytest.raises(ranges.RangeError, match=r"--keep must be in"):
        Run(classify.Config(), Verbs(keep=0))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--space.dropout 0.5..1.5", "--space.dropout must stay in [0, 1), not 1.5"),
        ("--space.momentum 0.9,1", "--space.momentum must stay in [0, 1), not 1"),
        ("--space.dropout 2", "--dropout must be in [0, 1), not 2.0"),
        ("--grid accumulate=1,0", "--accumulate must be in [1, 2147483647], not 0"),
        ("--members 0 --sweep-seed -1", "--members must be in [1, 2147483647], not 0"),
        ("--memory nan", "--memory must be in (0, 1e9], not nan"),
        ("--seed 4294967290 --seeds 10", "--seed must be in [0, 4294967295], not"),
    ],
)
def test_a_sweep_outside_of_the_ranges_is_refused(flags, words, capsys):
    with pytest.raises(SystemExit) as stop:
        sweeps.command(
            {"classify": lambda: module("classify")},
            ["classify", "--dry-run", *flags.split()],
        )
    assert stop.value.code == 2
    assert f"error: {words}" in capsys.readouterr().err
