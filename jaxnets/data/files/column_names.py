"""What the names of columns and files say: text, label, source, target, split."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from jaxnets.data.files.loading import (
    split_of,
)

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
_SOURCES = frozenset(
    (
        *("source", "src", "input", "source_text", "original"),
        *("sentence1", "sentence", "text"),
    )
)

_TARGETS = frozenset(
    (
        *("target", "tgt", "trg", "output", "target_text", "translation"),
        *("translated", "sentence2"),
    )
)

_LANGUAGES = frozenset(
    (
        *("english", "french", "german", "spanish", "italian"),
        *("portuguese", "dutch", "russian", "chinese", "japanese", "korean", "arabic"),
        *("hindi", "turkish", "polish", "en", "fr", "de", "es", "it", "pt", "nl"),
        *("ru", "zh", "ja", "ko", "ar", "hi", "tr", "pl", "cs", "fi", "sv", "ro", "uk"),
        *("eng", "fra", "deu", "spa", "ita", "por", "nld", "rus", "cmn", "jpn", "kor"),
    )
)

_SEPARATORS = re.compile(r"[._\-\s]+")


def pair_columns(header: Sequence[str]) -> tuple[int, int] | None:
    """Where a first line says that sources and targets are; None if it is no header.

    It is one if two of its cells or more name sides or languages, and none of them is a
    label of a text. Languages are a source and its target in the order of the columns.
    """
    names = column_names(header)
    sides = _SOURCES | _TARGETS | _LANGUAGES
    known = [i for i, name in enumerate(names) if name in sides]
    if len({names[i] for i in known}) < 2:
        return None
    target = next((i for i in known if names[i] in _TARGETS), None)
    left = [i for i in known if i != target]
    source = next((i for i in left if names[i] in _SOURCES), left[0])
    target = next(i for i in left if i != source) if target is None else target
    labelled = names[source] in TEXT_NAMES and LABEL_NAMES.intersection(names)
    return None if labelled else (source, target)


def column_names(header: Sequence[str]) -> list[str]:
    """Names of columns as they are compared: in lower case, without quotes."""
    return [cell.strip().strip("\"'").strip().lower() for cell in header]


def numbering_fault(rows: Iterable[Sequence[str]]) -> str | None:
    """What is wrong with rows whose first column numbers the sentences, if it does.

    Args:
        rows: That are not empty; read up to the first without a number.
    """
    found, numbered = False, True
    for row in rows:
        if len(row) < 3 or not row[0].strip().isdecimal():
            return None
        numbered = numbered and len(row) > 3 and row[2].strip().isdecimal()
        found = True
    if not found:
        return None
    columns = "2,4" if numbered else "2,3"
    return (
        "the first column holds numbers: delete it, for example with "
        f"`cut -f{columns} OLD > NEW`, or name the columns in a first line, for "
        "example `source TAB target TAB licence`"
    )


def names_labels(fields: Sequence[str]) -> bool:
    """Whether a line is the header of labelled texts, which are no pairs."""
    names = set(column_names(fields))
    return bool(names & TEXT_NAMES and names & LABEL_NAMES)


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
        note = f"{place}: is {splits[0]} data, by a word in its name"
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
