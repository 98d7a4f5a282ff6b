"""BLEU of a corpus, in the two conventions that papers report.

Papineni, Roukos, Ward & Zhu, "BLEU: a method for automatic evaluation of machine
translation", 2002, https://aclanthology.org/P02-1040: the geometric mean of the clipped
precisions of runs of 1 to n tokens, section 2.1, times a brevity penalty, section 2.2,
all from counts over the whole corpus. Of several references the closest in length
counts, the shorter one of two.

`bleu` is what image captioning reports (the COCO evaluation code), on tokens as given.
`sacrebleu` is what translation reports (Post, "A call for clarity in reporting BLEU
scores", 2018, https://arxiv.org/abs/1804.08771), on plain text. They are never to be
compared: the tokens differ, one is in [0, 1] and the other in [0, 100].
"""

import math
import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from jaxnets.scores.ngrams import NGram, Text, counted, matched
from jaxnets.scores.tokens import spaced

ORDER = 4
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_MARK = re.compile("[" + re.escape(re.sub("['.,-]", "", string.punctuation)) + "]")
# What a point, a comma or a dash stands beside decides; each match uses its neighbour
# up, as in the original, so `,,` is not the same as two commas with a space between.
_POINTS = (
    (re.compile("([^0-9])([.,])"), r"\1 \2 "),
    (re.compile("([.,])([^0-9])"), r" \1 \2"),
    (re.compile("([0-9])(-)"), r"\1 \2 "),
)


class _Counts(NamedTuple):
    """What BLEU needs to know of a corpus."""

    correct: list[int]  # runs of each length that a reference has as well, clipped
    total: list[int]  # runs of each length in the hypotheses
    length: int  # tokens in the hypotheses
    wanted: int  # tokens in the references that are closest in length


def bleu(
    hypotheses: Sequence[Text],
    references: Sequence[Sequence[Text]],
    *,
    order: int = ORDER,
) -> tuple[float, ...]:
    """BLEU-1 to BLEU-`order` of a corpus, each in [0, 1], as captioning reports them.

    As in the COCO evaluation code, 1e-15 is added to the numerators and 1e-9 to the
    denominators, so that a corpus without a match scores a little more than 0.

    Args:
        hypotheses: One text an image. The evaluation code has them in lower case and
            without punctuation; see `captions.plain`.
        references: One or more texts each.
        order: The longest run of tokens.

    Raises:
        ValueError: If there is no hypothesis, or one has no reference.
    """
    counts = _counts(hypotheses, references, order)
    ratio = (counts.length + 1e-15) / (counts.wanted + 1e-9)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    product, scores = 1.0, []
    for n in range(order):
        product *= (counts.correct[n] + 1e-15) / (counts.total[n] + 1e-9)
        scores.append(penalty * product ** (1 / (n + 1)))
    return tuple(scores)


def sacrebleu(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """BLEU-4 of a corpus in [0, 100], as translation reports it.

    Case counts, and tokens are those of `tokens_13a`. In scripts without spaces every
    character is a token, as in the tokenizer `zh` of Post's sacrebleu. The k-th
    precision that is zero is taken as 1 / (2^k total): the smoothing called "exp",
    method 3 of Chen & Cherry, 2014, https://aclanthology.org/W14-3346. A corpus without
    a word in common scores 0.

    Args:
        hypotheses: Plain text, one segment each.
        references: One or more segments each; the number may differ.

    Raises:
        ValueError: If there is no hypothesis, or one has no reference.
    """
    if any(isinstance(several, str) for several in references):
        raise ValueError("every hypothesis needs a list of references, not one string")
    counts = _counts(
        [tokens_13a(spaced(text)) for text in hypotheses],
        [[tokens_13a(spaced(text)) for text in several] for several in references],
        ORDER,
    )
    if not counts.correct[0] or not counts.total[-1]:
        return 0.0
    logarithms, halved = 0.0, 1.0
    for correct, total in zip(counts.correct, counts.total, strict=True):
        if not correct:
            halved /= 2
        logarithms += math.log((correct or halved) / total)
    shortage = min(0.0, 1 - counts.wanted / counts.length)
    return 100 * math.exp(shortage + logarithms / ORDER)


def tokens_13a(text: str) -> list[str]:
    """The tokens of NIST's `mteval-v13a`, for texts in Western languages.

    `tokens_13a("It's 3.5, no?") == ["It's", "3.5", ",", "no", "?"]`.
    """
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, mark in _ENTITIES:
        line = line.replace(entity, mark)
    line = _MARK.sub(r" \g<0> ", f" {line} ")
    for pattern, apart in _POINTS:
        line = pattern.sub(apart, line)
    return line.split()


def _counts(
    hypotheses: Sequence[Text], references: Sequence[Sequence[Text]], order: int
) -> _Counts:
    correct, total, length, wanted = [0] * order, [0] * order, 0, 0
    for words, several in matched(hypotheses, references):
        length += len(words)
        wanted += min((abs(len(r) - len(words)), len(r)) for r in several)[1]
        own = counted(words, order)
        theirs = [counted(reference, order) for reference in several]
        for n in range(order):
            most: Counter[NGram] = Counter()
            for counts in theirs:
                most |= counts[n]
            correct[n] += (own[n] & most).total()
            total[n] += own[n].total()
    return _Counts(correct, total, length, wanted)
