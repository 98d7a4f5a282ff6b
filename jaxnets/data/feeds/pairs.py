"""Pairs of sequences as batches: a source, and the target that it is to become."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxnets.data import text
from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.feeds.base import Feed
from jaxnets.data.feeds.paired_words import SIDES, CodedPairs, coded_pairs
from jaxnets.data.feeds.splits import fed
from jaxnets.data.files.loading import SPLITS
from jaxnets.data.files.problems import left_out, noted, refuse_skipping, say_built_in
from jaxnets.data.files.reading import given_path
from jaxnets.data.generated import dates as written_dates
from jaxnets.data.store.ragged import Ragged, counts_of
from jaxnets.data.text import Vocabulary
from jaxnets.ops.decoding import END, PAD, START, UNKNOWN
from jaxnets.types import PairBatch


class Pairs(NamedTuple):
    """A data set of pairs as numbers, and what the numbers mean."""

    dataset: Dataset
    source: Vocabulary
    target: Vocabulary
    # of validation and test: the targets, no word unknown
    wanted: Mapping[str, Sequence[str]]


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
        if name != "train"
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
    coded = coded_pairs(path, skip_bad=skip_bad)
    chosen = _short_pairs(coded, longest, held_out)
    counts = {side: _counts(coded, side, chosen) for side in SIDES}
    known = {
        side: _frequent(coded.words[side], counts[side]["train"], minimum, largest)
        for side in SIDES
    }
    columns = {side: _columns(coded, side, chosen, known[side]) for side in SIDES}
    features = {
        side: Feature(
            (columns[side]["train"].width,),
            "int32",
            0,
            len(known[side]) - 1,
            known[side].tokens,
        )
        for side in SIDES
    }
    splits = {
        name: _split(coded, name, {side: columns[side][name] for side in SIDES}, rows)
        for name, rows in chosen.items()
    }
    # What BLEU is measured against: were it the tokens, `<unk>` would equal `<unk>`.
    wanted = {
        name: _sentences(coded, name, chosen[name]) for name in ("validation", "test")
    }
    for side in SIDES:
        limits = (minimum, largest)
        _say_unknown(coded, side, counts[side], columns[side], known[side], limits)
    dataset = Dataset(
        coded.name, features, splits["train"], splits["validation"], splits["test"]
    )
    return Pairs(dataset, known["source"], known["target"], wanted)


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


def _short_pairs(
    coded: CodedPairs, longest: int | None, held_out: int
) -> dict[str, Int[np.ndarray, " n"]]:
    """Positions of pairs that are no longer, by split; at most `held_out` to evaluate.

    Raises:
        DataError: If nothing of a split is short enough.
    """
    lengths = {
        name: np.maximum(*(coded.rows[name, side].lengths for side in SIDES))
        for name in SPLITS
    }
    most = longest or text.percentile(lengths["train"])
    if longest is None:
        noted(
            coded.name,
            f"longest: {most} words, the 95th percentile of the training pairs; "
            "--longest N sets another",
        )
    short = {}
    for name, words in lengths.items():
        kept = np.flatnonzero(words <= most)
        where, count, top = f"{coded.name}, {name}", len(words), int(words.max())
        if not len(kept):
            raise DataError(
                f"{where}: no pair has at most {most} words on both sides: use a "
                f"larger --longest, {top} keeps all"
            )
        rule = f"pairs have more than {most} words on a side"
        flag = f"--longest {top} keeps all"
        left_out(where, count - len(kept), count, rule, flag)
        if name != "train" and len(kept) > held_out:
            rule = f"{held_out:,} pairs, evenly from the whole split, are scored"
            file = "val.tsv" if name == "validation" else "test.tsv"
            flag = f"a file {file} of so many pairs chooses them"
            left_out(where, len(kept) - held_out, len(kept), rule, flag)
            kept = kept[np.linspace(0, len(kept) - 1, held_out).astype(int)]
        short[name] = kept
    return short


def _counts(
    coded: CodedPairs, side: str, chosen: Mapping[str, np.ndarray]
) -> dict[str, Int[np.ndarray, " words"]]:
    """How often the chosen pairs of each split have each word of a side."""
    size = len(coded.words[side])
    rows = {name: coded.rows[name, side] for name in chosen}
    return {
        name: counts_of(part.ids, part.lengths, chosen[name], size)
        for name, part in rows.items()
    }


def _frequent(
    words: Sequence[str], counts: np.ndarray, minimum: int, largest: int
) -> Vocabulary:
    """The vocabulary of these counts; only words that can be in it are sorted."""
    least = max(1, minimum)
    if len(counts) > largest:
        least = max(least, int(np.partition(counts, -largest)[-largest]))
    known = {words[i]: int(counts[i]) for i in np.flatnonzero(counts >= least).tolist()}
    return text.vocabulary_of(known, level="word", minimum=minimum, largest=largest)


def _columns(
    coded: CodedPairs,
    side: str,
    chosen: Mapping[str, np.ndarray],
    known: Vocabulary,
) -> dict[str, Ragged]:
    """The tokens of a side by split, filled up to the longest of all."""
    number = {token: i for i, token in enumerate(known.tokens)}
    table = np.array([number.get(w, UNKNOWN) for w in coded.words[side]], np.int32)
    ends = (START, END) if side == "target" else None
    rows = {name: coded.rows[name, side] for name in chosen}
    most = max(int(rows[name].lengths[chosen[name]].max()) for name in chosen)
    width = most + (2 if ends else 0)
    return {
        name: Ragged(
            part.ids, part.starts, part.lengths, table, width, ends, PAD, part.digest
        ).rows_at(chosen[name])
        for name, part in rows.items()
    }


def _split(
    coded: CodedPairs, name: str, columns: Mapping[str, Ragged], chosen: np.ndarray
) -> Split:
    """The chosen pairs of a split; in memory, with their ids, if they are few."""
    if coded.ids is None:
        return Split(columns)
    ids = coded.ids[name]
    rows = {side: column[np.arange(len(column))] for side, column in columns.items()}
    return Split(rows, [ids[int(i)] for i in chosen])


def _sentences(coded: CodedPairs, split: str, chosen: np.ndarray) -> list[str]:
    """The targets of some pairs."""
    words, rows = coded.words["target"], coded.rows[split, "target"]
    ends = (rows.starts + rows.lengths)[chosen].tolist()
    return [
        text.joined(words[int(i)] for i in rows.ids[start:end])
        for start, end in zip(rows.starts[chosen].tolist(), ends, strict=True)
    ]


def _say_unknown(
    coded: CodedPairs,
    side: str,
    counts: Mapping[str, np.ndarray],
    columns: Mapping[str, Ragged],
    known: Vocabulary,
    limits: tuple[int, int],
) -> None:
    """Says how many words of a side are `<unk>`, by split."""
    minimum, largest = limits
    full = largest if len(known) == largest else None
    tokens = set(known.tokens)
    strange = np.array([word not in tokens for word in coded.words[side]])
    for name, count in counts.items():
        where, unknown = f"{coded.name}, {name}, {side}", int(count[strange].sum())
        ends = 0 if columns[name].ends is None else 2 * len(columns[name])
        total = int(count.sum()) + ends
        text.left_out_words(where, unknown, total, minimum, full)
