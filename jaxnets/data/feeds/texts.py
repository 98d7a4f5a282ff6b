"""Texts with a label each: by name, from TSV files, and as feeds of tokens."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnets.data.dataset import DataError, Dataset, Split, checked
from jaxnets.data.feeds.base import Feed, ordered, shuffled
from jaxnets.data.files.labelled_lines import labelled_lines
from jaxnets.data.files.problems import left_out, noted, refuse_skipping, say_built_in
from jaxnets.data.files.reading import given_path, is_path
from jaxnets.data.generated.reviews import reviews
from jaxnets.data.text import (
    Vocabulary,
    percentile,
    say_unknown,
    texts_of,
    tokenized,
    vocabulary,
    words,
)
from jaxnets.data.tfds.catalogue import FolderPath, refuse_ambiguity
from jaxnets.types import TextBatch

_SHORT = 64  # words; texts that are no longer are never cut


class LabelledTextFeeds(NamedTuple):
    """The feeds of a data set's three splits, and what the tokens mean."""

    dataset: Dataset  # columns `text`, `label`
    vocabulary: Vocabulary
    train: Feed
    validation: Feed
    test: Feed


def labelled_texts(
    name: str, *, data_dir: FolderPath = None, skip_bad: bool = False
) -> Dataset:
    """The labelled texts that go by this name; never others in their place.

    Args:
        name: `reviews`; or the path of a file or a folder for `labelled_lines`; or what
            TFDS calls a set (`imdb_reviews`).
        data_dir: Where prepared TFDS sets are.
        skip_bad: Leave bad lines of files out, with a warning that counts them.

    Raises:
        DataError: If there is no such set, or it is damaged, or there are no lines to
            leave out.
    """
    if name == "reviews":
        refuse_skipping(name, skip_bad=skip_bad)
        say_built_in(name)
        return checked(reviews())
    if name.endswith((".tsv", ".csv")) or is_path(name):
        refuse_ambiguity(name, data_dir)
        return labelled_lines(given_path(name), skip_bad=skip_bad)
    refuse_skipping(name, skip_bad=skip_bad)
    from jaxnets.data.tfds.sets import tfds_text

    return tfds_text(name, data_dir=data_dir)


def labelled_text_feeds(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    minimum: int = 1,
    length: int | None = None,
) -> LabelledTextFeeds:
    """Words as integers: shuffled to train on, in order to evaluate.

    Says how many words become `<unk>`, and how many texts are cut.

    Args:
        dataset: With columns `text` and `label`.
        batch_size: Of training.
        seed: Of the order.
        minimum: A word that the training split has less often is `<unk>`.
        length: Longer texts are cut to so many words. None: texts are cut only if the
            longest has more than 64 words, and then at the 95th percentile of the
            training split, or at 64 if that is less.

    Raises:
        DataError: If there is nothing to train on, or no label.
    """
    if "label" not in dataset.features:
        raise DataError(f"{dataset.name} has no labels, only {list(dataset.features)}")
    checked(dataset, batch_size=batch_size)
    known = vocabulary(texts_of(dataset.train, "text"), minimum=minimum)
    lengths = {
        name: [len(words(text)) for text in texts_of(split, "text")]
        for name, split in dataset.splits.items()
    }
    size = _size(dataset.name, lengths, length)
    coded = tokenized(dataset, "text", known, length=size, truncate=True, ends=False)
    say_unknown(coded, "text", minimum)
    train, validation, test = (_renamed(split) for split in coded.splits.values())
    return LabelledTextFeeds(
        dataset,
        known,
        shuffled(train, TextBatch, batch_size=batch_size, seed=seed),
        ordered(validation, TextBatch, batch_size=256),
        ordered(test, TextBatch, batch_size=256),
    )


def _size(name: str, lengths: Mapping[str, list[int]], asked: int | None) -> int:
    """Words that every text is cut or filled up to; says what is cut."""
    longest = max(map(max, lengths.values()))
    size = asked or longest
    if asked is None and longest > _SHORT:
        size = max(_SHORT, percentile(lengths["train"]))
        noted(
            name,
            f"texts are cut to {size} words, by the 95th percentile of the training "
            f"split; --words {longest} cuts none",
        )
    for split, counts in lengths.items():
        cut = sum(count > size for count in counts)
        rule = f"the rest of texts with more than {size} words"
        left_out(f"{name}, {split}", cut, len(counts), rule, f"--words {longest}")
    return max(1, min(size, longest))


def without_each_word(feed: Feed, rows: int) -> tuple[np.ndarray, Feed]:
    """The first rows of a feed, and what is left of each without one of its words.

    Args:
        feed: Of `TextBatch`es, in order.
        rows: How many; fewer come back if the feed has fewer.

    Returns:
        Tokens `[rows, t]`; and a feed in which each row is there t + 1 times: whole,
        and with `<pad>` for the first word, the second, and so on.
    """
    # The columns, not a batch: a batch is filled up with rows that are no texts.
    token, label = (np.asarray(feed.columns[n][:rows]) for n in ("token", "label"))
    length = token.shape[1]
    every = np.repeat(token[:, None], length + 1, axis=1)
    every[:, 1 + np.arange(length), np.arange(length)] = 0
    every = every.reshape(-1, length)
    split = Split({"token": every, "label": np.repeat(label, length + 1)})
    return token, ordered(split, TextBatch, batch_size=256)


def effects(
    logits: Float[np.ndarray, "b n classes"],
) -> tuple[Float[np.ndarray, "b t"], Int[np.ndarray, " b"]]:
    """What each word adds to the probability of the verdict, and the verdict.

    Zeiler & Fergus, "Visualizing and understanding convolutional networks", 2013,
    https://arxiv.org/abs/1311.2901, section 4.2: what is lost where a part is covered.

    Args:
        logits: Of the rows of `without_each_word`: of the whole text, then of what is
            left without each word.
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    probability = shifted / shifted.sum(axis=-1, keepdims=True)
    verdict = probability[:, 0].argmax(axis=-1)
    own = np.take_along_axis(probability, verdict[:, None, None], axis=-1)[:, :, 0]
    return own[:, :1] - own[:, 1:], verdict


def _renamed(split: Split) -> Split:
    columns = dict(split.columns)
    return dataclasses.replace(
        split, columns={"token": columns["text"], "label": columns["label"]}
    )
