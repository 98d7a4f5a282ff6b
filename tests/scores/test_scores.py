"""Scores of texts, against the packages that papers use and arithmetic by hand."""

import json
import math
from pathlib import Path

import pytest

from jaxnets.scores.bleu import bleu, sacrebleu, tokens_13a
from jaxnets.scores.captions import caption_scores, plain
from jaxnets.scores.cider import cider_d
from jaxnets.scores.rouge import longest_common, rouge_l
from tests.golden.scores import cases

pytestmark = pytest.mark.host

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden/scores/references.json").read_text()
)
CLOSE = pytest.approx


@pytest.fixture(scope="module")
def shapes():
    return cases.of_shapes()


def case(name, table, shapes):
    return shapes if name == "shapes" else table[name]


@pytest.mark.parametrize("name", list(GOLDEN["captioning"]))
def test_captions_score_as_in_the_coco_evaluation_code(name, shapes):
    own, theirs = case(name, cases.TOKENS, shapes)
    golden = GOLDEN["captioning"][name]
    assert bleu(own, theirs) == CLOSE(golden["bleu"], abs=1e-9)
    score, each = cider_d(own, theirs)
    assert score == CLOSE(golden["cider"], abs=1e-9)
    assert each[:20] == CLOSE(golden["cider_each"], abs=1e-9)
    score, each = rouge_l(own, theirs)
    assert score == CLOSE(golden["rouge"], abs=1e-9)
    assert each[:20] == CLOSE(golden["rouge_each"], abs=1e-9)


@pytest.mark.parametrize("name", list(GOLDEN["translation"]))
def test_translations_score_as_in_sacrebleu(name, shapes):
    own, theirs = case(name, cases.PLAIN, shapes)
    golden = GOLDEN["translation"][name]
    assert sacrebleu(own, theirs) == CLOSE(golden, abs=1e-9)


def test_the_papers_own_example():
    # Papineni et al., section 2.1: a clipped precision of 2/7 for a row of "the".
    own = ["the the the the the the the"]
    theirs = [["the cat is on the mat", "there is a cat on the mat"]]
    assert bleu(own, theirs, order=1)[0] == CLOSE(2 / 7, abs=1e-6)


def test_brevity_by_hand():
    # One of two words is right, and the reference has four: e^(1 - 4/2) / 2.
    assert bleu(["a b"], [["a c d e"]], order=1)[0] == CLOSE(math.exp(-1) / 2, abs=1e-6)
    assert bleu(["a b c"], [["a b c"]])[2] == CLOSE(1, abs=1e-6)


def test_tokens_may_be_given_instead_of_strings():
    own, theirs = cases.RAGGED
    split = [t.split() for t in own], [[t.split() for t in r] for r in theirs]
    assert bleu(*split) == bleu(own, theirs)
    assert cider_d(*split) == cider_d(own, theirs)
    assert rouge_l(*split) == rouge_l(own, theirs)


def test_a_common_sequence_may_have_gaps():
    assert longest_common("abcde", "xaycze") == 3
    assert longest_common("", "abc") == 0


def test_plain_words_and_tokens_of_13a():
    assert plain("A dog's red, RED ball.") == ["a", "dog's", "red", "red", "ball"]
    assert tokens_13a("It's 3.5, no?") == ["It's", "3.5", ",", "no", "?"]
    assert tokens_13a("") == []


def test_captions_are_scored_without_case_and_punctuation():
    theirs = [["a red ball", "the ball"], ["two cats sleep here", "cats"]]
    loud = caption_scores(["A red ball!", "Two cats, sleep here."], theirs)
    quiet = caption_scores(["a red ball", "two cats sleep here"], theirs)
    assert loud == quiet
    assert set(loud) == {*(f"bleu_{n}" for n in (1, 2, 3, 4)), "cider_d", "rouge_l"}
    assert loud["bleu_3"] == CLOSE(1, abs=1e-6)


@pytest.mark.parametrize("score", [bleu, sacrebleu, cider_d, rouge_l])
@pytest.mark.parametrize(
    ("own", "theirs"), [([], []), (["a"], []), (["a"], [[]]), (["a"], ["a"])]
)
def test_what_has_no_reference_is_refused(score, own, theirs):
    with pytest.raises(ValueError, match="reference"):
        score(own, theirs)
