"""ROUGE-L: the longest sequence of words that a text shares with a reference, in order.

Lin, "ROUGE: a package for automatic evaluation of summaries", 2004,
https://aclanthology.org/W04-1013, section 3.1, with beta 1.2. Departure, made by the
COCO evaluation code, which captioning reports: of several references the best precision
and the best recall count, even if they are of two different ones.
"""

from collections.abc import Sequence

from jaxnets.scores.ngrams import Text, matched

BETA = 1.2


def rouge_l(
    hypotheses: Sequence[Text], references: Sequence[Sequence[Text]]
) -> tuple[float, list[float]]:
    """The mean ROUGE-L of a corpus, in [0, 1], and that of each hypothesis.

    An empty text scores 0.

    Args:
        hypotheses: One text an image.
        references: One or more texts each.

    Raises:
        ValueError: If there is no hypothesis, or one has no reference.
    """
    scores = []
    for words, several in matched(hypotheses, references):
        shared = [longest_common(words, reference) for reference in several]
        precision = max(shared) / max(len(words), 1)
        recall = max(s / max(len(r), 1) for s, r in zip(shared, several, strict=True))
        scores.append(
            (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
            if precision
            else 0.0
        )
    return sum(scores) / len(scores), scores


def longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of the longest sequence of tokens in both, gaps allowed."""
    row = [0] * (len(right) + 1)
    for token in left:
        before = row
        row = [0]
        for k, other in enumerate(right):
            row.append(before[k] + 1 if token == other else max(before[k + 1], row[k]))
    return row[-1]
