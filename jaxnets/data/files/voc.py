"""Data sets in the format of Pascal VOC: one XML file of objects an image.

Everingham, Van Gool, Williams, Winn & Zisserman, "The Pascal visual object classes
(VOC) challenge", IJCV 88, 2010, https://doi.org/10.1007/s11263-009-0275-4.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeAlias
from xml.etree.ElementTree import Element

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.loading import SPLITS, Survey, reading, split_of
from jaxnets.data.files.objects import (
    AnnotatedImage,
    AnnotatedObject,
    annotated,
    checked_box,
    measured_images,
)
from jaxnets.data.files.places import ImageFinder, composed, say_unlisted
from jaxnets.data.files.problems import FileError, left_out, noted
from jaxnets.data.files.reading import inside, read, read_text, visible, walk
from jaxnets.data.files.xml_trees import LARGEST_XML, number_at, parsed, text_at
from jaxnets.data.pictures import Fit, ImageSpec
from jaxnets.data.store.looking import Keep

_MAIN = "ImageSets/Main"
FirstPixel: TypeAlias = Literal[0, 1, "edges"]


class _Sheet(NamedTuple):
    """One XML file, before its boxes are checked."""

    file: str
    identity: str
    image: str
    size: tuple[int, int]  # height and width; zeros if the file says none
    things: list[tuple[str, bool, tuple[float, ...]]]  # label, difficult, y0 x0 y1 x1


def voc_folder(
    root: Path,
    *,
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "stretch",
    first_pixel: FirstPixel = 1,
    held_out: float = 0.1,
    skip_bad: bool = False,
    keep: Keep = "auto",
    survey: Survey | None = None,
) -> Dataset:
    """Images in `JPEGImages`, objects in `Annotations`, splits in `ImageSets/Main`.

    The folders may be `images` and `annotations` (or `annotations/xmls`), or XML files
    may lie beside the images, in the folder or in `train`, `valid` and `test`
    (Roboflow). An image belongs to the XML file of the same name, else to the one that
    says its `<filename>`. Without lists, validation and test are carved by a hash. The
    classes are those found, in the order of their names. An image with a bad annotation
    is left out whole. EXIF tags do not turn images.

    Args:
        root: The folder, for example `VOC2012`.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How: change the aspect ratio, add black bars, or cut the middle out.
        first_pixel: How boxes count. 1: as VOC, from 1, the last pixel included, so
            that xmin 1, xmax w is the whole width; 0: from 0, the last pixel included;
            "edges": edges of pixels, so that xmin 0, xmax w is the whole width.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns `image`, `boxes`, `label`, `present` and `ignore` (difficult ones), as
        in `coco_folder`.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    picture = ImageSpec(size, channels, fit, oriented=False)
    how = reading(
        survey, held_out=held_out, skip_bad=skip_bad, picture=picture, keep=keep
    )
    found = how.survey
    folders = _folders(root)
    if not folders:
        raise DataError(f"{root} has no folder Annotations, nor XML files")
    if "annotations/xmls" in folders:
        others = {path.name for path in visible(root / "annotations")} - {"xmls"}
        if others:
            shown = ", ".join(sorted(others)[:5])
            noted(root.name, f"of annotations, only xmls is read, not {shown}")
    sheets: dict[str, _Sheet] = {}
    splits: dict[str, str] = {}
    images: set[str] = set()  # all that have an XML file, good or bad
    for folder, split in folders.items():
        for stem, sheet in _sheets(root, folder, images, found).items():
            splits[stem] = split
            if sheet is not None:
                sheets[stem] = sheet
    measured = None
    if any(sheet.size == (0, 0) for sheet in sheets.values()):
        measured = measured_images(
            root, [sheet.image for sheet in sheets.values()], how
        )
        sheets = _sized(sheets, measured.sizes)
    hint = _other_counting(list(sheets.values()), first_pixel)
    if hint:
        noted(root.name, hint)
    scenes = _scenes(sheets, first_pixel, hint, found)
    listed: dict[str, list[AnnotatedImage]] = {split: [] for split in folders.values()}
    for stem, scene in scenes.items():
        listed[splits[stem]].append(scene)
    if listed.keys() == {"train"}:
        listed = _listed(root, scenes, set(splits), found)
    every = [scene for rows in listed.values() for scene in rows]
    made = annotated(
        root.resolve().name,
        root,
        listed,
        sorted({thing.label for scene in every for thing in scene.things}),
        how,
        masks=False,
        measured=measured,
    )
    say_unlisted(
        root, images, "an XML file without <object> says that nothing is there"
    )
    return made


def is_voc(root: Path) -> bool:
    """Whether a folder holds XML files where those of VOC lie."""
    return bool(_folders(root))


def _folders(root: Path) -> dict[str, str]:
    """Folders with XML files, relative to the root, and the split of each."""
    if (root / "Annotations").is_dir():
        return {"Annotations": "train"}
    for folder in ("annotations", "annotations/xmls"):  # the latter is Oxford's pets
        if _has_xml(root / folder):
            return {folder: "train"}
    inner = (
        sorted(p for p in root.iterdir() if split_of(p.name)) if root.is_dir() else []
    )
    splits = {p.name: split_of(p.name) or "" for p in inner if _has_xml(p)}
    return splits or ({"": "train"} if _has_xml(root) else {})


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and any(p.name[0] != "." for p in folder.glob("*.xml"))


def _sheets(
    root: Path, folder: str, images: set[str], survey: Survey
) -> dict[str, _Sheet | None]:
    """What the XML files below a folder say, by stem; None if they cannot be used.

    Args:
        root: The folder of the data set.
        folder: Relative to it.
        images: Takes the images that have an XML file.
        survey: Takes problems.
    """
    alone = folder.lower().startswith(
        "annotations"
    )  # nothing but XML is expected in it
    beside = ["JPEGImages", "images", "Images", ""] if alone else []
    inner = [f"{folder}/{name}".lstrip("/") for name in ("images", "JPEGImages")]
    places = ImageFinder(root, [*beside, folder, *inner])
    sheets: dict[str, _Sheet | None] = {}
    others: list[str] = []
    for file in walk(root, root / folder, survey.problems):
        if not file.lower().endswith(".xml"):
            if alone:
                survey.add(file, "is no .xml file", "box")
            continue
        stem = composed(file[:-4].removeprefix(f"{folder}/"))
        identity = stem if alone else composed(file[:-4])
        images |= {image for image in [places.found(stem)] if image}
        try:
            sheet, other = _sheet(root, file, stem, identity, places)
            others += [stem] * other
            sheets[identity] = sheet
            images.add(sheet.image)
        except FileError as error:
            survey.add(file, str(error), "box")
            sheets[identity] = None
    if others:
        noted(
            root.name,
            f"{len(others)} of {len(sheets)} XML files say the <filename> of another "
            f"image, for example {others[0]}.xml: the image of the same name as the "
            "XML file is used",
        )
    _report_twice(sheets, survey)
    return sheets


def _report_twice(sheets: Mapping[str, _Sheet | None], survey: Survey) -> None:
    """An image of two XML files is a problem."""
    owners: dict[str, str] = {}
    for sheet in (s for s in sheets.values() if s is not None):
        if owners.setdefault(sheet.image, sheet.file) != sheet.file:
            what = f"is about {sheet.image}, as is {owners[sheet.image]}"
            survey.add(sheet.file, what, "layout")


def _sheet(
    root: Path, file: str, stem: str, identity: str, places: ImageFinder
) -> tuple[_Sheet, bool]:
    """What an XML file says, and whether its <filename> is that of another image."""
    tree = parsed(read(inside(root, file), limit=LARGEST_XML))
    if tree.tag != "annotation":
        raise FileError(
            f"is <{tree.tag}>, not <annotation>; of other XML export VOC or COCO"
        )
    said = (tree.findtext("filename") or "").strip()
    own, named = places.found(stem), places.found(said) if said else None
    image = own or named
    if image is None:
        raise FileError(f"there is no image JPEGImages/{said or stem}")
    things = []
    for i, thing in enumerate(tree.findall("object")):
        corners = [
            number_at(thing, f"bndbox/{k}") for k in ("ymin", "xmin", "ymax", "xmax")
        ]
        difficult = (thing.findtext("difficult") or "0").strip()
        if difficult not in ("0", "1"):
            raise FileError(f"object {i}: difficult is {difficult!r}, not 0 or 1")
        things.append((text_at(thing, "name"), difficult == "1", tuple(corners)))
    return _Sheet(file, identity, image, _size(tree), things), named not in (
        None,
        image,
    )


def _size(tree: Element) -> tuple[int, int]:
    """Height and width; zeros where none is said."""
    said = [(tree.findtext(f"size/{k}") or "").strip() for k in ("height", "width")]
    if said == ["", ""]:
        return 0, 0
    height, width = number_at(tree, "size/height"), number_at(tree, "size/width")
    if (height, width) == (0, 0):
        return 0, 0
    whole = math.isfinite(height + width) and height % 1 == width % 1 == 0
    if not whole or min(height, width) < 1:
        raise FileError(f"claims an image of {height} x {width} pixels")
    return int(height), int(width)


def _sized(
    sheets: Mapping[str, _Sheet], sizes: Mapping[str, tuple[int, int]]
) -> dict[str, _Sheet]:
    """The sheets with the sizes of their images; without those that have none."""
    return {
        stem: sheet if sheet.size != (0, 0) else sheet._replace(size=sizes[sheet.image])
        for stem, sheet in sheets.items()
        if sheet.size != (0, 0) or sheet.image in sizes
    }


def _scenes(
    sheets: Mapping[str, _Sheet], first_pixel: FirstPixel, hint: str, survey: Survey
) -> dict[str, AnnotatedImage]:
    """Those whose boxes are all sound; the hint ends the message about a box."""
    start = first_pixel if first_pixel != "edges" else 0
    last = 0 if first_pixel == "edges" else 1  # the last pixel is part of a box
    scenes = {}
    for stem, sheet in sheets.items():
        things = []
        try:
            for i, (label, difficult, corners) in enumerate(sheet.things):
                y0, x0, y1, x1 = (corner - start for corner in corners)
                try:
                    box = checked_box((y0, x0, y1 + last, x1 + last), sheet.size)
                except FileError as error:
                    more = f": {hint}" if hint else ""
                    raise FileError(f"object {i}: {error}{more}") from None
                things.append(AnnotatedObject(box, label, difficult))
        except FileError as error:
            survey.add(sheet.file, str(error), "box")
            continue
        scenes[stem] = AnnotatedImage(sheet.identity, sheet.image, sheet.size, things)
    return scenes


def _other_counting(sheets: Sequence[_Sheet], first_pixel: FirstPixel) -> str:
    """A sentence if the boxes seem to count otherwise than is said; else empty."""
    boxes = [(c, sheet.size) for sheet in sheets for _, _, c in sheet.things]
    lowest = min((min(c[:2]) for c, _ in boxes), default=1)
    reach = any(c[2] == size[0] or c[3] == size[1] for c, size in boxes)
    better: FirstPixel = "edges" if reach else 0
    if not 0 <= lowest < 1 or better == first_pixel or first_pixel == "edges":
        return ""
    ends = "end at the width or height" if reach else "end inside"
    return (
        f"boxes of this set begin at {lowest:g} and {ends}, so try "
        f"--first-pixel {better}"
    )


def _listed(
    root: Path, scenes: dict[str, AnnotatedImage], known: set[str], survey: Survey
) -> dict[str, list[AnnotatedImage]]:
    """The images of each split, by the lists of VOC where it has them."""
    there = sorted(p.stem for p in (root / _MAIN).glob("*.txt"))
    names = {"train": "train", "validation": "val", "test": "test"}
    lists = {s: f"{_MAIN}/{stem}.txt" for s, stem in names.items() if stem in there}
    if "train" not in lists and "trainval" in there:
        lists = {"train": f"{_MAIN}/trainval.txt"} | {
            split: name for split, name in lists.items() if split == "test"
        }
    if "train" not in lists:
        if there:
            noted(root.name, f"{_MAIN} has no train.txt: its lists are not used")
        return {"train": list(scenes.values())}
    owner: dict[str, str] = {}
    made = {
        split: _members(root, split, lists[split], scenes, known, owner, survey)
        for split in SPLITS
        if split in lists
    }
    left_out(
        root.name,
        len(known - owner.keys()),
        len(known),
        f"images are in no list of {_MAIN}",
        "add them to train.txt",
    )
    return made


def _members(
    root: Path,
    split: str,
    name: str,
    scenes: Mapping[str, AnnotatedImage],
    known: set[str],
    owner: dict[str, str],
    survey: Survey,
) -> list[AnnotatedImage]:
    """The images that a list names; `owner` remembers the split of each."""
    made = []
    try:
        lines = read_text(inside(root, name)).split("\n")
    except FileError as error:
        survey.add(name, str(error))
        return []
    for number, line in enumerate(lines, 1):
        if not (word := _member(line, known)):
            continue
        where = f"{name}, line {number}"
        if word in owner:
            survey.add(where, f"{word} is already in {owner[word]}", "layout")
        elif word not in known:
            survey.add(where, f"{word} has no annotation", "layout")
        elif word in scenes:
            made.append(scenes[word])
        owner.setdefault(word, split)
    return made


def _member(line: str, known: set[str]) -> str:
    """The image that a line names: all of it, or what stands before 1, 0 or -1."""
    whole = composed(line.strip())
    if whole in known:
        return whole
    before, _, flag = whole.rpartition(" ")
    name = before.strip() if flag in ("1", "0", "-1") and before else whole
    suffixed = PurePosixPath(name).suffix.lower() in SUFFIXES
    return name[: name.rindex(".")] if suffixed and name not in known else name
