"""Data sets from local folders: labelled images, captioned images, and by their looks.

Whatever is wrong with a file is a problem with a name. By default the first look at the
data stops there, with a count; `skip_bad=True` leaves bad examples out and says how
many. `python -m jaxnets.data check` lists them all. Nothing outside the folder is read.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxnets.data.dataset import DataError, Dataset
from jaxnets.data.files.caption_folders import captioned_folder
from jaxnets.data.files.caption_lists import (
    has_captions,
)
from jaxnets.data.files.class_folders import OTHER_IMAGES, image_folder
from jaxnets.data.files.coco import coco_folder, is_coco
from jaxnets.data.files.foreign import foreign
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.labelled_lines import labelled_lines, looks_labelled
from jaxnets.data.files.loading import (
    read_json,
)
from jaxnets.data.files.mask_images import is_masks, mask_folder
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import (
    existing_folder,
    is_hidden,
    is_open_folder,
)
from jaxnets.data.files.sentences import has_pairs, sentence_pairs, text_files
from jaxnets.data.files.voc import is_voc, voc_folder
from jaxnets.data.files.yolo import yolo_folder
from jaxnets.data.files.yolo_places import is_yolo


def folder(path: Path, **options: Any) -> Dataset:
    """The data set that a path holds, by its looks; see `kind_of`.

    Args:
        path: A folder, or a file.
        **options: For the function of that kind.

    Raises:
        DataError: If it looks like nothing known, or anything is wrong with it.
    """
    return KINDS[kind_of(path)](path, **options)


def kind_of(path: Path) -> str:
    """What a path looks like: a key of `KINDS`.

    Raises:
        DataError: If it is missing or looks like none of them.
    """
    if path.is_file():
        kinds = {".tsv": "pairs", ".txt": "text"}
        if path.suffix.lower() == ".csv" or (
            path.suffix.lower() == ".tsv" and looks_labelled(path)
        ):
            return "labels"
        if path.suffix.lower() in kinds:
            return kinds[path.suffix.lower()]
        raise DataError(
            f"{path} is a file that ends in none of .tsv, .csv and .txt: say what it "
            "holds by --kind text, pairs or labels, or give the folder"
        )
    existing_folder(path)
    if is_voc(path):
        return "voc"
    if is_coco(path):
        return "coco"
    if is_yolo(path):
        return "yolo"
    if is_masks(path):
        return "masks"
    if has_captions(path):
        return "captions"
    tables = [p for p in path.glob("[!.]*") if p.suffix.lower() in (".tsv", ".csv")]
    tables.sort(key=lambda p: (not p.name.startswith("train"), p.name))
    if tables and looks_labelled(tables[0]):
        return "labels"
    suffixes = {p.suffix.lower() for p in path.iterdir() if p.is_file()}
    folders = [p for p in path.iterdir() if is_open_folder(p)]
    unread = _tables_and_json(path)
    if unread and len(folders) < 2:
        return "captions"  # the reader says what is wrong with them
    if folders:
        for name in unread:
            noted(path.name, f"{name} lists no captions and is not read")
        return _kind_below(path)
    if ".tsv" in suffixes or has_pairs(path):
        return "pairs"
    if ".txt" in suffixes:
        return "text"
    raise DataError(
        f"{path} looks like no data set: expected class/name.png, a .csv or .json of "
        "captions, annotations of COCO, VOC or YOLO, images/ beside masks/, .txt files "
        "or a .tsv of sentence pairs"
    )


def _kind_below(root: Path) -> str:
    """What a folder of folders holds: texts, if no image is anywhere in them."""
    tables, suffixes = list[Path](), set[str]()
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        here = [Path(place, name) for name in sorted(files) if not is_hidden(name)]
        found = {path.suffix.lower() for path in here}
        if found & {*SUFFIXES, *OTHER_IMAGES}:
            return "images"
        tables += [path for path in here if path.suffix.lower() in (".tsv", ".csv")]
        suffixes |= found
    if tables and looks_labelled(tables[0]):
        return "labels"
    if ".tsv" in suffixes:
        return "pairs"
    return "text" if ".txt" in suffixes else "images"


def _tables_and_json(root: Path) -> list[str]:
    """CSV and JSON files that are not hidden.

    Raises:
        DataError: If one of them is an annotation file of a format that is not read.
    """
    visible = sorted(p for p in root.iterdir() if p.is_file() and p.name[0] != ".")
    names = [p.name for p in visible if p.suffix.lower() in (".csv", ".json", ".jsonl")]
    for name in (n for n in names if n.lower().endswith(".json")):
        try:
            refused = foreign(read_json(root, name))
        except FileError:
            continue
        if refused:
            raise DataError(f"{root}: {name} {refused}")
    return names


KINDS: dict[str, Callable[..., Dataset]] = {
    "images": image_folder,
    "captions": captioned_folder,
    "coco": coco_folder,
    "voc": voc_folder,
    "yolo": yolo_folder,
    "masks": mask_folder,
    "pairs": sentence_pairs,
    "labels": labelled_lines,
    "text": text_files,
}
