"""Writes captions of a scene: several ways to say it, and different things to say.

Each caption comes with the claim that it makes, so that the reader in
`shapes_grammar.py` can be held to account: reading the text must give that very claim.
"""

from collections.abc import Callable, Iterable

from jaxnets.data.generated.draws import Draws
from jaxnets.data.shapes import grammar
from jaxnets.data.shapes.claims import (
    RELATIONS,
    Claim,
    Description,
    Phrase,
    Relation,
    holds,
)
from jaxnets.data.shapes.scenes import Scene, SceneObject

PER_SCENE = 5
_SPATIAL = RELATIONS[:4]
_FIELDS = Description._fields


def write(scene: Scene, name: str) -> list[tuple[str, Claim]]:
    """Five different captions of a scene, and what each claims.

    Args:
        scene: What there is to say.
        name: Another name, other captions.
    """
    writer = _Writer(scene, Draws(name))
    written: dict[str, Claim] = {}
    while True:
        # Every way of saying it once before any of them again.
        for way in writer.draws.shuffled(writer.ways()):
            said = way()
            if said is not None:
                written.setdefault(*said)
            if len(written) == PER_SCENE:
                return list(written.items())


class _Writer:
    """The ways to describe one scene.

    A way returns a text and its claim, or None where the scene does not allow it.
    """

    def __init__(self, scene: Scene, draws: Draws) -> None:
        self.scene = scene
        self.draws = draws

    def ways(self) -> list[Callable[[], tuple[str, Claim] | None]]:
        """More of the ways that say more."""
        alone = [self.listed, self.the_only, self.numbered]
        if len(self.scene) == 1:
            return alone
        together = [self.related, self.related, self.turned_round, self.counted]
        together += [self.all_alike, self.listed]
        return alone + together + ([self.chained] * 2 if len(self.scene) > 2 else [])

    def listed(self) -> tuple[str, Claim]:
        """A red circle, a star and a small ring."""
        most = len(self.scene)
        count = most if self.draws.chance(0.6) else 1 + self.draws.below(most)
        phrases, texts = self.some(self.draws.shuffled(self.scene)[:count])
        return self.opening(many=False) + self.joined(texts), Claim(phrases)

    def numbered(self) -> tuple[str, Claim]:
        """There are three shapes, a red circle, a star and a small ring."""
        total = len(self.scene)
        noun = self.draws.choice(grammar.ANY_NOUN)[total > 1]
        start = f"{grammar.NUMBERS[total - 1]} {noun}, "
        if total > 1 and self.draws.chance(0.4):
            what = self.description(self.draws.choice(self.scene), few=True)
            number = sum(what.fits(thing) for thing in self.scene)
            verb = "is" if number == 1 else "are"
            start += f"{grammar.NUMBERS[number - 1]} of them {verb} "
            text = self.predicate(what, many=number > 1)
            claim = Claim((Phrase(number, what),), total=total)
        else:
            phrases, texts = self.some(self.draws.shuffled(self.scene))
            text, claim = self.joined(texts), Claim(phrases, total=total)
        return self.opening(many=total > 1) + start + text, claim

    def the_only(self) -> tuple[str, Claim] | None:
        """The star is small and red."""
        thing = self.draws.choice(self.scene)
        what = self.unique(thing)
        if what is None:
            return None
        left = [k for k, said in enumerate(what) if said is None]
        if not left:
            return None
        chosen = self.draws.shuffled(left)[: 1 + self.draws.below(3)]
        also = _only(thing, chosen)
        text = f"{self.phrase('the', what)} is {self.predicate(also)}"
        return text, Claim((Phrase("the", what, also),))

    def all_alike(self) -> tuple[str, Claim] | None:
        """All of the shapes are dotted."""
        alike = [k for k in range(1, 4) if len({thing[k] for thing in self.scene}) == 1]
        if not alike:
            return None
        what = _only(self.scene[0], alike)
        if self.draws.chance(0.3):
            noun = self.draws.choice(grammar.ANY_NOUN)[0]
            text = f"every {noun} is {self.predicate(what)}"
        else:
            noun = self.draws.choice(grammar.ANY_NOUN)[1]
            start = self.draws.choice(("all", "all the", "all of the"))
            text = f"{start} {noun} are {self.predicate(what)}"
        return text, Claim(every=what)

    def counted(self) -> tuple[str, Claim] | None:
        """Two red circles and a star."""
        what = self.description(self.draws.choice(self.scene), few=True)
        group = [thing for thing in self.scene if what.fits(thing)]
        if len(group) < 2:
            return None
        others = [thing for thing in self.scene if not what.fits(thing)]
        phrases, texts = self.some(self.draws.shuffled(others))
        texts = (self.phrase(len(group), what), *texts)
        claim = Claim((Phrase(len(group), what), *phrases))
        return self.opening(many=True) + self.joined(texts), claim

    def related(self) -> tuple[str, Claim] | None:
        """A red circle is to the left of a star."""
        first, second, *_ = self.draws.shuffled(self.scene)
        relation = self.relation(first, second, RELATIONS)
        if relation is None:
            return None
        phrases, texts = self.two(first, second, relation)
        opening = "" if self.draws.chance(0.5) else self.opening(many=False)
        verb = "" if opening or self.draws.chance(0.3) else "is "
        text = f"{opening}{texts[0]} {verb}{self.words(relation)} {texts[1]}"
        return text, Claim(phrases, (Relation(relation, 0, 1),))

    def turned_round(self) -> tuple[str, Claim] | None:
        """To the left of a star there is a red circle."""
        first, second, *_ = self.draws.shuffled(self.scene)
        name = self.relation(first, second, _SPATIAL)
        if name is None:
            return None
        phrases, texts = self.two(first, second, name)
        verb = self.draws.choice(("is", "there is"))
        text = f"{self.words(name)} {texts[1]} {verb} {texts[0]}"
        return text, Claim(phrases[::-1], (Relation(name, 1, 0),))

    def chained(self) -> tuple[str, Claim] | None:
        """A red circle is left of a star, which is above a ring."""
        first, second, third, *_ = self.draws.shuffled(self.scene)
        subject, link = self.draws.choice(((0, " and"), (1, ", which is")))
        names = (
            self.relation(first, second, RELATIONS),
            self.relation((first, second)[subject], third, RELATIONS),
        )
        if names[0] is None or names[1] is None:
            return None
        whats = [self.description(t, few=True) for t in (first, second, third)]
        whats[0] = _silenced(whats[0], names[0])
        whats[subject] = _silenced(whats[subject], names[1])
        phrases, texts = self.worded(whats)
        verb = "is " if self.draws.chance(0.7) else ""
        text = (
            f"{texts[0]} {verb}{self.words(names[0])} {texts[1]}"
            f"{link} {self.words(names[1])} {texts[2]}"
        )
        relations = (Relation(names[0], 0, 1), Relation(names[1], subject, 2))
        return text, Claim(phrases, relations)

    # Parts of captions.

    def some(
        self, things: Iterable[SceneObject]
    ) -> tuple[tuple[Phrase, ...], tuple[str, ...]]:
        """`a ...` for each of these objects: what it claims, and its text."""
        return self.worded(self.description(thing, few=False) for thing in things)

    def two(
        self, first: SceneObject, second: SceneObject, relation: str
    ) -> tuple[tuple[Phrase, ...], tuple[str, ...]]:
        """`a ...` for two objects that stand in a relation."""
        whats = [self.description(thing, few=False) for thing in (first, second)]
        whats[0] = _silenced(whats[0], relation)
        return self.worded(whats)

    def worded(
        self, whats: Iterable[Description]
    ) -> tuple[tuple[Phrase, ...], tuple[str, ...]]:
        """`a ...` for each description: what it claims, and its text."""
        whats = tuple(whats)
        return (
            tuple(Phrase("a", what) for what in whats),
            tuple(self.phrase("a", what) for what in whats),
        )

    def relation(
        self, first: SceneObject, second: SceneObject, names: tuple[str, ...]
    ) -> str | None:
        """One that holds between two objects; mostly where they lie."""
        true = [name for name in names if holds(name, first, second)]
        where = [name for name in true if name in _SPATIAL]
        if where and self.draws.chance(0.7):
            true = where
        return self.draws.choice(true) if true else None

    def words(self, relation: str) -> str:
        """One of the ways to say it."""
        return self.draws.choice(grammar.RELATION_WORDS[RELATIONS.index(relation)])

    def description(self, thing: SceneObject, *, few: bool) -> Description:
        """Some of what is true of an object; few or most of it."""
        plain = thing.texture == 0
        likely = (0.8, 0.55, 0.25, 0.15) if few else (0.92, 0.8, 0.4, 0.6)
        likely = (*likely[:3], likely[3] * (0.4 if plain else 1))
        chosen = [k for k in range(4) if self.draws.chance(likely[k])]
        return _only(thing, chosen or [self.draws.below(2)])

    def unique(self, thing: SceneObject) -> Description | None:
        """As little as tells an object from all others; None if nothing does."""
        chosen: list[int] = []
        for k in (0, *self.draws.shuffled((1, 2, 3))):
            what = _only(thing, chosen)
            if sum(what.fits(other) for other in self.scene) == 1:
                return what
            chosen.append(k)
        what = _only(thing, chosen)
        return what if sum(what.fits(other) for other in self.scene) == 1 else None

    def phrase(self, quantity: str | int, what: Description) -> str:
        """Quantity, adjectives, noun, and what follows it."""
        many = isinstance(quantity, int) and quantity > 1
        nouns = grammar.ANY_NOUN if what.form is None else grammar.NOUNS[what.form]
        adjectives, tails = self.adjectives(what)
        words = [*adjectives, self.draws.choice(nouns)[many], *tails]
        if isinstance(quantity, int):
            return " ".join([grammar.NUMBERS[quantity - 1], *words])
        if quantity == "a" and words[0][0] in "aeiou":
            quantity = "an"
        return " ".join([quantity, *words])

    def adjectives(self, what: Description) -> tuple[list[str], list[str]]:
        """What stands before a noun, and what after it."""
        before, after = [], []
        if what.size is not None:
            before.append(self.draws.choice(grammar.SIZE_WORDS[what.size]))
        if what.texture is not None:
            if self.draws.chance(0.3):
                after.append(self.draws.choice(grammar.TEXTURE_TAILS[what.texture]))
            else:
                before.append(self.draws.choice(grammar.TEXTURE_WORDS[what.texture]))
        if what.colour is not None:
            word = self.draws.choice(grammar.COLOUR_WORDS[what.colour])
            if self.draws.chance(0.1):
                after.append(f"in {word}")
            else:
                before.append(word)
        if self.draws.chance(0.2):
            before = self.draws.shuffled(before)
        return before, self.draws.shuffled(after)

    def predicate(self, what: Description, *, many: bool = False) -> str:
        """What follows `is`: adjectives, or a whole phrase where a form is named."""
        if what.form is not None:
            text = self.phrase("a", what)
            # `are` wants another number than `a`: the plural alone.
            return self.phrase(2, what).removeprefix("two ") if many else text
        words = [
            self.draws.choice(table[value])
            for table, value in zip(
                (grammar.COLOUR_WORDS, grammar.SIZE_WORDS, grammar.TEXTURE_WORDS),
                what[1:],
                strict=True,
            )
            if value is not None
        ]
        return " and ".join(self.draws.shuffled(words))

    def opening(self, *, many: bool) -> str:
        """Nothing, or how a caption may begin, before a singular or a plural."""
        if self.draws.chance(0.4):
            return ""
        wrong = ("there is", "here is") if many else ("there are", "here are")
        options = [o for o in grammar.OPENINGS if o not in wrong]
        return self.draws.choice(options) + " "

    def joined(self, texts: tuple[str, ...]) -> str:
        """`a, b and c`."""
        *start, end = texts
        if not start:
            return end
        last = self.draws.choice((" and ", ", and ") if len(start) > 1 else (" and ",))
        return ", ".join(start) + last + end


def _only(thing: SceneObject, fields: Iterable[int]) -> Description:
    """What is true of an object, of these attributes only."""
    return Description(**{_FIELDS[k]: int(thing[k]) for k in fields})


def _silenced(what: Description, relation: str) -> Description:
    """Without what the relation says already: its colour in `of the same colour as`."""
    return {
        "larger": what._replace(size=None),
        "smaller": what._replace(size=None),
        "colour": what._replace(colour=None),
        "form": what._replace(form=None),
    }.get(relation, what)
