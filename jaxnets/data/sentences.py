"""Data sets of text: files to be modelled, and pairs of sentences to be translated."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxnets.data.dataset import DataError, Dataset, Feature
from jaxnets.data.loading import SPLITS, Part, Survey, assembled, read_rows, split_of
from jaxnets.data.reading import (
    FileError,
    Problem,
    inside,
    line_feeds,
    read_text,
    walk,
)
from jaxnets.data.records import Texts
from jaxnets.data.text import words

# Names of the columns of labelled texts, in lower case.
TEXT_NAMES = frozenset(
    (
        *("text", "sentence", "review", "phrase", "content", "comment", "tweet"),
        *("message", "body", "document", "question", "premise", "hypothesis"),
        *("sentence1", "sentence2", "question1", "question2", "text_a", "text_b"),
        *("#1 string", "#2 string"),
    )
)
LABEL_NAMES = frozenset(
    (
        *("label", "labels", "sentiment", "class", "category", "target", "polarity"),
        *("rating", "stars", "quality", "gold_label", "is_duplicate", "score"),
    )
)
# Of the columns of pairs, and of languages by name and code (ISO 639-1 and 639-3).
_COLUMN_NAMES = frozenset(
    (
        *("source", "target", "src", "tgt", "trg", "input", "output"),
        *("source_text", "target_text", "sentence1", "sentence2", "original"),
        *("translation", "english", "french", "german", "spanish", "italian"),
        *("portuguese", "dutch", "russian", "chinese", "japanese", "korean", "arabic"),
        *("hindi", "turkish", "polish", "en", "fr", "de", "es", "it", "pt", "nl"),
        *("ru", "zh", "ja", "ko", "ar", "hi", "tr", "pl", "cs", "fi", "sv", "ro", "uk"),
        *("eng", "fra", "deu", "spa", "ita", "por", "nld", "rus", "cmn", "jpn", "kor"),
    )
)
_SEPARATORS = re.compile(r"[._\-\s]+")


def as_texts(rows: Sequence[Any]) -> Texts:
    """A column of strings, or of tuples of strings."""
    text = json.dumps(rows, ensure_ascii=False)
    return Texts(
        rows, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    )


def text_files(
    path: Path,
    *,
    held_out: float = 0.05,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """The paragraphs of a `.txt` file, or of all below a folder, as UTF-8.

    A paragraph is what stands between empty lines. Folders or files called `train`,
    `val` and `test` are the splits; else the end of the text is held out, in one piece,
    so that no paragraph of the test is between two of training. A text of one or two
    paragraphs is cut as by `in_three`.

    Args:
        path: Of a file or a folder.
        held_out: Share of the paragraphs for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        A column `text` of strings; ids are `file:number`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    found, quiet = survey or Survey(), survey is not None
    root, names = listed(path, (".txt",), found.problems)
    rows: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        try:
            text = line_feeds(read_text(inside(root, name)))
        except FileError as error:
            found.add(name, str(error))
            continue
        paragraphs = _paragraphs(text)
        if not paragraphs:
            found.add(name, "is empty: it holds only white space", "text")
        here = rows.setdefault(split_of_file(name, names, found.notes), [])
        here += [(f"{name}:{i}", text) for i, text in enumerate(paragraphs)]
    every = rows.setdefault("train", [])
    if len(every) < 3 and len(rows) == 1:
        whole = in_three("\n\n".join(text for _, text in every))
        thirds = zip(SPLITS, whole, strict=True)
        rows = {split: [(split, text)] if text else [] for split, text in thirds}
    every = rows["train"]
    count = round(held_out * len(every))
    for split in ("test", "validation"):  # from the end
        if split not in rows and len(every) > 1:
            cut = len(every) - max(1, count)
            rows[split], every = every[cut:], every[:cut]
    rows["train"] = every
    parts = {
        split: Part(
            {"text": as_texts([text for _, text in rows[split]])},
            [identity for identity, _ in rows[split]],
            np.zeros(len(rows[split]), np.int32),
        )
        for split in SPLITS
        if split in rows
    }
    return assembled(
        path.resolve().name,
        {"text": Feature((), "object")},
        parts,
        held_out=held_out,
        survey=found,
        skip_bad=skip_bad,
        quiet=quiet,
    )


def _paragraphs(text: str) -> list[str]:
    made: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            made[-1].append(line)
        elif made[-1]:
            made.append([])
    return ["\n".join(paragraph) for paragraph in made if paragraph]


def in_three(text: str) -> tuple[str, str, str]:
    """Returns nine tenths of a text, and two halves of the rest."""
    first = int(0.9 * len(text))
    second = first + (len(text) - first) // 2
    return text[:first], text[first:second], text[second:]


def sentence_pairs(
    path: Path,
    *,
    held_out: float = 0.05,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Sentences and their translations from lines `source TAB target`.

    A third column and more, for example attributions, are passed over, and so is a
    first line of names (`source TAB target`, `en TAB fr`). Quotes are part of a
    sentence. Which split a pair
    belongs to is decided by a hash of its source, so that no sentence of the test is
    also trained on with another translation; the shares are therefore approximate. In a
    folder, files called `train`, `val` and `test` are the splits.

    Args:
        path: Of a `.tsv` (or `.txt`) file, or of a folder of `.tsv` files.
        held_out: Share of the sentences for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `source` and `target` of strings; ids are `file:line`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    found, quiet = survey or Survey(), survey is not None
    root, names = listed(path, (".tsv",), found.problems)
    rows: dict[str, list[tuple[str, str, str]]] = {}
    for name in names:
        here = rows.setdefault(split_of_file(name, names, found.notes), [])
        try:
            for where, fields in read_rows(root, name, "\t", found):
                if where == f"{name}, line 1" and _is_header(fields):
                    header = " TAB ".join(fields)
                    found.notes.append(f"{where}: `{header}` is a header, no pair")
                    continue
                if where == f"{name}, line 1" and _names_labels(fields):
                    found.add(
                        where,
                        "names labels, not pairs of sentences: "
                        "experiments/sentiment.py reads such files",
                        "text",
                    )
                    break
                if len(fields) < 2 or not fields[0].strip() or not fields[1].strip():
                    found.add(where, "is not `source TAB target`", "text")
                    continue
                if not has_words(fields[0]) or not has_words(fields[1]):
                    found.add(where, "has a side without any word", "text")
                    continue
                here.append((where, fields[0].strip(), fields[1].strip()))
        except FileError as error:
            found.add(name, str(error))
    missing = [split for split in ("test", "validation") if split not in rows]
    every, rows["train"] = rows.setdefault("train", []), []
    for row in every:
        rows.setdefault(_drawn(row[1], missing, held_out), []).append(row)
    for split in missing:
        rows.setdefault(split, [])  # empty and said so, rather than carved by position
    parts = {
        split: Part(
            {
                "source": as_texts([source for _, source, _ in rows[split]]),
                "target": as_texts([target for _, _, target in rows[split]]),
            },
            [where for where, _, _ in rows[split]],
            np.zeros(len(rows[split]), np.int32),
        )
        for split in SPLITS
        if split in rows
    }
    return assembled(
        path.resolve().name,
        {"source": Feature((), "object"), "target": Feature((), "object")},
        parts,
        held_out=held_out,
        survey=found,
        skip_bad=skip_bad,
        quiet=quiet,
    )


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a line has names of columns or of languages instead of sentences."""
    names = [field.strip().lower() for field in fields[:2]]
    return len(set(names)) == 2 and _COLUMN_NAMES.issuperset(names)


def _names_labels(fields: Sequence[str]) -> bool:
    """Whether a line is the header of labelled texts, which are no pairs."""
    names = {field.strip().lower() for field in fields}
    return bool(names & TEXT_NAMES and names & LABEL_NAMES)


def _drawn(sentence: str, splits: Sequence[str], share: float) -> str:
    """Which split a sentence belongs to: the same wherever and however often it is."""
    digest = hashlib.blake2b(sentence.encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    chosen = int(place / share) if share else len(splits)
    return splits[chosen] if chosen < len(splits) else "train"


def has_words(text: str) -> bool:
    """Whether a text has anything that a network of words could read."""
    return any(map(str.isalnum, text)) or bool(words(text))


def split_of_file(name: str, among: Sequence[str], notes: list[str]) -> str:
    """Returns the split that a file or its folder is named after; else `train`.

    Folders count before files, and any word of a name counts: `ptb.valid.txt` is
    validation. A name with the words of several splits names none. A file that is alone
    is what all splits are held out of, whatever it is called.

    Args:
        name: Of the file, relative to the data's folder: `dev_matched.tsv`.
        among: The names of all files.
        notes: Takes a note wherever the name does not simply begin with its split.
    """
    splits, place = _named_splits(name)
    alone = len(among) == 1
    note = ""
    if alone and splits not in ([], ["train"]):
        note = f"{name}: is the only file, so that all splits come from it"
    elif alone:
        return "train"
    elif len(splits) > 1:
        named = " and ".join(splits)
        note = f"{place}: names {named}, so it is read as training data"
    elif splits and split_of(_SEPARATORS.split(place)[0]) is None:
        note = f"{place}: is read as {splits[0]} data, by a word in its name"
    elif not splits and any(_named_splits(file)[0] for file in among):
        note = (
            f"{name}: is read as training data: its name has none of the words train, "
            "val, dev and test"
        )
    if note and note not in notes:
        notes.append(note)
    return splits[0] if len(splits) == 1 and not alone else "train"


def _named_splits(name: str) -> tuple[list[str], str]:
    """The splits that words of a path stand for, and the part that has the words."""
    path = PurePosixPath(name)
    for part, words_of in [*((p, p) for p in path.parts[:-1]), (path.name, path.stem)]:
        named = map(split_of, _SEPARATORS.split(words_of))
        if splits := sorted({split for split in named if split}):
            return splits, part
    return [], name


def listed(
    path: Path, suffixes: tuple[str, ...], problems: list[Problem]
) -> tuple[Path, list[str]]:
    """Returns a folder and the names of its files; of a file, its folder and its name.

    Args:
        path: Of a file or a folder.
        suffixes: Endings of the files' names in a folder, in lower case.
        problems: Takes links that lead elsewhere.

    Raises:
        DataError: If there is no such path, or no such file in the folder.
    """
    if path.is_file():
        return path.parent, [path.name]
    if not path.is_dir():
        raise DataError(f"{path} is neither a file nor a folder")
    every = walk(path, path, problems)
    names = [name for name in every if name.lower().endswith(suffixes)]
    if not names:
        raise DataError(f"{path} holds no file called *{' or *'.join(suffixes)}")
    return path, names
