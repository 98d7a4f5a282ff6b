"""Text becomes integers and back: tokenizers, vocabularies, padding.

A vocabulary belongs to a trained model like its weights: with another one, the same
integers are other words. So it is stored beside them, as JSON, and has a digest.
"""

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import Int

from jaxnets import files
from jaxnets.data.dataset import Column, DataError, Dataset, Feature, Split
from jaxnets.data.files.problems import FileError, left_out
from jaxnets.data.files.reading import read_text
from jaxnets.ops.decoding import END, PAD, SPECIAL, START, UNKNOWN
from jaxnets.scores.tokens import characters, joined, words

Level: TypeAlias = Literal["word", "character"]

_FORMAT = "jaxnets vocabulary 1"


class VocabularyError(DataError):
    """A vocabulary is damaged, or is not the one that belongs here."""


_TOKENIZERS: dict[Level, Callable[[str], list[str]]] = {
    "word": words,
    "character": characters,
}


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """What each integer means.

    Attributes:
        tokens: By integer; the first four are `<pad> <start> <end> <unk>`.
        level: Which tokenizer they come from.
    """

    tokens: tuple[str, ...]
    level: Level

    def __post_init__(self) -> None:
        """Raises VocabularyError if no tokenizer could have made this."""
        if self.level not in _TOKENIZERS:
            raise VocabularyError(f"the level is {self.level!r}, not word or character")
        if self.tokens[: len(SPECIAL)] != SPECIAL:
            raise VocabularyError(f"a vocabulary begins with {SPECIAL}")
        if len(set(self.tokens)) < len(self.tokens):
            twice = Counter(self.tokens).most_common(1)[0][0]
            raise VocabularyError(f"the token {twice!r} is there twice")
        split = _TOKENIZERS[self.level]
        for token in self.tokens[len(SPECIAL) :]:
            if not isinstance(token, str) or split(token) != [token]:
                raise VocabularyError(
                    f"{token!r} is no {self.level}: the vocabulary was changed, or "
                    "made by a version that splits texts otherwise; train again"
                )

    def __len__(self) -> int:
        """How many integers mean something."""
        return len(self.tokens)

    @functools.cached_property
    def _number(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @functools.cached_property
    def digest(self) -> str:
        """A SHA-256 of the level and all tokens."""
        text = json.dumps([self.level, self.tokens], ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def encode(self, text: str, *, ends: bool = True) -> list[int]:
        """The integers of a text; `<unk>` for what is not in the vocabulary.

        Args:
            text: Any.
            ends: Put `<start>` in front and `<end>` behind.
        """
        split = _TOKENIZERS[self.level]
        inner = [self._number.get(token, UNKNOWN) for token in split(text)]
        return [START, *inner, END] if ends else inner

    def decode(self, numbers: Iterable[Any]) -> str:
        """The text up to the first `<end>`, without padding and start.

        Of characters it is exactly what was encoded, in NFC, if all were known.

        Raises:
            VocabularyError: If an integer is out of range.
        """
        tokens = []
        for number in numbers:
            place = int(number)
            if not 0 <= place < len(self) or place != number:
                raise VocabularyError(f"{number} is not in [0, {len(self)})")
            if place == END:
                break
            if place not in (PAD, START):
                tokens.append(self.tokens[place])
        return joined(tokens) if self.level == "word" else "".join(tokens)

    def save(self, path: Path) -> None:
        """Writes it as JSON, in one step."""
        content = {
            "format": _FORMAT,
            "level": self.level,
            "digest": self.digest,
            "tokens": list(self.tokens),
        }
        files.write(path, files.dump_json(content, indent=0))

    @staticmethod
    def load(path: Path) -> "Vocabulary":
        """Reads what `save` wrote; runs nothing.

        Raises:
            VocabularyError: If the file cannot be read, is not exactly of the format,
                or its digest is not that of its tokens.
        """
        try:
            value = json.loads(read_text(path, limit=2**26))
        except (FileError, ValueError, RecursionError) as error:
            raise VocabularyError(f"{path.name}: {str(error)[:200]}") from None
        keys = {"format", "level", "digest", "tokens"}
        if not isinstance(value, dict) or set(value) != keys:
            raise VocabularyError(
                f"{path.name}: is no vocabulary: needs exactly {sorted(keys)}"
            )
        tokens = value["tokens"]
        if value["format"] != _FORMAT:
            raise VocabularyError(f"{path.name}: has the format {value['format']!r}")
        if value["level"] not in list(_TOKENIZERS):
            raise VocabularyError(f"{path.name}: has the level {value['level']!r}")
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise VocabularyError(f"{path.name}: its tokens are no list of strings")
        try:
            made = Vocabulary(tuple(tokens), value["level"])
        except VocabularyError as error:
            raise VocabularyError(f"{path.name}: {error}") from None
        if made.digest != value["digest"]:
            raise VocabularyError(f"{path.name}: was changed: its digest differs")
        return made


def vocabulary(
    texts: Iterable[str],
    *,
    level: Level = "word",
    minimum: int = 1,
    largest: int | None = None,
) -> Vocabulary:
    """The vocabulary of these texts, which must be those of training alone.

    The most frequent come first, equally frequent ones in the order of their
    characters: the order of the texts does not matter.

    Args:
        texts: Of the training split.
        level: Words or characters.
        minimum: A token that is there less often becomes `<unk>`.
        largest: Most tokens, the four special ones included.

    Raises:
        VocabularyError: If nothing is left.
    """
    split = _TOKENIZERS[level]
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(split(text))
    return vocabulary_of(counts, level=level, minimum=minimum, largest=largest)


def vocabulary_of(
    counts: Mapping[str, int],
    *,
    level: Level,
    minimum: int = 1,
    largest: int | None = None,
) -> Vocabulary:
    """The vocabulary of tokens that were counted; see `vocabulary`.

    Args:
        counts: How often each token is there in the training split.
        level: Words or characters.
        minimum: A token that is there less often becomes `<unk>`.
        largest: Most tokens, the four special ones included.

    Raises:
        VocabularyError: If nothing is left.
    """
    ranked = sorted(counts, key=lambda token: (-counts[token], token))
    kept = [token for token in ranked if counts[token] >= minimum]
    if largest is not None:
        kept = kept[: max(0, largest - len(SPECIAL))]
    if not kept:
        raise VocabularyError(
            f"no {level} is there {minimum} times or more: there would be no vocabulary"
        )
    return Vocabulary((*SPECIAL, *kept), level)


def padded(
    rows: Sequence[Sequence[int]], length: int, *, truncate: bool = False
) -> Int[np.ndarray, "n t"]:
    """Rows of one length, filled up with `<pad>`.

    Args:
        rows: Integers.
        length: Of every row of the result.
        truncate: Cut longer rows, and let an `<end>` that was cut off stay last.

    Raises:
        DataError: If a row is longer and may not be cut; naming it and the longest.
    """
    made = np.full((len(rows), length), PAD, np.int32)
    for i, row in enumerate(rows):
        if len(row) > length and not truncate:
            longest = max(len(r) for r in rows)
            raise DataError(
                f"row {i} has {len(row)} tokens, more than {length} (the longest has "
                f"{longest}): choose a greater length, or truncate"
            )
        made[i, : len(row)] = row[:length]
        if len(row) > length and row[-1] == END:
            made[i, -1] = END
    return made


def tokenized(
    dataset: Dataset,
    column: str,
    vocabulary: Vocabulary,
    *,
    length: int | None = None,
    truncate: bool = False,
    ends: bool = True,
) -> Dataset:
    """The data set with a column of strings turned into integers.

    A string becomes a row `[length]`; a tuple of k strings (captions) `[k, length]`,
    where k is the largest number and missing ones are all `<pad>`.

    Args:
        dataset: With that column.
        column: Name of the column; it keeps it.
        vocabulary: Of the training split; it becomes the classes of the feature.
        length: Tokens of every row; by default what the longest needs.
        truncate: Cut what is longer.
        ends: With `<start>` and `<end>`.

    Raises:
        DataError: If there is no such column, or a text is too long.
    """
    if column not in dataset.features:
        raise DataError(
            f"{dataset.name} has no column {column!r}, only {list(dataset.features)}"
        )
    coded: dict[str, list[list[list[int]]]] = {}
    single = True
    for name, split in dataset.splits.items():
        rows = split.columns[column][np.arange(len(split))]
        single = single and all(isinstance(row, str) for row in rows)
        coded[name] = [
            [vocabulary.encode(t, ends=ends) for t in _several(row)] for row in rows
        ]
    every = [row for rows in coded.values() for row in rows]
    count = max((len(row) for row in every), default=1)
    longest = max((len(text) for row in every for text in row), default=1)
    size = length or longest
    splits: dict[str, Split] = {}
    for name, split in dataset.splits.items():
        filled = [t for row in coded[name] for t in [*row, *[[]] * (count - len(row))]]
        try:
            flat = padded(filled, size, truncate=truncate)
        except DataError as error:
            raise DataError(f"{dataset.name}, {name}, {column}: {error}") from None
        shaped = flat if single else flat.reshape(-1, count, size)
        columns: dict[str, Column] = {**split.columns, column: shaped}
        splits[name] = Split(columns, split.ids)
    shape = (size,) if single else (count, size)
    feature = Feature(shape, "int32", 0, len(vocabulary) - 1, vocabulary.tokens)
    return dataclasses.replace(
        dataset, features={**dataset.features, column: feature}, **splits
    )


def _several(row: Any) -> Sequence[str]:
    return (row,) if isinstance(row, str) else row


def texts_of(split: Split, column: str) -> list[str]:
    """All strings of a column, of tuples one after the other: for `vocabulary`."""
    rows = split.columns[column][np.arange(len(split))]
    return [text for row in rows for text in _several(row)]


def percentile(lengths: Sequence[int] | np.ndarray, share: float = 0.95) -> int:
    """Returns the smallest length that at least this share of the lengths do not pass.

    Raises:
        DataError: If there is no length.
    """
    if not len(lengths):
        raise DataError("there is no text to take a length from")
    return int(np.percentile(lengths, 100 * share, method="inverted_cdf"))


def say_unknown(
    dataset: Dataset, column: str, minimum: int, largest: int | None = None
) -> None:
    """Says for each split how many words are `<unk>`; if many, as a warning.

    Args:
        dataset: After `tokenized`.
        column: Of tokens.
        minimum: How often training had to have a word; as for `vocabulary`.
        largest: Most tokens of the vocabulary; as for `vocabulary`.
    """
    for name, split in dataset.splits.items():
        tokens = np.asarray(split.columns[column])
        unknown, total = int((tokens == UNKNOWN).sum()), int((tokens != PAD).sum())
        where = f"{dataset.name}, {name}, {column}"
        left_out_words(where, unknown, total, minimum, largest)


def left_out_words(
    where: str, unknown: int, total: int, minimum: int, largest: int | None = None
) -> None:
    """Says how many words of a split are `<unk>`; of more than a tenth as a warning.

    Args:
        where: Names the data set, the split and the column.
        unknown: Words that are `<unk>`.
        total: Words that there are, those at the ends included.
        minimum: How often training had to have a word; as for `vocabulary`.
        largest: Most tokens of the vocabulary; as for `vocabulary`.
    """
    rule = "words that training does not have become <unk>"
    flag = "more training text has more of them"
    if minimum > 1:
        rule = f"words that training has less than {minimum} times become <unk>"
        flag = f"--minimum {minimum - 1} or less knows more"
    if largest is not None:
        rule += f", and so do those beyond the {largest:,} most frequent"
        flag += f", and so does a --largest above {largest}"
    left_out(where, unknown, total, rule, flag)
