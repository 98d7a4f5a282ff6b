"""What is said of data that a rule leaves out."""

import warnings

import pytest

from jaxnets.data.reading import DataWarning, left_out

pytestmark = pytest.mark.host


def test_what_is_left_out_is_counted_and_much_of_it_is_a_warning(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left_out("pairs", 0, 200, "pairs have more than 10 words", "--longest")
        assert not capsys.readouterr().out
        left_out("pairs", 20, 200, "pairs have more than 10 words", "--longest 12")
        said = capsys.readouterr().out
    assert "20 of 200 (10.0 %)" in said
    assert "--longest 12" in said
    with pytest.warns(DataWarning, match=r"21 of 200.*--longest 12"):
        left_out("pairs", 21, 200, "pairs have more than 10 words", "--longest 12")
    assert not capsys.readouterr().out
