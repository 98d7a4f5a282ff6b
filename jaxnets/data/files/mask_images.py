"""Images with a mask image each, in which every value above 0 is an object.

The form of the Penn-Fudan pedestrians (Wang, Shi, Song & Shen, "Object detection
combining recognition and segmentation", ACCV 2007): of one class.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped
from PIL import Image
from scipy import ndimage

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.digests import read_digests, verify
from jaxnets.data.files.formats import STRUCTURE, SUFFIXES, kind_of
from jaxnets.data.files.images import check_header, strict_warnings
from jaxnets.data.files.loading import SPLITS, Survey, reading, split_of
from jaxnets.data.files.objects import AnnotatedImage, AnnotatedObject, annotated
from jaxnets.data.files.outlines import Outline
from jaxnets.data.files.places import composed
from jaxnets.data.files.problems import FileError, printable
from jaxnets.data.files.reading import existing_folder, inside, read, walk
from jaxnets.data.pictures import LARGEST_IMAGE, Fit, ImageSpec
from jaxnets.data.store.cache import cached
from jaxnets.data.store.looking import Keep

MOST = 1000  # objects in one mask; a photograph has more values
_VERSION = 1  # of what is cached
_IMAGES = ("images", "PNGImages", "JPEGImages", "imgs", "Images")
_MASKS = ("masks", "PedMasks", "Masks")
_ENDINGS = ("", "_mask", "-mask", "_masks")  # of a mask's name, behind the image's


class _Place(NamedTuple):
    """Where the images and masks of a split lie, relative to the root."""

    split: str
    images: str
    masks: str


class MaskObjects(NamedTuple):
    """The objects of one mask image, in the order of their values."""

    size: tuple[int, int]  # height and width
    boxes: Int[np.ndarray, "n 4"]  # [y0, x0, y1, x1], ends exclusive
    runs: Int[np.ndarray, " lengths"]  # of all objects, one after the other
    lengths: Int[np.ndarray, " n"]  # how many runs each has


def mask_folder(
    root: Path,
    *,
    label: str = "object",
    size: tuple[int, int] | None = None,
    channels: Literal[1, 3] = 3,
    fit: Fit = "stretch",
    masks: bool = True,
    held_out: float = 0.1,
    skip_bad: bool = False,
    keep: Keep = "auto",
    survey: Survey | None = None,
) -> Dataset:
    """Images in `images`, and in `masks` a mask image of the same name for each.

    In a mask, 0 is the background and every other value is one object, be it in one
    piece or not; a mask of zeros says that nothing is there. A mask of 0 and 255 holds
    one object. Masks are grey images of 8 or 16 bits, of two levels, or palette images,
    whose numbers count and not their colours; colour and JPEG are refused. A mask is as
    large as its image as it is stored: EXIF tags do not turn images. The folders may be
    `train/images` and `train/masks`, `images/train` and `masks/train`, or Penn-Fudan's
    own `PNGImages` and `PedMasks`, where masks are called `NAME_mask.png`.

    An object is kept as run lengths and drawn when asked, by the nearest pixel; its box
    is the extent of the mask, moved as the image is, and may end within a pixel. What
    was read is cached: a later start opens no mask that has not changed.

    Args:
        root: The folder.
        label: Name of the class.
        size: Height and width to bring all images to; None if they have one already.
        channels: 3 for colour, 1 for grey.
        fit: How: change the aspect ratio, add black bars, or cut the middle out.
        masks: Also make a column `masks`, drawn when asked.
        held_out: Share of the training images for each split that is missing.
        skip_bad: Leave out what cannot be used, with a `DataWarning` that counts it.
        keep: Keep decoded images on the disk; see `jaxnets.data.store.looking`.
        survey: Filled with all that was found; problems then neither stop nor warn.

    Returns:
        Columns as in `coco_folder`; nothing is ignored. Ids are the images' names.

    Raises:
        DataError: At any problem that may not be skipped.
    """
    root = existing_folder(root)
    picture = ImageSpec(size, channels, fit, oriented=False)
    how = reading(
        survey, held_out=held_out, skip_bad=skip_bad, picture=picture, keep=keep
    )
    places = _places(root)
    if not places:
        raise DataError(f"{printable(str(root))} has no folder `masks` beside `images`")
    pairs = [_pairs(root, place, how.survey) for place in places]
    names = [mask for rows in pairs for mask in rows.values()]
    read_masks = _looked_at if how.quiet else _remembered
    found = read_masks(root, names, how.survey)
    scenes: dict[str, list[AnnotatedImage]] = {place.split: [] for place in places}
    for place, rows in zip(places, pairs, strict=True):
        scenes[place.split] += [
            AnnotatedImage(
                image, image, found[mask].size, _things(found[mask], label), mask
            )
            for image, mask in rows.items()
            if mask in found
        ]
    ordered = {split: scenes[split] for split in SPLITS if split in scenes}
    return annotated(root.name, root, ordered, [label], how, masks=masks)


def is_masks(root: Path) -> bool:
    """Whether a folder holds images, and masks called like them."""
    return any(_pairs(root, place, Survey()) for place in _places(root))


def mask_objects(values: Shaped[np.ndarray, "h w"]) -> MaskObjects:
    """The objects of a mask: every value above 0 is one.

    Args:
        values: Whole numbers.

    Raises:
        FileError: If there are more than `MOST`.
    """
    height, width = values.shape
    down = values.T.reshape(-1)  # run lengths go down the columns, as COCO's
    starts = np.flatnonzero(np.diff(down, prepend=down[0] + 1))  # of equal values
    ends = np.append(starts[1:], down.size)
    numbers, which = np.unique(down[starts], return_inverse=True)
    shift = int(numbers[0] == 0)
    count = len(numbers) - shift
    if count > MOST:
        raise FileError(
            f"holds {count:,} values above 0, each of which would be an object; the "
            f"limit is {MOST:,}: is it a photograph?"
        )
    compact = np.repeat(which + 1 - shift, ends - starts).reshape(width, height).T
    slices = ndimage.find_objects(compact, max_label=count)
    boxes = [(y.start, x.start, y.stop, x.stop) for y, x in slices]
    runs = [
        _runs(starts[which == k + shift], ends[which == k + shift], down.size)
        for k in range(count)
    ]
    return MaskObjects(
        (height, width),
        np.array(boxes, np.int32).reshape(-1, 4),
        np.concatenate([*runs, np.zeros(0, np.int32)]).astype(np.int32),
        np.array([len(r) for r in runs], np.int32),
    )


def _runs(
    starts: Int[np.ndarray, " n"], ends: Int[np.ndarray, " n"], total: int
) -> Int[np.ndarray, " runs"]:
    """Run lengths out, in, out, ... of what lies in [start, end) of each piece."""
    edges = np.stack([starts, ends], 1).reshape(-1)
    return np.diff(np.concatenate([[0], edges, [total]]))


def _things(found: MaskObjects, label: str) -> list[AnnotatedObject]:
    runs = (
        np.split(found.runs, np.cumsum(found.lengths)[:-1]) if len(found.boxes) else []
    )
    return [
        AnnotatedObject(
            (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            label,
            outline=Outline(found.size, runs=own),
        )
        for box, own in zip(found.boxes.tolist(), runs, strict=True)
    ]


# --- files ----------------------------------------------------------------------------


def _places(root: Path) -> list[_Place]:
    """Where images and masks lie: in the root, by split, or by split inside."""
    images = next((name for name in _IMAGES if (root / name).is_dir()), None)
    masks = next((name for name in _MASKS if (root / name).is_dir()), None)
    if images and masks:
        inner = [
            path.name for path in sorted((root / images).iterdir()) if path.is_dir()
        ]
        splits = {name: split_of(name) for name in inner}
        both = {n: s for n, s in splits.items() if s and (root / masks / n).is_dir()}
        if both:
            return [
                _Place(split, f"{images}/{name}", f"{masks}/{name}")
                for name, split in both.items()
            ]
        return [_Place("train", images, masks)]
    found = []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        split = split_of(path.name) if path.is_dir() else None
        images = next((name for name in _IMAGES if (path / name).is_dir()), None)
        masks = next((name for name in _MASKS if (path / name).is_dir()), None)
        if split and images and masks:
            own = f"{path.name}/{images}", f"{path.name}/{masks}"
            found.append(_Place(split, *own))
    return found


def _pairs(root: Path, place: _Place, survey: Survey) -> dict[str, str]:
    """The mask of each image; one without the other is a problem."""
    images, masks = (
        _stems(root, folder, survey) for folder in (place.images, place.masks)
    )
    made = {}
    for stem, image in images.items():
        mask = next((masks.pop(stem + e) for e in _ENDINGS if stem + e in masks), None)
        if mask is not None:
            made[image] = mask
            continue
        what = f"has no mask {place.masks}/{stem}.png; a mask of zeros shows no object"
        survey.add(image, what, "layout")
    for stem, mask in masks.items():
        survey.add(mask, f"has no image {place.images}/{stem}", "layout")
    return made


def _stems(root: Path, folder: str, survey: Survey) -> dict[str, str]:
    """Images below a folder by stem; two of one stem, and other files, are problems."""
    found: dict[str, str] = {}
    for name in walk(root, root / folder, survey.problems):
        inner = name.removeprefix(f"{folder}/")
        stem, _, suffix = inner.rpartition(".")
        if f".{suffix.lower()}" not in SUFFIXES:
            survey.add(name, f"is not called {', '.join(SUFFIXES)}")
        elif composed(stem) in found:
            what = f"is called like {found[composed(stem)]}: keep one of them"
            survey.add(name, what, "layout")
        else:
            found[composed(stem)] = name
    return found


def _remembered(
    root: Path, names: Sequence[str], survey: Survey
) -> dict[str, MaskObjects]:
    """The objects of each mask, from the cache unless a file has changed."""
    sha = hashlib.sha256()
    for name in names:
        try:
            about = os.stat(root / name)
            sha.update(f"{name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
        except (OSError, ValueError):  # ValueError: no name of a file
            sha.update(f"{name}\0".encode())
    listed = read_digests(root)
    digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    key = {
        "version": _VERSION,
        "path": str(root),
        "masks": sha.hexdigest(),
        "digests": digest,
    }
    fresh: dict[str, MaskObjects] = {}
    own = Survey()

    def make() -> dict[str, np.ndarray]:
        fresh.update(_looked_at(root, names, own))
        good = list(fresh)
        problems = [(p.where, p.what, p.kind) for p in own.problems]
        said = json.dumps({"good": good, "problems": problems}).encode()
        counts = [len(fresh[name].boxes) for name in good]
        sizes = [fresh[name].size for name in good]
        # The cache takes no empty array: each has a row that nothing reads.
        return {
            "said": np.frombuffer(said, np.uint8),
            "sizes": np.array([*sizes, (0, 0)], np.int32),
            "counts": np.array([*counts, 0], np.int32),
            "boxes": np.concatenate(
                [*(fresh[n].boxes for n in good), np.zeros((1, 4), np.int32)]
            ),
            "lengths": np.concatenate(
                [*(fresh[n].lengths for n in good), np.zeros(1, np.int32)]
            ),
            "runs": np.concatenate(
                [*(fresh[n].runs for n in good), np.zeros(1, np.int32)]
            ),
        }

    arrays = cached("instance_masks", key, make)
    said = json.loads(arrays["said"].tobytes())
    for where, what, kind in said["problems"]:
        survey.add(where, what, kind)
    return dict(_unpacked(said["good"], arrays))


def _unpacked(
    names: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, MaskObjects]]:
    """The objects of each mask, as views of the arrays."""
    last = np.cumsum(arrays["counts"])
    ends = np.concatenate([[0], np.cumsum(arrays["lengths"])])
    for i, name in enumerate(names):
        begin, end = int(last[i] - arrays["counts"][i]), int(last[i])
        height, width = arrays["sizes"][i].tolist()
        yield (
            name,
            MaskObjects(
                (height, width),
                arrays["boxes"][begin:end],
                arrays["runs"][ends[begin] : ends[end]],
                arrays["lengths"][begin:end],
            ),
        )


def _looked_at(
    root: Path, names: Sequence[str], survey: Survey
) -> dict[str, MaskObjects]:
    """The objects of each mask that can be used, read by threads."""
    listed = read_digests(root)

    def one(name: str) -> MaskObjects | FileError:
        try:
            content = read(inside(root, name))
            verify(content, name, listed)
            return mask_objects(_values(content))
        except FileError as error:
            return error

    found = {}
    with strict_warnings(), ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, made in zip(names, pool.map(one, names), strict=True):
            if isinstance(made, FileError):
                survey.add(name, str(made), "mask")
            else:
                found[name] = made
    return found


def _values(content: bytes) -> Shaped[np.ndarray, "h w"]:
    """The numbers of a mask image, as they are stored.

    Raises:
        FileError: If it is not a whole image, or not of whole numbers, one a pixel.
    """
    kind = kind_of(content)
    if kind == "JPEG":
        raise FileError(
            "is a JPEG, which changes values near the edges: save masks as PNG"
        )
    try:
        plain = STRUCTURE[kind](content)
        with Image.open(io.BytesIO(plain), formats=[kind]) as image:
            check_header(image, kind, len(content), LARGEST_IMAGE)
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise FileError(
                    f"has pixels of mode {image.mode}; a mask has one whole number a "
                    "pixel: save it as a grey PNG of 8 or 16 bits"
                )
            values = np.array(image)
    except FileError:
        raise
    except Exception as error:  # damaged files raise anything
        reason = " ".join(str(error).split())[:200] or "no reason given"
        raise FileError(
            f"cannot be decoded: {reason} ({type(error).__name__})"
        ) from None
    if values.min() < 0:
        raise FileError(f"holds {values.min()}; a mask has whole numbers from 0")
    return values.astype(np.int32)
