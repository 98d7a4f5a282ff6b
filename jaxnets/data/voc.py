"""Data sets in the format of Pascal VOC: one XML file of objects an image.

Everingham, Van Gool, Williams, Winn & Zisserman, "The Pascal visual object classes
(VOC) challenge", IJCV 88, 2010, https://doi.org/10.1007/s11263-009-0275-4.
"""

import io
from pathlib import Path
from typing import Literal
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.images import SUFFIXES, Picture
from jaxnets.data.loading import SPLITS, Survey
from jaxnets.data.objects import Scene, Thing, annotated, checked_box
from jaxnets.data.reading import FileError, inside, read, read_text, walk

_LARGEST_XML = 2**20
_DEEPEST = 20
_LISTS = {"train": "train.txt", "validation": "val.txt", "test": "test.txt"}


def voc_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Literal["stretch", "pad"] = "stretch",
    first_pixel: Literal[0, 1] = 1,
    held_out: float = 0.1,
    skip_bad: bool = False,
    survey: Survey | None = None,
) -> Dataset:
    """Images in `JPEGImages`, objects in `Annotations`, splits in `ImageSets/Main`.

    Without lists, validation and test are carved by a hash. The classes are those
    found, in the order of their names. An image with a bad annotation is left out
    whole.

    Args:
        root: The folder, `VOC2012` say.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How: change the aspect ratio, or add black bars.
        first_pixel: Number of the first pixel. VOC counts from 1 and includes the last
            one, so that xmin 1, xmax w is the whole width: [0, w] here.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image`, `boxes`, `label`, `present` and `ignore` (difficult ones), as
        in `coco_folder`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    if not (root / "Annotations").is_dir():
        raise DataError(f"{root} has no folder Annotations")
    found, quiet = survey or Survey(), survey is not None
    files = walk(root, root / "Annotations", found.problems)
    scenes = {}
    for file in files:
        stem = file.removeprefix("Annotations/").removesuffix(".xml")
        try:
            if not file.endswith(".xml"):
                raise FileError("is no .xml file")
            scenes[stem] = _scene(root, file, stem, first_pixel)
        except FileError as error:
            found.add(file, str(error), "box")
    classes = sorted({t.label for scene in scenes.values() for t in scene.things})
    return annotated(
        root.resolve().name,
        root,
        _listed(root, scenes, {f[12:-4] for f in files}, found),
        classes,
        Picture(size, channels, fit, oriented=False),
        masks=False,
        held_out=held_out,
        survey=found,
        skip_bad=skip_bad,
        quiet=quiet,
    )


def _listed(
    root: Path, scenes: dict[str, Scene], known: set[str], survey: Survey
) -> dict[str, list[Scene]]:
    """The images of each split, by the lists of VOC where it has them."""
    place = "ImageSets/Main"
    lists = {
        s: f"{place}/{f}" for s, f in _LISTS.items() if (root / place / f).exists()
    }
    if "train" not in lists:
        return {"train": list(scenes.values())}
    made: dict[str, list[Scene]] = {}
    owner: dict[str, str] = {}
    for split in (s for s in SPLITS if s in lists):
        made[split] = []
        try:
            lines = read_text(inside(root, lists[split])).split("\n")
        except FileError as error:
            survey.add(lists[split], str(error))
            continue
        for number, line in enumerate(lines, 1):
            if not (words := line.split()):
                continue
            where = f"{lists[split]}, line {number}"
            if words[0] in owner:
                survey.add(
                    where, f"{words[0]} is already in {owner[words[0]]}", "layout"
                )
            elif words[0] not in known:
                survey.add(where, f"{words[0]} has no annotation", "layout")
            elif words[0] in scenes:
                made[split].append(scenes[words[0]])
            owner.setdefault(words[0], split)
    return made


def _scene(root: Path, file: str, stem: str, first_pixel: int) -> Scene:
    tree = parsed(read(inside(root, file), limit=_LARGEST_XML))
    if tree.tag != "annotation":
        raise FileError(f"is <{tree.tag}>, not <annotation>")
    size = (_number(tree, "size/height"), _number(tree, "size/width"))
    pixels = int(size[0]), int(size[1])
    if pixels != size or min(pixels) < 1:
        raise FileError(f"claims an image of {size[0]} x {size[1]} pixels")
    things = []
    for i, thing in enumerate(tree.findall("object")):
        corners = [
            _number(thing, f"bndbox/{k}") for k in ("ymin", "xmin", "ymax", "xmax")
        ]
        y0, x0 = corners[0] - first_pixel, corners[1] - first_pixel
        y1, x1 = corners[2] - first_pixel + 1, corners[3] - first_pixel + 1
        difficult = (thing.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1"):
            raise FileError(f"object {i}: difficult is {difficult!r}, not 0 or 1")
        try:
            box = checked_box((y0, x0, y1, x1), pixels)
        except FileError as error:
            raise FileError(f"object {i}: {error}") from None
        things.append(Thing(box, _text(thing, "name"), difficult == "1"))
    return Scene(stem, _image(root, tree, stem), pixels, things)


def _image(root: Path, tree: Element, stem: str) -> str:
    """The image's name: the one in the XML, else the one called like it."""
    said = tree.findtext("filename")
    if said:
        name = f"JPEGImages/{said.strip()}"
        if inside(root, name).exists():
            return name
    for suffix in SUFFIXES:
        if inside(root, f"JPEGImages/{stem}{suffix}").exists():
            return f"JPEGImages/{stem}{suffix}"
    raise FileError(f"there is no image JPEGImages/{said or stem}")


def parsed(content: bytes) -> Element:
    """The root element of an XML file that declares nothing.

    Entities are how XML expands to gigabytes and how it reads other files, and they can
    only be declared in a document type: there may be none.

    Raises:
        FileError: If it is not well formed, nested deeper than 20, or declares
            anything.
    """
    tree, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise FileError(f"is nested deeper than {_DEEPEST}")
        tree.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(tag)

    def refuse(*_: object) -> int:
        raise FileError("declares a document type or entities, which are refused")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = tree.data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.ParseFile(io.BytesIO(content))
    except (expat.ExpatError, ValueError, LookupError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"is not XML: {error}") from None
    return tree.close()


def _text(tree: Element, path: str) -> str:
    text = (tree.findtext(path) or "").strip()
    if not text:
        raise FileError(f"has no <{path}>")
    return text


def _number(tree: Element, path: str) -> float:
    text = _text(tree, path)
    try:
        return float(text)
    except ValueError:
        raise FileError(f"has {text!r} in <{path}>, not a number") from None
