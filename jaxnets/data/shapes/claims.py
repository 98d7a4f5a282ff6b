"""What a caption can claim about a scene, and when that is true.

- `a red circle` says that there is one, at least. `the red circle` says that there is
  exactly one. `two red circles` says that there are exactly two, `one` likewise.
- Every phrase of a caption speaks of other objects: `a circle and a red shape` needs
  two objects. `there are three shapes` and `all shapes are red` speak of the whole.
- `left of` and the like compare the middles of objects, along one axis, and want a
  difference of at least `MARGIN` of the image's side. A group stands left of something
  when each of its members does.
"""

from collections.abc import Iterator
from typing import NamedTuple

from jaxnets.data.shapes.scenes import MARGIN, Scene, SceneObject

RELATIONS = ("left", "right", "above", "below", "larger", "smaller", "colour", "form")


class Description(NamedTuple):
    """What is said of an object; None where nothing is."""

    form: int | None = None
    colour: int | None = None
    size: int | None = None
    texture: int | None = None

    def fits(self, thing: SceneObject) -> bool:
        """Whether all that is said is true of this object."""
        return all(
            said is None or said == have
            for said, have in zip(self, thing[:4], strict=True)
        )

    @property
    def attributes(self) -> int:
        """How many attributes are named."""
        return sum(said is not None for said in self)


class Phrase(NamedTuple):
    """Some objects that a caption speaks of."""

    quantity: str | int  # "a": at least one; "the": the only one; n: exactly n
    what: Description
    also: Description = Description()  # what `is` adds: the star IS RED


class Relation(NamedTuple):
    """The objects of one phrase stand in this relation to those of another."""

    name: str  # one of RELATIONS
    first: int  # position among the claim's phrases
    second: int


class Claim(NamedTuple):
    """Everything that a caption says."""

    phrases: tuple[Phrase, ...] = ()
    relations: tuple[Relation, ...] = ()
    total: int | None = None  # objects in the image
    every: Description | None = None  # true of all of them


class Named(NamedTuple):
    """How much a caption says."""

    attributes: int  # forms, colours, sizes, textures and numbers
    relations: int


def named(claim: Claim) -> Named:
    """How many attributes and different relations a claim names.

    `two large red circles` names four attributes: a number is one.
    """
    attributes = sum(
        phrase.what.attributes
        + phrase.also.attributes
        + isinstance(phrase.quantity, int)
        for phrase in claim.phrases
    )
    attributes += claim.total is not None
    attributes += claim.every.attributes if claim.every else 0
    return Named(attributes, len(set(claim.relations)))


def holds(name: str, first: SceneObject, second: SceneObject) -> bool:
    """Whether one object stands in a relation to another.

    Args:
        name: One of `RELATIONS`.
        first: The subject.
        second: What it is compared with.
    """
    return {
        "left": second.x - first.x >= MARGIN,
        "right": first.x - second.x >= MARGIN,
        "above": second.y - first.y >= MARGIN,
        "below": first.y - second.y >= MARGIN,
        "larger": first.size > second.size,
        "smaller": first.size < second.size,
        "colour": first.colour == second.colour,
        "form": first.form == second.form,
    }[name]


def is_true(claim: Claim, scene: Scene) -> bool:
    """Whether all that is claimed is so, by the rules at the top of this module."""
    return next(ways(claim, scene), None) is not None


def ways(claim: Claim, scene: Scene) -> Iterator[tuple[tuple[int, ...], ...]]:
    """How a claim is true: for every phrase the objects that it may be about.

    Several ways where `a red circle` may be this one or that one; none where the claim
    is false.
    """
    if claim.total is not None and claim.total != len(scene):
        return
    if claim.every is not None and not all(claim.every.fits(t) for t in scene):
        return
    choices: list[list[tuple[int, ...]]] = []
    for quantity, what, also in claim.phrases:
        # Whatever `is` adds must be so of the very objects that were counted.
        matches = tuple(k for k, thing in enumerate(scene) if what.fits(thing))
        both = tuple(k for k in matches if also.fits(scene[k]))
        if quantity == "a":
            choices.append([(k,) for k in both])
        else:
            exact = len(matches) == (1 if quantity == "the" else quantity)
            choices.append([matches] if exact and both == matches else [])
    # More phrases than objects cannot all speak of different ones; this also keeps the
    # search short whatever a broken captioner writes.
    if len(choices) <= len(scene):
        yield from _chosen(claim, scene, choices, ())


def _chosen(
    claim: Claim,
    scene: Scene,
    choices: list[list[tuple[int, ...]]],
    chosen: tuple[tuple[int, ...], ...],
) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The ways to give the remaining phrases objects so that everything is so."""
    if len(chosen) == len(choices):
        if all(
            holds(name, scene[i], scene[j])
            for name, first, second in claim.relations
            for i in chosen[first]
            for j in chosen[second]
        ):
            yield chosen
        return
    taken = {k for group in chosen for k in group}
    for group in choices[len(chosen)]:
        if not taken.intersection(group):
            yield from _chosen(claim, scene, choices, (*chosen, group))
