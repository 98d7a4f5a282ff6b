"""The study of truncated backpropagation: its data, and as a campaign its claim."""

import dataclasses

import numpy as np
import pytest

from experiments.studies import truncation
from experiments.studies.truncation import BLANK, QUESTION, Config


def test_every_question_is_answered_by_the_symbol_before_it():
    data = truncation.recall(3, 4000, 6, seed=0)
    for row in range(3):
        symbols = np.flatnonzero(data.token[row] >= 3)
        questions = np.flatnonzero(data.token[row] == QUESTION)
        np.testing.assert_array_equal(
            data.distance[row, questions], questions - symbols
        )
        answers = data.target[row, questions]
        np.testing.assert_array_equal(answers, data.token[row, symbols])
        assert np.count_nonzero(data.target[row]) == len(questions)
        assert np.bincount(questions - symbols, minlength=7)[1:].min() > 80
    assert set(np.unique(data.token)) == {BLANK, QUESTION, 3, 4, 5, 6}


def test_chunks_follow_each_other_and_only_the_first_is_fresh():
    config = Config(steps=5, batch_size=2, updates=7)
    feed = truncation.chunks(config)
    data = truncation.recall(2, 35, config.longest, seed=0)
    batches = [feed(step) for step in range(8)]
    joined = np.concatenate([batch.token for batch in batches[:7]], axis=1)
    np.testing.assert_array_equal(joined, data.token)
    assert [bool(batch.fresh.all()) for batch in batches] == [True, *[False] * 6, True]
    np.testing.assert_array_equal(batches[7].target, batches[0].target)


@pytest.mark.campaign
def test_the_carried_state_reaches_beyond_the_gradient(tmp_path):
    config = dataclasses.replace(Config(), updates=2000, folder=tmp_path)
    carried, reset = truncation.main(config).values()
    assert carried > 0.95
    assert reset < 0.35  # chance is 0.25
    assert (tmp_path / "truncation.png").exists()
