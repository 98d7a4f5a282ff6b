import datetime
import itertools
import re

import numpy as np
import pytest

from jaxnets.data.dataset import DataError, checked
from jaxnets.data.generated import dates

pytestmark = pytest.mark.host

MONTHS = {
    datetime.date(2000, m, 1).strftime("%B").lower()[:n]: m
    for m in range(1, 13)
    for n in (3, 9)
}
WEEKDAYS = [datetime.date(2024, 1, d).strftime("%A").lower() for d in range(1, 8)]


@pytest.fixture(scope="module")
def data():
    return dates.dates(train=3000, validation=400, test=400)


def meanings(text):
    """Every date that a text could be, by the rules in the module's docstring.

    Written apart from the generator: it reads, and tries all orders of the numbers.
    """
    weekday = next((k for k, day in enumerate(WEEKDAYS) if text[:3] == day[:3]), None)
    if weekday is not None:
        text = re.sub(r"^[a-z]+[.,]* ", "", text)
    text = re.sub(r"'(\d\d)", lambda m: str(1950 + (int(m[1]) - 50) % 100), text)
    if re.fullmatch(r"\d{8}", text):
        text = f"{text[:4]}-{text[4:6]}-{text[6:]}"
    for k, word in reversed(list(enumerate(dates.ORDINALS))):
        text = re.sub(rf"\b{word}\b", str(k + 1), text)
    text = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text)
    tokens = [t for t in re.findall(r"\d+|[a-z]+", text) if t not in ("the", "of")]
    months = [MONTHS[t] for t in tokens if t.isalpha()]
    numbers = [t for t in tokens if t.isdigit()]
    years = [t for t in numbers if len(t) == 4]
    assert len(years) == 1, text
    found = set()
    for order in itertools.permutations(numbers):
        if months and len(order) == 2:
            year, day, month = order[0], order[1], months[0]
        elif not months and len(order) == 3:
            year, month, day = order
            if numbers[0] == year and list(order) != numbers:
                continue  # the month follows a year that stands first
        else:
            continue
        if len(year) == 4 and 1 <= int(month) <= 12:
            try:
                date = datetime.date(int(year), int(month), int(day))
            except ValueError:
                continue
            if weekday in (None, date.weekday()):
                found.add(date)
    return found


def test_every_text_has_one_meaning_and_it_is_the_target(data):
    for split in data.splits.values():
        for source, target in zip(
            split.columns["source"], split.columns["target"], strict=True
        ):
            text = dates.decoded(source, dates.SOURCE_CHARACTERS)
            iso = dates.decoded(target, dates.TARGET_CHARACTERS)
            assert meanings(text) == {datetime.date.fromisoformat(iso)}, text


def test_the_reader_of_this_test_sees_what_is_ambiguous():
    assert len(meanings("3/4/1999")) == 2
    assert len(meanings("13/4/1999")) == 1
    assert meanings("friday, 3 march 1999") == set()  # it was a Wednesday
    assert meanings("mar. 3rd, '49") == {datetime.date(2049, 3, 3)}


def test_columns(data):
    checked(data)
    assert [len(split) for split in data.splits.values()] == [3000, 400, 400]
    source, target = (data.train.columns[n] for n in ("source", "target"))
    assert source.dtype == target.dtype == np.int32
    assert (source != dates.SOURCE_CHARACTERS.index("<unk>")).all()
    assert (target[:, 0] == dates.TARGET_CHARACTERS.index("<start>")).all()
    assert (target[:, -1] == dates.TARGET_CHARACTERS.index("<end>")).all()
    ends = (source > 0).sum(1)
    assert all((row[:n] > 0).all() for row, n in zip(source, ends, strict=True))


def test_no_day_is_in_two_splits(data):
    days = {
        name: {tuple(row) for row in split.columns["target"]}
        for name, split in data.splits.items()
    }
    assert not days["train"] & days["test"]
    assert not days["train"] & days["validation"]
    assert not days["test"] & days["validation"]


def test_days_are_parted_eight_to_one_to_one():
    span = (dates.LAST - dates.FIRST).days + 1
    assert span == 36_525
    names = [
        dates.split_of(dates.FIRST + datetime.timedelta(days=k)) for k in range(span)
    ]
    shares = {name: names.count(name) / span for name in set(names)}
    assert shares == pytest.approx(
        {"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01
    )


def test_there_are_many_ways_to_write():
    def pattern(text):
        text = re.sub("|".join(sorted(MONTHS, key=len, reverse=True)), "M", text)
        text = re.sub("|".join(dates.ORDINALS[::-1]), "O", text)
        return re.sub(r"\d", "9", re.sub("|".join(WEEKDAYS), "W", text))

    texts = [text for text, _ in dates.examples("train", 3000)]
    assert len({pattern(text) for text in texts}) > 150
    assert len(set(texts)) > 2900
    assert max(map(len, texts)) <= dates.SOURCE_LENGTH


def test_the_longest_text_fits():
    words = (max(w, key=len) for w in (dates.WEEKDAYS, dates.ORDINALS, dates.MONTHS))
    weekday, ordinal, month = words
    text = f"{weekday}, the {ordinal} of {month}, 1999"
    assert len(text) <= dates.SOURCE_LENGTH
    row = dates.encoded([text], dates.SOURCE_LENGTH)[0]
    assert dates.decoded(row, dates.SOURCE_CHARACTERS) == text


def test_suffixes():
    expected = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    assert {day: dates.suffix(day) for day in range(1, 32)} == {
        day: expected.get(day, "th") for day in range(1, 32)
    }


def test_ordinals_are_in_order():
    assert len(dates.ORDINALS) == 31
    assert dates.ORDINALS[0] == "first"
    assert dates.ORDINALS[11] == "twelfth"
    assert dates.ORDINALS[19] == "twentieth"
    assert dates.ORDINALS[20] == "twenty-first"
    assert dates.ORDINALS[28] == "twenty-ninth"


def test_the_texts_are_those_of_this_version():
    assert [text for text, _ in dates.examples("test", 5)] == [
        "wednesday the 15th of may, 2047",
        "sat., the 22nd of sep 2018",
        "the 9th of feb 2005",
        "11th july '47",
        "thursday 1962, feb 22",
    ]


def test_a_smaller_set_is_the_beginning(data):
    small = dates.dates(train=10, validation=5, test=5)
    assert np.array_equal(
        small.train.columns["source"], data.train.columns["source"][:10]
    )


def test_errors():
    with pytest.raises(DataError, match="an example in every split"):
        dates.dates(test=0)
    with pytest.raises(DataError, match="has 9 characters, 4 fit"):
        dates.encoded(["far too l"], 4)
    assert dates.encoded(["a~"], 3).tolist() == [
        [dates.SOURCE_CHARACTERS.index("a"), dates.SOURCE_CHARACTERS.index("<unk>"), 0]
    ]
