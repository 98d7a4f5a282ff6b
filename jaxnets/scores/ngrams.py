"""Texts as tokens, and the runs of n tokens in them."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

Text: TypeAlias = str | Sequence[str]
"""Tokens, or a string to be split at white space."""

NGram: TypeAlias = tuple[str, ...]


def tokens(text: Text) -> list[str]:
    """The tokens of a text; an empty one has none."""
    return text.split() if isinstance(text, str) else list(text)


def counted(words: Sequence[str], order: int) -> list[Counter[NGram]]:
    """How often each run of 1, 2, ... `order` tokens is there; one counter a length."""
    return [
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
        for n in range(1, order + 1)
    ]


def matched(
    hypotheses: Sequence[Text], references: Sequence[Sequence[Text]]
) -> list[tuple[list[str], list[list[str]]]]:
    """Each hypothesis with its references, as tokens.

    Raises:
        ValueError: If there is none, their numbers differ, one has no reference, or
            references are strings where lists of them belong.
    """
    if not hypotheses or len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} lists of references: "
            "one list each is needed, and one hypothesis at least"
        )
    for place, several in enumerate(references):
        if isinstance(several, str) or not several:
            raise ValueError(
                f"hypothesis {place} has the references {several!r}: a list of one "
                "text or more is needed"
            )
    return [
        (tokens(hypothesis), [tokens(text) for text in several])
        for hypothesis, several in zip(hypotheses, references, strict=True)
    ]
