"""Reads what a caption claims from its words: the grammar, and scores of captioners.

The writer of captions (`shapes_captions.py`) draws its words from the tables here, so
neither knows a word more than the other. A caption that does not follow the grammar
claims nothing, so it is not true.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from jaxnets.data.shapes.claims import (
    RELATIONS,
    Claim,
    Description,
    Phrase,
    Relation,
    is_true,
    named,
)
from jaxnets.data.shapes.scenes import Scene

# What says the same, by position in FORMS, COLOURS, SIZES, TEXTURES, RELATIONS.
NOUNS = (
    (("circle", "circles"), ("disc", "discs")),
    (("square", "squares"), ("box", "boxes")),
    (("triangle", "triangles"),),
    (("star", "stars"),),
    (("cross", "crosses"),),
    (("ring", "rings"), ("hoop", "hoops")),
    (("diamond", "diamonds"), ("rhombus", "rhombuses")),
    (("heart", "hearts"),),
)
ANY_NOUN = (("object", "objects"), ("shape", "shapes"), ("thing", "things"))
COLOUR_WORDS = (
    ("red",),
    ("orange",),
    ("yellow",),
    ("green",),
    ("cyan", "turquoise"),
    ("blue",),
    ("purple", "violet"),
    ("pink",),
)
SIZE_WORDS = (("small", "little", "tiny"), ("large", "big"))
TEXTURE_WORDS = (
    ("plain", "solid"),
    ("striped", "stripy"),
    ("dotted", "spotted"),
    ("checkered", "chequered"),
)
TEXTURE_TAILS = (
    ("without a pattern",),
    ("with stripes",),
    ("with dots", "with spots"),
    ("with checks",),
)
NUMBERS = ("one", "two", "three", "four")
RELATION_WORDS = (
    ("to the left of", "left of", "on the left of"),
    ("to the right of", "right of", "on the right of"),
    ("above", "over", "higher than"),
    ("below", "under", "beneath", "lower than"),
    ("larger than", "bigger than"),
    ("smaller than",),
    ("the same colour as", "of the same colour as"),
    ("the same shape as", "of the same shape as"),
)
OPENINGS = (
    "there is",
    "there are",
    "here is",
    "here are",
    "the picture shows",
    "the image contains",
    "you can see",
    "we see",
    "a picture of",
    "an image of",
)


class CaptionScore(NamedTuple):
    """What a set of captions is worth; shares are of all captions."""

    read: float  # share that follows the grammar
    true: float  # share that is true of its scene
    attributes: float  # named, on average, by captions that are true
    relations: float  # likewise


def caption_is_true(caption: str, scene: Scene) -> bool:
    """Whether a caption follows the grammar and all that it claims is so."""
    claim = read(caption)
    return claim is not None and is_true(claim, scene)


def score_captions(captions: Sequence[str], scenes: Sequence[Scene]) -> CaptionScore:
    """How often captions are true of their scenes, and how much they say.

    What a false caption names does not count: only truth may be detailed.

    Args:
        captions: One a scene.
        scenes: Likewise; at least one.
    """
    claims = [read(caption) for caption in captions]
    true = [
        claim
        for claim, scene in zip(claims, scenes, strict=True)
        if claim is not None and is_true(claim, scene)
    ]
    names = [named(claim) for claim in true]
    return CaptionScore(
        sum(claim is not None for claim in claims) / len(claims),
        len(true) / len(claims),
        sum(n.attributes for n in names) / max(len(true), 1),
        sum(n.relations for n in names) / max(len(true), 1),
    )


def read(caption: str) -> Claim | None:
    """What a caption claims; None if it does not follow the grammar.

    Capitals and a full stop at the end do not matter.
    """
    found = read_words(caption)
    return found[0] if found else None


def read_words(caption: str) -> tuple[Claim, list[list[int]]] | None:
    """What a caption claims, and which of its words describe the objects of a phrase.

    Words are counted from 0, punctuation marks among them. Those that name a form, a
    colour, a size or a texture describe; one list a phrase of the claim.
    """
    words = re.findall(r"[a-z]+|[^a-z\s]", caption.lower())
    if words[-1:] == ["."]:
        words.pop()
    reader = _Reader(words)
    try:
        claim = reader.caption()
    except _UnreadableError:
        return None
    describing = [[i for i in span if words[i] in _DESCRIBING] for span in reader.spans]
    return claim, describing


class _UnreadableError(Exception):
    pass


def _table(groups: Sequence[Sequence[str]]) -> dict[tuple[str, ...], int]:
    return {tuple(w.split()): k for k, group in enumerate(groups) for w in group}


_PLACES = {
    "colour": _table(COLOUR_WORDS),
    "size": _table(SIZE_WORDS),
    "texture": _table(TEXTURE_WORDS),
}
_TAILS = _table(TEXTURE_TAILS)
_NUMBER = _table([[word] for word in NUMBERS])
_SINGULAR = _table([[one for one, _ in forms] for forms in NOUNS])
_PLURAL = _table([[many for _, many in forms] for forms in NOUNS])
_ANY_SINGULAR = _table([[one for one, _ in ANY_NOUN]])
_ANY_PLURAL = _table([[many for _, many in ANY_NOUN]])
_OPENING = _table([OPENINGS])
_RELATION = _table(RELATION_WORDS)
_IS = {("is",): 0, ("are",): 0}
_EVERY = _table([["all of the", "all of", "all the", "all", "every"]])
_LONGEST = max(map(len, _RELATION))
_DESCRIBING = frozenset(
    word
    for table in (_SINGULAR, _PLURAL, *_PLACES.values(), _TAILS)
    for words in table
    for word in words
) - {"with", "without", "a"}


class _Reader:
    """Reads a caption from left to right, by recursive descent; never goes back."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.at = 0
        self.phrases: list[Phrase] = []
        self.spans: list[list[int]] = []  # the words of each phrase
        self.relations: list[Relation] = []
        self.total: int | None = None
        self.every: Description | None = None

    def caption(self) -> Claim:
        """Caption := [opening] item {("," | "and" | ", and") item}."""
        self.one_of(_OPENING)
        self.item()
        while self.at < len(self.words):
            comma = self.skip(",")
            if not self.skip("and") and not comma:
                raise _UnreadableError
            self.item()
        return Claim(tuple(self.phrases), tuple(self.relations), self.total, self.every)

    def item(self) -> None:
        """Item := every | part | inverted | phrase [predicate | relations]."""
        if self.one_of(_EVERY) is not None:
            self.whole()
        elif self.ahead(1) == "of" and self.ahead(2) == "them":
            mark = self.at
            number = self.needed(_NUMBER) + 1
            self.at += 2
            self.needed(_IS)
            self.phrases.append(Phrase(number, self.predicate()))
            self.spans.append([*range(mark, self.at)])
        elif (name := self.one_of(_RELATION)) is not None:
            second = self.phrase()
            self.skip("there")
            self.needed(_IS)
            self.relate(name, self.phrase(), second)
        else:
            self.sentence()

    def sentence(self) -> None:
        """Sentence := phrase [is] [predicate | relation phrase {tail}]."""
        before = len(self.phrases)
        first = self.phrase(total=True)
        if len(self.phrases) == before:
            return  # `three objects` speaks of the image
        verb = self.one_of(_IS) is not None
        name = self.one_of(_RELATION)
        if name is None:
            if verb:
                mark = self.at
                quantity, what, _ = self.phrases[first]
                self.phrases[first] = Phrase(quantity, what, self.predicate())
                self.spans[first] += range(mark, self.at)
            return
        last = self.phrase()
        self.relate(name, first, last)
        while True:
            mark = self.at
            comma = self.skip(",")
            if self.skip("which") or self.skip("that"):
                self.needed(_IS)
                subject = last
            elif self.skip("and") and not comma:
                subject = first
            else:
                self.at = mark
                return
            name = self.one_of(_RELATION)
            if name is None:
                if subject is last:
                    raise _UnreadableError
                self.at = mark
                return
            last = self.phrase()
            self.relate(name, subject, last)

    def whole(self) -> None:
        """Whole := ("all" | "all of" | "every" | ...) (noun | "them") is predicate."""
        if not self.skip("them") and self.one_of(_ANY_SINGULAR) is None:
            self.needed(_ANY_PLURAL)
        self.needed(_IS)
        if self.every is not None:
            raise _UnreadableError
        self.every = self.predicate()

    def phrase(self, *, total: bool = False) -> int:
        """Phrase := quantity {adjective} noun {tail}; its place among the phrases.

        Args:
            total: Whether it may be a bare number of objects, which is no phrase.
        """
        mark = self.at
        quantity: str | int = "the"
        if self.skip("a") or self.skip("an"):
            quantity = "a"
        elif not self.skip("the"):
            quantity = self.needed(_NUMBER) + 1
        many = quantity not in ("a", "the", 1)
        said = self.adjectives({})
        form = self.one_of(_PLURAL if many else _SINGULAR)
        if form is None:
            self.needed(_ANY_PLURAL if many else _ANY_SINGULAR)
        else:
            said["form"] = form
        self.tails(said)
        what = Description(**said)
        if isinstance(quantity, int) and not what.attributes:
            if not total or self.total is not None:
                raise _UnreadableError
            self.total = quantity
        else:
            self.phrases.append(Phrase(quantity, what))
            self.spans.append([*range(mark, self.at)])
        return len(self.phrases) - 1

    def adjectives(self, said: dict[str, int]) -> dict[str, int]:
        """As many adjectives as follow, at most one of a kind."""
        while True:
            for kind, words in _PLACES.items():
                value = self.one_of(words)
                if value is not None:
                    self.say(said, kind, value)
                    break
            else:
                return said

    def tails(self, said: dict[str, int]) -> None:
        """What may follow a noun: `with dots`, `in red`."""
        while True:
            texture = self.one_of(_TAILS)
            if texture is not None:
                self.say(said, "texture", texture)
            elif self.skip("in"):
                self.say(said, "colour", self.needed(_PLACES["colour"]))
            else:
                return

    def predicate(self) -> Description:
        """Predicate := adjective {"and" adjective} | ["a"] {adjective} noun {tail}."""
        if self.ahead(0) in ("a", "an"):
            self.phrase()
            self.spans.pop()
            return self.phrases.pop().what
        said = self.adjectives({})
        form = self.one_of(_PLURAL)  # `two of them are red circles`
        if form is not None:
            said["form"] = form
            self.tails(said)
        while said and form is None and self.ahead(0) == "and":
            mark, before = self.at, len(said)
            self.at += 1
            self.adjectives(said)
            if len(said) == before:  # the `and` begins another item
                self.at = mark
                break
        if not said:
            raise _UnreadableError
        return Description(**said)

    def relate(self, name: int, first: int, second: int) -> None:
        """Notes a relation between two phrases."""
        self.relations.append(Relation(RELATIONS[name], first, second))

    def say(self, said: dict[str, int], kind: str, value: int) -> None:
        """Notes an attribute; naming one kind twice is an error."""
        if kind in said:
            raise _UnreadableError
        said[kind] = value

    def ahead(self, distance: int) -> str:
        """The word so far ahead; nothing after the end."""
        place = self.at + distance
        return self.words[place] if place < len(self.words) else ""

    def skip(self, word: str) -> bool:
        """Steps over this word, if it is the next."""
        found = self.ahead(0) == word
        self.at += found
        return found

    def one_of(self, table: dict[tuple[str, ...], int]) -> int | None:
        """Steps over the longest entry that comes next; what the table says of it."""
        for length in range(_LONGEST, 0, -1):
            words = tuple(self.words[self.at : self.at + length])
            if words in table:
                self.at += len(words)
                return table[words]
        return None

    def needed(self, table: dict[tuple[str, ...], int]) -> int:
        """Likewise; what follows must be in the table."""
        value = self.one_of(table)
        if value is None:
            raise _UnreadableError
        return value
