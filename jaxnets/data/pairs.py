"""Pairs of sequences as batches: a source, and the target that it is to become."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnets.data import dates as written_dates
from jaxnets.data import text
from jaxnets.data.dataset import DataError, Dataset, Split, checked
from jaxnets.data.feed import Feed, ordered, shuffled
from jaxnets.data.sentences import sentence_pairs
from jaxnets.data.text import Vocabulary
from jaxnets.types import PairBatch


class Pairs(NamedTuple):
    """A data set of pairs as numbers, and what the numbers mean."""

    dataset: Dataset
    source: Vocabulary
    target: Vocabulary
    wanted: Mapping[str, Sequence[str]]  # by split: the targets, no word unknown


class PairFeeds(NamedTuple):
    """The feeds of the three splits, and what their numbers mean."""

    pairs: Pairs
    train: Feed
    validation: Feed
    test: Feed


def date_pairs(*, train: int = 20_000, held_out: int = 2_000) -> Pairs:
    """Written dates and what they are in ISO 8601, character by character.

    Args:
        train: How many examples to train on, of the first 20,000 and more.
        held_out: How many to validate on, and as many to test on.
    """
    dataset = written_dates.dates(train=train, validation=held_out, test=held_out)
    target = Vocabulary(written_dates.TARGET_CHARACTERS, "character")
    wanted = {
        name: [target.decode(row) for row in split.columns["target"][:]]
        for name, split in dataset.splits.items()
    }
    source = Vocabulary(written_dates.SOURCE_CHARACTERS, "character")
    return Pairs(dataset, source, target, wanted)


def word_pairs(
    path: Path,
    *,
    longest: int = 10,
    minimum: int = 2,
    largest: int = 10_000,
    held_out: int = 1_000,
) -> Pairs:
    """The sentence pairs of a file or folder, word by word, in lower case.

    Vocabularies are those of the training split. Which pairs are held out is decided by
    their sources; see `sentence_pairs`.

    Args:
        path: Of `source TAB target` lines.
        longest: Pairs with more words than this, on either side, are left out.
        minimum: A word that is there less often becomes `<unk>`.
        largest: Most tokens of a vocabulary.
        held_out: At most so many pairs for each of validation and test, evenly from all
            that the split has.

    Raises:
        DataError: If the data are wrong, or nothing is short enough.
    """
    dataset = sentence_pairs(path)
    short = {name: _short(s, longest) for name, s in dataset.splits.items()}
    for name in ("validation", "test"):
        count = len(short[name])
        chosen = np.linspace(0, count - 1, min(count, held_out)).astype(int)
        short[name] = short[name].take(chosen)
    for name, split in short.items():
        if not len(split):
            raise DataError(
                f"{dataset.name}, {name}: no pair has at most {longest} words on both "
                "sides: allow longer ones, or give more pairs"
            )
    dataset = dataclasses.replace(dataset, **short)
    source, target = (
        text.vocabulary(
            text.texts_of(dataset.train, column), minimum=minimum, largest=largest
        )
        for column in ("source", "target")
    )
    # What BLEU is measured against: were it the tokens, `<unk>` would equal `<unk>`.
    wanted = {
        name: [text.joined(text.words(t)) for t in text.texts_of(split, "target")]
        for name, split in dataset.splits.items()
    }
    dataset = text.tokenized(dataset, "source", source, ends=False)
    dataset = text.tokenized(dataset, "target", target)
    return Pairs(dataset, source, target, wanted)


def pair_feeds(pairs: Pairs, *, batch_size: int, seed: int) -> PairFeeds:
    """Checked batches: shuffled to train on, in order to evaluate.

    Args:
        pairs: Of which both columns are tokens.
        batch_size: Of training; evaluation takes 256 at a time, or fewer.
        seed: Of the order.

    Raises:
        DataError: If anything is wrong with the data; see `checked`.
    """
    dataset = pairs.dataset
    checked(dataset, batch_size=batch_size)
    validation, test = (
        ordered(part, PairBatch, batch_size=min(256, -(-len(part) // 8) * 8))
        for part in (dataset.validation, dataset.test)
    )
    train = shuffled(dataset.train, PairBatch, batch_size=batch_size, seed=seed)
    return PairFeeds(pairs, train, validation, test)


def shown(numbers: Iterable[Any], vocabulary: Vocabulary) -> list[str]:
    """The tokens one by one, `<end>` included and padding not, for a picture."""
    return [vocabulary.tokens[int(number)] for number in numbers if number != text.PAD]


def _short(split: Split, longest: int) -> Split:
    sides: list[Sequence[str]] = [
        text.texts_of(split, column) for column in ("source", "target")
    ]
    kept = [
        index
        for index, pair in enumerate(zip(*sides, strict=True))
        if all(len(text.words(side)) <= longest for side in pair)
    ]
    return split.take(np.array(kept, np.int64))
