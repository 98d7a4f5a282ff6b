"""The metrics file holds each step once, whenever its run was killed."""

import pytest

from jaxnets.run import records
from jaxnets.run.folder import RunError, read_settings

pytestmark = pytest.mark.host


def written(folder, mark, steps):
    """Steps that one process adds; returns its mark after each of them."""
    kept = records.Records(folder, mark, steps[0] - 1)
    marks = []
    for step in steps:
        kept.add(step, {"train": {"loss": 1.0 / step}}, {})
        marks.append(kept.mark())
    kept.close()
    return marks


def steps_of(folder):
    return [line["step"] for line in records.read(folder)]


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again(tmp_path):
    written(tmp_path, None, [1, 2, 3])
    written(tmp_path, None, [1, 2])
    assert steps_of(tmp_path) == [1, 2]


def test_a_resumed_run_begins_at_the_mark_of_its_checkpoint(tmp_path):
    marks = written(tmp_path, None, [1, 2, 3])
    again = written(tmp_path, marks[0], [2, 3, 4])
    assert steps_of(tmp_path) == [1, 2, 3, 4]
    assert again[:2] == marks[1:]
    assert records.check(tmp_path, again[-1]) is None


def test_a_torn_last_line_is_left_out_and_another_is_named(tmp_path):
    written(tmp_path, None, [1, 2])
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert steps_of(tmp_path) == [1]
    path.write_bytes(b"{torn\n" + path.read_bytes())
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged in line 1"):
        records.read(tmp_path)
    path.write_bytes(b"[1]\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged in line 1"):
        records.read(tmp_path)
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged: a JSON object"):
        records.load(path)


@pytest.mark.parametrize("content", ["[]", '{"experiment": "small", "config": 3}'])
def test_a_configuration_that_is_none_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json is no run's configuration"):
        read_settings(tmp_path)
