"""A hundred hostile inputs: no traceback, nothing silent, `check` and experiment agree.

The default suite asks every experiment what it would do with each input (`--dry-run`);
the campaign trains, in a process of its own.
"""

import importlib
import re

import pytest

from jaxnets.data.__main__ import main as data_main
from jaxnets.run.command import command
from tests.hostile import ALL, COMMANDS

ROOT_OF = {
    name: f"experiments.{name}" for name in {*COMMANDS, *(h.experiment for h in ALL)}
}
pytestmark = pytest.mark.filterwarnings(
    "default::jaxnets.data.files.problems.DataWarning",  # what a run says, and goes on
)
NAMES = [f"{h.experiment}: {h.name}" for h in ALL]
KNOWN = {0, 1, 2}  # done, the run failed, the flags are wrong


def words_of(case, data):
    """The arguments of the experiment."""
    given = ["--data", data] if data else []
    return [*COMMANDS.get(case.experiment, []), *given, *case.flags]


def judged(case, status, said):
    """Fails unless the answer is the right one, and says why."""
    assert "Traceback" not in said, said
    assert status in KNOWN, said
    if case.used is not None:
        assert status == 0, said
    else:
        assert status != 0, said
        assert re.search(case.refused, said), said
        lines = said[said.index("error: ") :].splitlines()
        assert len(lines) <= 12, said  # one reason, not a page
    said.encode()  # nothing in it is half a character


def checked(case, data, capsys):
    """The exit status of `check`, and what it printed."""
    status = data_main(["check", data, *(case.check or ())])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def asked(case, data, capsys):
    """The exit status of a dry run, and what it printed."""
    module = importlib.import_module(ROOT_OF[case.experiment])
    verbs = {} if case.experiment != "caption" else {"verbs": module.Describing}
    status = 0
    try:
        words = [*words_of(case, data), "--dry-run"]
        command(module.main, module.Config, words, **verbs)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    said = captured.out + captured.err
    if isinstance(status, str):  # what Python prints at the end
        status, said = 1, said + status
    return status or 0, said


def agrees(case, here, capsys):
    """Builds the input, and asks `check` and the experiment."""
    data = case.build(here)
    if case.check is not None:
        status, said = checked(case, data, capsys)
        assert "Traceback" not in said
        assert (status == 0) == (case.used is not None), said
        if case.used is not None:
            good = sum(
                int(n.replace(",", ""))
                for n in re.findall(r" ([\d,]+)(?=,| good)", said.splitlines()[0])
            )
            assert good == case.used, said
        else:
            assert re.search(case.refused, said), said
    judged(case, *asked(case, data, capsys))


@pytest.mark.parametrize("case", ALL[::9], ids=NAMES[::9])
@pytest.mark.one_python
def test_check_and_experiment_agree_about_some_hostile_inputs(case, here, capsys):
    agrees(case, here, capsys)


@pytest.mark.parametrize("case", ALL, ids=NAMES)
@pytest.mark.campaign
def test_check_and_experiment_agree_about_every_hostile_input(case, here, capsys):
    agrees(case, here, capsys)


@pytest.mark.parametrize("case", ALL, ids=NAMES)
@pytest.mark.campaign
def test_a_hostile_input_trains_to_its_end_or_is_refused(case, here, warm, environment):
    data = case.build(here)
    script = importlib.import_module(ROOT_OF[case.experiment]).__file__
    words = [script, *words_of(case, data), "--run-dir", "run"]
    done = warm.run(words, cwd=here, env=environment)
    judged(case, done.returncode, done.stdout + done.stderr)
    assert (here / "run" / "result.json").exists() == (case.used is not None)


def test_there_are_a_hundred():
    assert len(ALL) >= 100
    assert len(set(NAMES)) == len(NAMES)
