"""The scores of image captions that papers report, side by side."""

from collections.abc import Sequence

from jaxnets.scores.bleu import bleu
from jaxnets.scores.cider import cider_d
from jaxnets.scores.rouge import rouge_l
from jaxnets.scores.tokens import is_word, words


def plain(text: str) -> list[str]:
    """Words in lower case, without punctuation: what captions are scored on.

    The COCO evaluation code does so with the Penn Treebank tokenizer. Departure: that
    one splits `don't` and `man's` in two, and here they stay whole.
    """
    return [token for token in words(text) if is_word(token)]


def caption_scores(
    captions: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """`bleu_1` to `bleu_4` and `rouge_l` in [0, 1], `cider_d` from 0 to 10.

    Args:
        captions: One an image, as sentences; they are made `plain` here.
        references: One or more each, likewise.

    Raises:
        ValueError: If there is no caption, or one has no reference.
    """
    own = [plain(text) for text in captions]
    theirs = [[plain(text) for text in several] for several in references]
    scores = {f"bleu_{n}": score for n, score in enumerate(bleu(own, theirs), 1)}
    scores["cider_d"], _ = cider_d(own, theirs)
    scores["rouge_l"], _ = rouge_l(own, theirs)
    return scores
