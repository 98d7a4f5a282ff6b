"""CIDEr-D: how much a caption says what people say of that image, and not of others.

Vedantam, Zitnick & Parikh, "CIDEr: consensus-based image description evaluation", 2015,
https://arxiv.org/abs/1411.5726, equation 1 and section 8: runs of 1 to 4 tokens,
weighed by how rare they are among the images, are compared by their clipped cosine,
with a Gaussian penalty on the difference in length, and multiplied by 10.

Departure, made by the authors' own code, which everyone reports: lengths are counted in
pairs of tokens, not in tokens. That matters for texts of one token or none only.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from jaxnets.scores.ngrams import NGram, Text, counted, matched

ORDER, SIGMA = 4, 6.0


class _Vector(NamedTuple):
    """A text in the space of runs, one length at a time."""

    weights: list[dict[NGram, float]]
    norms: list[float]
    pairs: int


def cider_d(
    hypotheses: Sequence[Text], references: Sequence[Sequence[Text]]
) -> tuple[float, list[float]]:
    """The mean CIDEr-D of a corpus, from 0 to 10, and that of each hypothesis.

    How rare a run is follows from the references, so the score of one caption depends
    on all images; for a single image it is 0.

    Args:
        hypotheses: One text an image.
        references: One or more texts each.

    Raises:
        ValueError: If there is no hypothesis, or one has no reference.
    """
    pairs = matched(hypotheses, references)
    cooked = [[counted(text, ORDER) for text in several] for _, several in pairs]
    images: Counter[NGram] = Counter()
    for several in cooked:
        images.update({run for counts in several for n in counts for run in n})
    # Where no reference has a run it counts as if one image had it.
    rarity = {run: math.log(len(pairs) / found) for run, found in images.items()}
    unseen = math.log(len(pairs))

    def vector(counts: list[Counter[NGram]]) -> _Vector:
        weights = [
            {run: count * rarity.get(run, unseen) for run, count in n.items()}
            for n in counts
        ]
        norms = [math.sqrt(sum(w * w for w in n.values())) for n in weights]
        return _Vector(weights, norms, counts[1].total())

    scores = []
    for (words, _), several in zip(pairs, cooked, strict=True):
        own = vector(counted(words, ORDER))
        likeness = [_likeness(own, vector(reference)) for reference in several]
        scores.append(10 * sum(likeness) / len(likeness))
    return sum(scores) / len(scores), scores


def _likeness(own: _Vector, other: _Vector) -> float:
    """The mean over the lengths of runs of the clipped cosine, with the penalty."""
    cosines = 0.0
    for n in range(ORDER):
        theirs, scale = other.weights[n], own.norms[n] * other.norms[n]
        shared = sum(
            min(weight, theirs[run]) * theirs[run]
            for run, weight in own.weights[n].items()
            if run in theirs
        )
        cosines += shared / scale if scale else 0.0
    apart = own.pairs - other.pairs
    return cosines / ORDER * math.exp(-(apart**2) / (2 * SIGMA**2))
