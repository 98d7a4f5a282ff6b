"""What the sources of local files share: splits, pictures, and what was found."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnets.data.dataset import (
    Column,
    Dataset,
    Feature,
    Split,
    carved,
    checked,
)
from jaxnets.data.files.picture_files import PictureFiles
from jaxnets.data.files.problems import (
    FileError,
    Problem,
    noted,
    printable,
    settle,
)
from jaxnets.data.files.reading import inside, read_text
from jaxnets.data.pictures import ImageSpec, Placement, placement_of
from jaxnets.data.store.album import Album, Pictures
from jaxnets.data.store.looking import Keep, in_memory, looked_at
from jaxnets.data.store.shelf import Shelf, shelves_of

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
LARGEST_JSON = 2**30  # the annotations of COCO have 470 million bytes


@dataclasses.dataclass
class Survey:
    """Everything that a loader came across; what `check` prints.

    Attributes:
        problems: What is wrong, in the order found.
        shapes: How many images have each (height, width), before any resizing.
        classes: How many good examples each class has.
        examples: How many good examples each split has, as the source splits them.
        notes: How files were read that leave a choice; nothing is wrong.
        blanks: Names of tables, how many of their lines are empty, and of how many.
    """

    problems: list[Problem] = dataclasses.field(default_factory=list)
    shapes: Counter[tuple[int, int]] = dataclasses.field(default_factory=Counter)
    classes: Counter[str] = dataclasses.field(default_factory=Counter)
    examples: Counter[str] = dataclasses.field(default_factory=Counter)
    notes: list[str] = dataclasses.field(default_factory=list)
    blanks: list[tuple[str, int, int]] = dataclasses.field(default_factory=list)

    def add(self, where: str, what: str, kind: str = "file") -> None:
        """One more problem."""
        self.problems.append(Problem(where, what, kind))


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a loader reads, and what it comes across: what all loaders are asked.

    Attributes:
        survey: Takes all that is found.
        quiet: The caller reads the survey: problems neither stop nor warn.
        held_out: Share of the training examples for each split that is missing.
        skip_bad: Leave out what cannot be used, with a warning that counts it.
        picture: What images become.
        keep: Whether decoded images are kept on the disk.
    """

    survey: Survey
    quiet: bool
    held_out: float
    skip_bad: bool
    picture: ImageSpec
    keep: Keep


def reading(
    survey: Survey | None,
    *,
    held_out: float,
    skip_bad: bool,
    picture: ImageSpec | None = None,
    keep: Keep = "auto",
) -> Reading:
    """The options of a loader; problems are told unless the caller has a survey."""
    return Reading(
        survey=survey or Survey(),
        quiet=survey is not None,
        held_out=held_out,
        skip_bad=skip_bad,
        picture=picture or ImageSpec(),
        keep=keep,
    )


class Part(NamedTuple):
    """The examples of one split of the source, before anything is carved from it."""

    columns: Mapping[str, Column]
    ids: Sequence[str]
    strata: np.ndarray  # what a carved part keeps the shares of


@dataclasses.dataclass(frozen=True)
class GoodImages:
    """The images that can be used.

    Attributes:
        album: Holds them.
        picture: What became of them.
        kept: Position of each among the names that were asked for.
    """

    album: Album
    picture: ImageSpec
    kept: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of all of them."""
        return self.album.shape[:2]

    @property
    def feature(self) -> Feature:
        """What the column `image` may hold."""
        return Feature(self.album.shape, "uint8", 0, 255)

    @property
    def originals(self) -> list[tuple[int, int]]:
        """Height and width of each before any resizing."""
        return [(h, w) for h, w in self.album.seen["original"][self.kept].tolist()]

    @property
    def placements(self) -> list[Placement]:
        """Where the pixels of each went."""
        return [placement_of(size, self.picture) for size in self.originals]

    def rows(self, index: Sequence[int] | np.ndarray) -> Pictures:
        """A column of some of them."""
        return Pictures(self.album, self.kept[np.asarray(index, np.int64)])


def split_of(name: str) -> str | None:
    """Which split a folder or a word like `val` or `val2017` stands for."""
    word = name.lower().rstrip("0123456789")
    return next((split for split, words in SPLITS.items() if word in words), None)


def pictures(root: Path, names: Sequence[str], how: Reading) -> GoodImages:
    """Looks at files; those that cannot be used become problems.

    Without a size all must have the shape of the first. Images of other shapes are left
    out, and together they are one problem. What was seen is remembered beside the
    files, unless the caller wants to see the survey: then every file is looked at.

    Args:
        root: Nothing outside it is read.
        names: Of files, relative to it.
        how: What is to become of them; its survey takes problems and shapes.
    """
    picture, survey = how.picture, how.survey
    source = PictureFiles(root, names, picture)
    name = printable(root.resolve().name)
    shape = (*picture.size, picture.channels) if picture.size else None
    said = {"name": name, "path": str(root.resolve())}
    album = looked_at(
        source,
        name,
        None if how.quiet else Shelf(shelves_of(root), source.about, said),
        shape=shape,
        keep=how.keep,
        say=lambda line: None if how.quiet else noted(name, line),
    )
    for position in sorted(album.problems):
        survey.add(names[position], album.problems[position])
    originals = album.seen["original"][album.decodable]
    shapes, counts = np.unique(originals, axis=0, return_counts=True)
    for (height, width), count in zip(shapes.tolist(), counts.tolist(), strict=True):
        survey.shapes[height, width] += count
    if picture.size is None:
        several_shapes(survey, name)
    return GoodImages(album, picture, album.good)


def several_shapes(survey: Survey, where: str) -> None:
    """Adds a problem if the images in a survey differ in shape, with the remedy.

    Args:
        survey: With the shapes of all images.
        where: Names the folder.
    """
    if len(survey.shapes) < 2:
        return
    by_area = sorted(
        survey.shapes.elements(), key=lambda shape: (shape[0] * shape[1], shape)
    )
    small, middle, large = (
        f"{h} x {w}" for h, w in (by_area[0], by_area[len(by_area) // 2], by_area[-1])
    )
    shorter = int(np.median([min(shape) for shape in by_area]))
    side = min(224, shorter // 8 * 8 or shorter)
    survey.add(
        where,
        f"holds images of {len(survey.shapes)} shapes, height x width from {small} "
        f"over {middle} (median) to {large} pixels: --size {side} brings all to one "
        "shape, cut from the middle (--fit pad or --fit stretch: whole)",
        "shape",
    )


def assembled(
    name: str,
    features: Mapping[str, Feature],
    parts: Mapping[str, Part],
    how: Reading,
) -> Dataset:
    """The data set, with the splits that the source does not have carved from train.

    Args:
        name: Of the data set.
        features: What the columns may hold.
        parts: Of the splits that the source has; at least `train`.
        how: With all problems; splits that are missing are held out from train by a
            hash of the position.

    Raises:
        DataError: If there are problems that may not be skipped, or `checked` finds
            one.
    """
    good = sum(len(part.ids) for part in parts.values())
    for split, part in parts.items():
        how.survey.examples[split] += len(part.ids)
    if not how.quiet:
        for note in how.survey.notes:
            noted(name, note)
        settle(name, how.survey.problems, skip_bad=how.skip_bad, examples=good)
    splits = {split: Split(part.columns, part.ids) for split, part in parts.items()}
    whole, strata = splits["train"], parts["train"].strata
    rest = np.arange(len(whole))
    for split, left in (("test", 1.0), ("validation", 1.0 - how.held_out)):
        if split in splits:
            continue
        share = how.held_out / left if "test" not in parts else how.held_out
        keep, hold = carved(strata[rest], share, salt=f"{name} {split}")
        splits[split], rest = whole.take(rest[hold]), rest[keep]
    splits["train"] = whole.take(rest) if len(rest) < len(whole) else whole
    dataset = in_memory(
        Dataset(name, features, splits["train"], splits["validation"], splits["test"])
    )
    return dataset if how.quiet else checked(dataset)


def read_json(root: Path, name: str) -> Any:
    """What a JSON file holds; nothing in it can run.

    Raises:
        FileError: If it cannot be read, is not strict JSON, is nested too deeply, or
            gives one key twice.
    """
    return parsed_json(read_text(inside(root, name), limit=LARGEST_JSON))


def parsed_json(text: str) -> Any:
    """What JSON says; nothing in it can run.

    Raises:
        FileError: If it is not strict JSON, is nested too deeply, or gives one key
            twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            key = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
            raise FileError(f"gives the key {key!r} twice in one object")
        return made

    def constant(word: str) -> Any:
        raise FileError(f"holds {word}, which is not JSON")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=constant)
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileError(f"is not JSON: {str(error)[:200]}") from None


def summary(survey: Survey, examples: int) -> dict[str, Any]:
    """What a start says of the data, as JSON: for a later one that reads no file.

    Args:
        survey: Of the files.
        examples: How many good ones there are.
    """
    first = [dataclasses.astuple(problem) for problem in survey.problems[:5]]
    return {
        "notes": survey.notes,
        "blanks": survey.blanks,
        "problems": first,
        "count": len(survey.problems),
        "examples": examples,
    }


def say_found(name: str, found: Mapping[str, Any], *, skip_bad: bool) -> None:
    """Says how files were read, and stops at problems that may not be skipped.

    Args:
        name: Of the data set.
        found: From `summary`.
        skip_bad: Leave out what cannot be used, with a warning that counts it.

    Raises:
        DataError: As `settle`.
    """
    for note in found["notes"]:
        noted(name, note)
    settle(
        name,
        [Problem(*about) for about in found["problems"]],
        skip_bad=skip_bad,
        examples=found["examples"],
        count=found["count"],
    )
