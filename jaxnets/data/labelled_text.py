"""Texts with a label each: by name, from TSV files, and as feeds of tokens."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxnets.data.catalogue import Folder
from jaxnets.data.dataset import DataError, Dataset, Feature, Split, checked
from jaxnets.data.feed import Feed, ordered, shuffled
from jaxnets.data.loading import Part, Survey, assembled, read_rows, split_of
from jaxnets.data.reading import FileError
from jaxnets.data.reviews import reviews
from jaxnets.data.sentences import as_texts
from jaxnets.data.text import Vocabulary, texts_of, tokenized, vocabulary
from jaxnets.types import TextBatch


class LabelledTextFeeds(NamedTuple):
    """The feeds of a data set's three splits, and what the tokens mean."""

    dataset: Dataset  # columns `text`, `label`
    vocabulary: Vocabulary
    train: Feed
    validation: Feed
    test: Feed


def labelled_texts(name: str, *, data_dir: Folder = None) -> Dataset:
    """The labelled texts that go by this name; never others in their place.

    Args:
        name: `reviews`; or the path, with a slash in it or the end `.tsv`, of a file or
            a folder for `labelled_lines`; or what TFDS calls a set (`imdb_reviews`).
        data_dir: Where prepared TFDS sets are.

    Raises:
        DataError: If there is no such set, or it is damaged.
    """
    if name == "reviews":
        return checked(reviews())
    path = Path(name).expanduser()
    if name.endswith(".tsv") or ("/" in name and path.exists()):
        return labelled_lines(path)
    from jaxnets.data.tfds import tfds_text

    return tfds_text(name, data_dir=data_dir)


def labelled_lines(path: Path, *, held_out: float = 0.1) -> Dataset:
    """Lines `text TAB label` of a `.tsv` file, or of those in a folder, as UTF-8.

    In a folder, files called `train`, `dev` (or `val`) and `test` are the splits; those
    that are missing are held out from train by a hash of the position. Labels are any
    words; the classes are those of the whole set, in order.

    Args:
        path: Of a file or a folder.
        held_out: Share of train for each split that is missing.

    Raises:
        DataError: At any line that is not a text and a label, naming it.
    """
    root = path if path.is_dir() else path.parent
    names = [path.name]
    if path.is_dir():
        names = sorted(file.name for file in path.glob("*.tsv"))
    survey, rows = Survey(), {}
    for name in names:
        split = split_of(Path(name).stem) or "train"
        here = rows.setdefault(split, [])
        try:
            for where, cells in read_rows(root, name, "\t", survey):
                if len(cells) == 2 and all(cell.strip() for cell in cells):
                    here.append((where, *cells))
                else:
                    survey.add(where, "is not `text TAB label`", "text")
        except FileError as error:
            survey.add(name, str(error))
    classes = sorted({label for part in rows.values() for *_, label in part})
    parts = {}
    for split, part in rows.items():
        label = np.array([classes.index(word) for *_, word in part], np.int32)
        texts = as_texts([text for _, text, _ in part])
        ids = [where for where, *_ in part]
        parts[split] = Part({"text": texts, "label": label}, ids, label)
    if not parts.get("train"):
        raise DataError(f"{path}: there is no .tsv file to train on")
    features = {
        "text": Feature((), "object"),
        "label": Feature((), "int32", 0, len(classes) - 1, tuple(classes)),
    }
    return assembled(
        path.resolve().name,
        features,
        parts,
        held_out=held_out,
        survey=survey,
        skip_bad=False,
        quiet=False,
    )


def labelled_text_feeds(
    dataset: Dataset, *, batch_size: int, seed: int, minimum: int = 1, length: int = 64
) -> LabelledTextFeeds:
    """Words as integers: shuffled to train on, in order to evaluate.

    Args:
        dataset: With columns `text` and `label`.
        batch_size: Of training.
        seed: Of the order.
        minimum: A word that the training split has less often is `<unk>`.
        length: Longer texts are cut to so many words.

    Raises:
        DataError: If there is nothing to train on, or no label.
    """
    if "label" not in dataset.features:
        raise DataError(f"{dataset.name} has no labels, only {list(dataset.features)}")
    checked(dataset, batch_size=batch_size)
    known = vocabulary(texts_of(dataset.train, "text"), minimum=minimum)
    longest = max(
        len(known.encode(text, ends=False))
        for split in dataset.splits.values()
        for text in texts_of(split, "text")
    )
    size = max(1, min(length, longest))
    coded = tokenized(dataset, "text", known, length=size, truncate=True, ends=False)
    train, validation, test = (_renamed(split) for split in coded.splits.values())
    return LabelledTextFeeds(
        dataset,
        known,
        shuffled(train, TextBatch, batch_size=batch_size, seed=seed),
        ordered(validation, TextBatch, batch_size=256),
        ordered(test, TextBatch, batch_size=256),
    )


def without_each_word(feed: Feed, rows: int) -> tuple[np.ndarray, Feed]:
    """The first rows of a feed, and what is left of each without one of its words.

    Args:
        feed: Of `TextBatch`es, in order.
        rows: How many.

    Returns:
        Tokens `[rows, t]`; and a feed in which each row is there t + 1 times: whole,
        and with `<pad>` for the first word, the second, and so on.
    """
    batch = feed(0)
    token = np.asarray(batch.token)[:rows]
    count, length = token.shape
    every = np.repeat(token[:, None], length + 1, axis=1)
    every[:, 1 + np.arange(length), np.arange(length)] = 0
    label = np.repeat(np.asarray(batch.label)[:count], length + 1)
    split = Split({"token": every.reshape(-1, length), "label": label})
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
