"""Pairs of sequences as batches: a source, and the target that it is to become."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxnets.data import text
from jaxnets.data.dataset import DataError, Dataset, Split
from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.splits import fed
from jaxnets.data.files.problems import left_out, noted, refuse_skipping, say_built_in
from jaxnets.data.files.reading import given_path
from jaxnets.data.files.sentences import sentence_pairs
from jaxnets.data.generated import dates as written_dates
from jaxnets.data.text import Vocabulary
from jaxnets.ops.decoding import PAD
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


def named_pairs(name: str, *, skip_bad: bool = False, **limits: Any) -> Pairs:
    """The pairs that go by this name; never others in their place.

    Args:
        name: `dates`; or the path of a file or a folder for `word_pairs`.
        skip_bad: Leave bad lines of files out, with a warning that counts them.
        **limits: For `word_pairs`; dates have none.

    Raises:
        DataError: If there is no such file, or it is damaged, or there are no lines to
            leave out.
    """
    if name != "dates":
        return word_pairs(given_path(name), skip_bad=skip_bad, **limits)
    refuse_skipping(name, skip_bad=skip_bad)
    say_built_in(name)
    return date_pairs()


def word_pairs(
    path: Path,
    *,
    skip_bad: bool = False,
    longest: int | None = None,
    minimum: int = 2,
    largest: int = 10_000,
    held_out: int = 1_000,
) -> Pairs:
    """The sentence pairs of a file or folder, word by word, in lower case.

    Vocabularies are those of the training split. Which pairs are held out is decided by
    their sources; see `sentence_pairs`. In scripts without spaces every character is a
    word; see `jaxnets.scores.tokens`. Says how many pairs and words every rule leaves
    out.

    Args:
        path: Of `source TAB target` lines.
        skip_bad: Leave bad lines out, with a warning that counts them.
        longest: Pairs with more words than this, on either side, are left out. None:
            the 95th percentile of the longer sides of the training split.
        minimum: A word that is there less often becomes `<unk>`.
        largest: Most tokens of a vocabulary.
        held_out: At most so many pairs for each of validation and test, evenly from all
            that the split has.

    Raises:
        DataError: If the data are wrong, or nothing is short enough.
    """
    dataset = _short_pairs(sentence_pairs(path, skip_bad=skip_bad), longest, held_out)
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
    for column, known in (("source", source), ("target", target)):
        full = largest if len(known) == largest else None
        text.say_unknown(dataset, column, minimum, full)
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
    parts = fed(dataset, PairBatch, batch_size=batch_size, seed=seed)
    return PairFeeds(pairs, *parts)


def shown(numbers: Iterable[Any], vocabulary: Vocabulary) -> list[str]:
    """The tokens one by one, `<end>` included and padding not, for a picture."""
    return [vocabulary.tokens[int(number)] for number in numbers if number != PAD]


def _short_pairs(dataset: Dataset, longest: int | None, held_out: int) -> Dataset:
    """The data set without long pairs, and with at most `held_out` to evaluate on.

    Raises:
        DataError: If nothing of a split is short enough.
    """
    lengths = {name: _lengths(split) for name, split in dataset.splits.items()}
    most = longest or text.percentile(lengths["train"].tolist())
    if longest is None:
        noted(
            dataset.name,
            f"longest: {most} words, the 95th percentile of the training pairs; "
            "--longest N sets another",
        )
    short = {}
    for name, split in dataset.splits.items():
        kept = np.flatnonzero(lengths[name] <= most)
        where, count = f"{dataset.name}, {name}", len(split)
        if not len(kept):
            raise DataError(
                f"{where}: no pair has at most {most} words on both sides: use a "
                f"larger --longest, {max(lengths[name])} keeps all"
            )
        rule = f"pairs have more than {most} words on a side"
        flag = f"--longest {max(lengths[name])} keeps all"
        left_out(where, count - len(kept), count, rule, flag)
        if name != "train" and len(kept) > held_out:
            rule = f"{held_out:,} pairs, evenly from the whole split, are scored"
            file = "val.tsv" if name == "validation" else "test.tsv"
            flag = f"a file {file} of so many pairs chooses them"
            left_out(where, len(kept) - held_out, len(kept), rule, flag)
            kept = kept[np.linspace(0, len(kept) - 1, held_out).astype(int)]
        short[name] = split.take(kept)
    return dataclasses.replace(dataset, **short)


def _lengths(split: Split) -> Int[np.ndarray, " n"]:
    """The words of the longer side of each pair."""
    source, target = (
        [len(text.words(side)) for side in text.texts_of(split, column)]
        for column in ("source", "target")
    )
    return np.maximum(source, target)
