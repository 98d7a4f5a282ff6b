import re

import numpy as np
import pytest

from jaxnets.data.dataset import checked
from jaxnets.data.generated import reviews
from jaxnets.data.generated.reviews import ASPECTS, BLAME, PRAISE, ceiling, held_out
from jaxnets.data.text import texts_of
from jaxnets.scores.tokens import words

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def data():
    return checked(reviews.reviews())


@pytest.fixture(scope="module")
def rows(data):
    return {
        name: list(zip(texts_of(part, "text"), part.columns["label"], strict=True))
        for name, part in data.splits.items()
    }


def praises(clause):
    """Read by another rule than the one that wrote it."""
    good = bool(set(clause.split()) & set(PRAISE))
    return good != bool(re.search(r"\bnot\b|\bnobody\b", clause))


def verdict(text):
    text = text.removesuffix(" .")
    if " but " in text:
        return praises(text.split(" but ")[1])
    if text.startswith("although "):
        return praises(text.split(" , ")[1])
    return praises(text.split(" , although ")[0].split(" and ")[0])


def test_every_verdict_follows_from_the_sentence(rows):
    for part in rows.values():
        assert [int(label) for _, label in part] == [int(verdict(t)) for t, _ in part]


def test_no_count_of_words_can_be_right_about_both_of_a_pair(data, rows):
    for part in data.splits.values():
        assert ceiling(texts_of(part, "text"), part.columns["label"]) < 0.67
    pairs = {}
    for text, label in rows["test"]:
        if " and " not in text and len(re.findall(r" was | found | call ", text)) == 2:
            pairs.setdefault(tuple(sorted(words(text))), []).append(int(label))
    assert len(pairs) > 200
    assert all(sum(labels) * 2 == len(labels) for labels in pairs.values())


def test_the_ceiling_by_hand():
    texts = ["a b", "b a", "b a", "c", "d"]
    assert ceiling(texts, np.array([1, 0, 0, 1, 0])) == pytest.approx(4 / 5)


def test_the_tests_pairs_of_aspect_and_judgement_are_in_no_other_split(rows):
    def pairs(text):
        found = words(text)
        about = [w for w in found if w in ASPECTS]
        said = [w for w in found if w in (*PRAISE, *BLAME)]
        return set(zip(about, said, strict=True))

    seen = {name: set().union(*(pairs(t) for t, _ in p)) for name, p in rows.items()}
    assert not seen["test"] & (seen["train"] | seen["validation"])
    assert all(held_out(*pair) for pair in seen["test"])
    assert len(seen["test"]) > 20
    train = {w for text, _ in rows["train"] for w in words(text)}
    assert {w for text, _ in rows["test"] for w in words(text)} <= train


def test_it_is_always_the_same_and_nothing_is_there_twice(data, rows):
    digest = "36ea9786da8e33e7cdd657978e622469e02861b6d1908e1b6fbc7a3daad6ef9f"
    assert data.digest == digest
    texts = [text for part in rows.values() for text, _ in part]
    assert len(set(texts)) == len(texts) == 5500
    for part in rows.values():
        assert 0.45 < np.mean([label for _, label in part]) < 0.55
