import dataclasses
import json
import re
from typing import Annotated

import pytest
from toys import small

from experiments import classify
from jaxnets.evaluation.captions import with_photo
from jaxnets.ops.decoding import Decoding
from jaxnets.run.command import command
from jaxnets.run.folder import RunError
from jaxnets.run.settings import Judging
from jaxnets.run.verbs import Describing, Verbs


@pytest.fixture(autouse=True)
def _plain(plain):
    """No report is asked about here."""


def called(*flags):
    seen = []
    command(
        lambda config, verbs: seen.append((config, verbs)), small.Config, list(flags)
    )
    return seen[0]


def test_flags_reach_the_configuration_and_the_verbs():
    config, verbs = called("--steps", "7", "--learning-rate", "0.5", "--keep", "3")
    assert config == small.Config(steps=7, hyper=small.Hyper(learning_rate=0.5))
    assert verbs.keep == 3


def test_help_shows_every_flag_with_default_and_meaning(capsys):
    with pytest.raises(SystemExit) as stop:
        called("--help")
    assert stop.value.code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    for flag in ("--steps", "--learning-rate", "--seed", "--evaluate", "--dry-run"):
        assert flag in text
    assert "(default: 60)" in text
    assert "hidden units" in text
    assert "Print settings, shapes, parameters and steps" in text


def test_a_typo_is_answered_with_a_suggestion(capsys):
    with pytest.raises(SystemExit) as stop:
        called("--learning-rat", "0.5")
    assert stop.value.code == 2
    assert "--learning-rate" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--steps", "many"), ("--resume", "perhaps")])
def test_a_bad_value_is_refused(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        called(*flags)
    assert stop.value.code == 2
    assert flags[1] in capsys.readouterr().err


def test_evaluate_takes_the_configuration_of_the_run(here):
    small.main(
        small.Config(steps=4, every=4, seed=3), small.Verbs(run_dir=here / "mine")
    )
    config, verbs = called("--evaluate", str(here / "mine"))
    assert config == small.Config(steps=4, every=4, seed=3)
    assert verbs.evaluate == here / "mine"
    with pytest.raises(
        SystemExit, match=r"takes the run's own settings, not \['seed'\]"
    ):
        called("--evaluate", str(here / "mine"), "--seed", "4")


@dataclasses.dataclass(frozen=True)
class Written(small.Config):
    manner: Annotated[Decoding, Judging] = Decoding()


def test_a_run_may_be_evaluated_with_other_ways_to_judge_it(here):
    small.main(Written(steps=4, every=4, seed=3), small.Verbs(run_dir=here / "mine"))
    flags = ["--evaluate", str(here / "mine"), "--decode", "beam", "--alpha", "2"]
    seen = []
    command(lambda config, verbs: seen.append(config), Written, flags)
    beam = Decoding("beam", alpha=2.0)
    assert seen == [Written(steps=4, every=4, seed=3, manner=beam)]
    with pytest.raises(SystemExit, match=r"own settings, not \['steps'\]"):
        command(lambda config, verbs: None, Written, [*flags, "--steps", "5"])


def test_flags_that_are_defaults_win_over_the_run_s_settings_too(here):
    trained = Written(steps=4, every=4, manner=Decoding("beam", beams=3, alpha=2.0))
    small.main(trained, small.Verbs(run_dir=here / "mine"))
    flags = ["--evaluate", str(here / "mine"), "--beams", str(Decoding().beams)]
    seen = []
    command(lambda config, verbs: seen.append(config), Written, flags)
    # And what no flag names stays as it was.
    manner = Decoding("beam", beams=Decoding().beams, alpha=2.0)
    assert seen == [dataclasses.replace(trained, manner=manner)]
    flags += ["--steps", str(small.Config().steps)]
    with pytest.raises(SystemExit, match=r"own settings, not \['steps'\]"):
        command(lambda config, verbs: None, Written, flags)


def test_only_what_is_judged_otherwise_is_not_compared(here, capsys):
    config, path = Written(steps=4, every=4), here / "mine"
    small.main(config, small.Verbs(run_dir=path))
    beam = dataclasses.replace(config, manner=Decoding("beam"))
    small.main(beam, small.Verbs(evaluate=path))
    said = capsys.readouterr().out
    assert "(judged otherwise: manner.decode greedy, now beam)" in said
    result = json.loads((path / "result.json").read_text())
    result["test"]["loss"] += 1
    (path / "result.json").write_text(json.dumps(result))
    small.main(beam, small.Verbs(evaluate=path))
    with pytest.raises(RunError, match="does not give its recorded result"):
        small.main(config, small.Verbs(evaluate=path))
    other = dataclasses.replace(config, every=2)
    with pytest.raises(RunError, match="has other settings: every 4, now 2"):
        small.main(other, small.Verbs(evaluate=path))


@pytest.mark.parametrize(
    ("made_by", "reason"),
    [("other", "is a run of other, not of small"), ("small", "another version")],
)
def test_evaluating_another_experiments_run_says_so(here, made_by, reason):
    (here / "mine").mkdir()
    (here / "mine" / "config.json").write_text(
        f'{{"experiment": "{made_by}", "config": {{"depth": 3}}}}'
    )
    with pytest.raises(SystemExit, match=reason):
        called("--evaluate", str(here / "mine"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\x00"])
def test_a_damaged_configuration_is_named(here, content):
    (here / "mine").mkdir()
    (here / "mine" / "config.json").write_text(content)
    with pytest.raises(SystemExit, match=r"config.json"):
        called("--evaluate", str(here / "mine"))


@dataclasses.dataclass(frozen=True)
class Chosen:
    """What has a preset."""

    kind: str = "plain"  # decides the rest
    width: int = 1  # of something
    hyper: small.Hyper = small.Hyper()

    def preset(self):
        wide = 9 if self.kind == "wide" else 1
        hyper = self.hyper._replace(momentum=0.5 if self.kind == "wide" else 0.9)
        return dataclasses.replace(self, width=wide, hyper=hyper)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ("plain", 1, 0.9)),
        (["--kind", "wide"], ("wide", 9, 0.5)),
        (["--kind=wide", "--width", "1"], ("wide", 1, 0.5)),
        (["--momentum", "0.7", "--kind", "wide"], ("wide", 9, 0.7)),
    ],
)
def test_a_choice_brings_its_defaults_and_flags_win(flags, expected):
    seen = []
    command(lambda config, verbs: seen.append(config), Chosen, flags)
    assert (seen[0].kind, seen[0].width, seen[0].hyper.momentum) == expected


@pytest.mark.parametrize("flag", ["--members", "--epochs", "--reports", "--accumulate"])
def test_a_number_that_is_too_small_is_refused(flag, capsys):
    with pytest.raises(SystemExit) as stop:
        command(classify.main, classify.Config, [flag, "0"])
    assert stop.value.code == 2
    words = rf"error: {flag} must be in \[1, [0-9]+\], not 0\n"
    assert re.fullmatch(words, capsys.readouterr().err)


def test_a_run_from_before_a_range_is_refused_in_one_line(here):
    small.main(small.Config(steps=4, every=4), small.Verbs(run_dir=here / "mine"))
    path = here / "mine" / "config.json"
    stored = json.loads(path.read_text())
    stored["config"]["hyper"]["dropout"] = 1.0
    path.write_text(json.dumps(stored))
    with pytest.raises(SystemExit) as stop:
        called("--evaluate", str(here / "mine"))
    assert str(stop.value) == (
        f"error: {here / 'mine'} was trained with settings that are no longer allowed: "
        "--dropout must be in [0, 1), not 1.0. Train it anew"
    )


def test_images_that_are_too_small_for_a_network_are_an_error_line(here):
    with pytest.raises(SystemExit, match="error: LeNet-5 needs images of 12x12"):
        command(classify.main, classify.Config, ["--model", "lenet5", "--dry-run"])


def test_help_shows_the_defaults_of_the_choice(capsys):
    with pytest.raises(SystemExit) as stop:
        command(lambda config, verbs: None, Chosen, ["--help", "--kind", "wide"])
    assert stop.value.code == 0
    assert "(default: 9)" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [("--help",), ("--dry-run",)])
def test_a_closed_pipe_is_no_traceback(toy, flags):
    """`| head`: the reader has gone before anything is written."""
    with toy.start("small", *flags) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(300) == 141


def test_errors_are_one_line_and_not_a_traceback(toy):
    _, err = toy("small", "--evaluate", "nowhere", status=1)
    assert err.startswith("error: nowhere is no run folder")
    assert "Traceback" not in err


def test_a_picture_is_described_by_a_run(tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"")

    @dataclasses.dataclass(frozen=True)
    class Config:
        decoding: Decoding = Decoding(alpha=3.0)

    config = Config()
    assert with_photo(config, Verbs()) == (config, None)
    own, found = with_photo(config, Describing(describe=photo, evaluate=tmp_path))
    assert (own.decoding, found) == (Decoding("beam", alpha=3.0), photo)
    with pytest.raises(RunError, match="needs --run"):
        with_photo(config, Describing(describe=photo))
    with pytest.raises(RunError, match="not a file"):
        with_photo(
            config, Describing(describe=tmp_path / "none.jpg", evaluate=tmp_path)
        )
    with pytest.raises(SystemExit) as stop:
        command(lambda config, verbs: None, small.Config, ["--describe", "photo.jpg"])
    assert stop.value.code == 2  # most experiments cannot
    with pytest.raises(SystemExit, match=r"config\.json"):
        command(
            lambda config, verbs: None,
            small.Config,
            ["--describe", "photo.jpg", "--run", str(tmp_path)],
            verbs=Describing,
        )
