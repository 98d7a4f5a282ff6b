"""Generated one-sentence reviews whose verdict depends on the order of the words.

    although the plot was not very good , the acting was superb .        positive
    although the acting was superb , the plot was not very good .        negative

Every sentence has one or two clauses about an aspect of a film. A clause praises or
blames, and a negation turns it round. Two clauses agree after "and"; where they differ,
what stands after "but", or apart from "although", is the verdict. Every such sentence
is there twice in its split, the second time with its clauses exchanged: the same words,
the other verdict. So what is counted without order is right about half of them at best:
`ceiling` is the largest accuracy that any function of the words alone can have.

These are not reviews that anybody wrote. Some pairs of an aspect and a judgement ("the
plot", "superb") are in no sentence but the test's, whose sentences have no other pairs;
and some constructions of two clauses are in the test alone.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from jaxnets.data.dataset import Dataset, Feature, Split
from jaxnets.data.files.sentences import as_texts
from jaxnets.data.generated.draws import Draws
from jaxnets.scores.tokens import words

LABELS = ("negative", "positive")
SIZES = {"train": 4000, "validation": 500, "test": 1000}
ASPECTS = (
    *("plot", "acting", "music", "ending", "camera", "dialogue"),
    *("cast", "pace", "script", "scenery", "humour", "editing"),
)
PRAISE = (
    *("good", "great", "lovely", "brilliant", "charming"),
    *("fresh", "clever", "moving", "fine", "superb"),
)
BLAME = (
    *("bad", "poor", "awful", "dull", "clumsy"),
    *("stale", "silly", "boring", "weak", "dreadful"),
)
INTENSIFIERS = ("very", "really", "quite", "truly", "so")
# Aspect, judgement with or without an intensifier; and whether it is turned round.
CLAUSES = (
    ("the {0} was {1}", False),
    ("i found the {0} {1}", False),
    ("the {0} was not {1}", True),
    ("nobody would call the {0} {1}", True),
)
# Whether the clauses agree, and which of them is the verdict.
JOINTS = (
    ("{0} and {1} .", True, 1),
    ("{0} but {1} .", False, 1),
    ("although {0} , {1} .", False, 1),
    ("{0} , although {1} .", False, 0),
)
_SINGLE = 0.25  # share of the sentences with one clause


def reviews() -> Dataset:
    """4,000 sentences to train on, 500 to validate on, 1,000 to test on; no download.

    Columns `text` and `label`. No sentence is there twice.
    """
    seen: set[str] = set()
    parts = (_split(name, size, seen) for name, size in SIZES.items())
    train, validation, test = parts
    features = {
        "text": Feature((), "object"),
        "label": Feature((), "int32", 0, 1, LABELS),
    }
    return Dataset("reviews", features, train, validation, test)


def ceiling(texts: Sequence[str], labels: np.ndarray) -> float:
    """The largest accuracy of any function of the words without their order."""
    verdicts: dict[tuple[str, ...], Counter[int]] = defaultdict(Counter)
    for text, label in zip(texts, labels, strict=True):
        verdicts[tuple(sorted(words(text)))][int(label)] += 1
    right = sum(max(counts.values()) for counts in verdicts.values())
    return right / len(texts)


def held_out(*parts: object) -> bool:
    """Whether this combination is in the test alone: about one in five is."""
    word = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(word, "big") % 5 == 0


def _split(name: str, size: int, seen: set[str]) -> Split:
    draws, texts, labels = Draws(f"reviews {name}"), [], []
    while len(texts) < size:
        made = _sentences(draws, test=name == "test")
        if len(texts) + len(made) > size or seen & {text for text, _ in made}:
            continue
        for text, label in made:
            seen.add(text)
            texts.append(text)
            labels.append(label)
    columns = {"text": as_texts(texts), "label": np.array(labels, np.int32)}
    return Split(columns, [f"{name} {i}" for i in range(size)])


def _sentences(draws: Draws, *, test: bool) -> list[tuple[str, int]]:
    """One sentence and its verdict; or two of the same words and opposite verdicts."""
    if draws.chance(_SINGLE):
        clause, praises, *_ = _clause(draws, test=test)
        return [(f"{clause} .", int(praises))]
    while True:
        joint = draws.below(len(JOINTS))
        one, first, i, about = _clause(draws, test=test)
        two, second, j, other = _clause(draws, test=test)
        pattern, agree, verdict = JOINTS[joint]
        if (first == second) != agree or about == other:
            continue
        if not test and (held_out(joint, i, j) or held_out(joint, j, i)):
            continue
        label = int((first, second)[verdict])
        if agree:
            return [(pattern.format(one, two), label)]
        return [
            (pattern.format(one, two), label),
            (pattern.format(two, one), 1 - label),
        ]


def _clause(draws: Draws, *, test: bool) -> tuple[str, bool, int, str]:
    """A clause, whether it praises, the number of its construction, and its aspect."""
    while True:
        form, praises = draws.below(len(CLAUSES)), draws.chance(0.5)
        aspect = draws.choice(ASPECTS)
        pattern, turned = CLAUSES[form]
        judgement = draws.choice(PRAISE if praises != turned else BLAME)
        if held_out(aspect, judgement) != test:
            continue
        if draws.chance(0.4):
            judgement = f"{draws.choice(INTENSIFIERS)} {judgement}"
        return pattern.format(aspect, judgement), praises, form, aspect
