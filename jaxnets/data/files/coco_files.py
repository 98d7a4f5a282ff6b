"""Which files of a folder are annotations in the format of COCO, and of which split."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from jaxnets.data.dataset import DataError
from jaxnets.data.files.loading import (
    SPLITS,
    split_of,
)
from jaxnets.data.files.problems import FileError, noted
from jaxnets.data.files.reading import inside, read

AnnotationKind = Literal["instances", "captions"]


def caption_files(root: Path) -> dict[str, str]:
    """Split to JSON file, of those that look like COCO's captions; none: empty.

    Raises:
        DataError: If two are for one split.
    """
    names = [n for n in candidates(root) if looks_like_coco(root, n, b'"caption"')]
    return _by_split(root, names)


def looks_like_coco(root: Path, name: str, key: bytes) -> bool:
    """Whether the file has images, and annotations with the key or without either."""
    try:
        content = read(inside(root, name), limit=2**30)
    except FileError:
        return False
    if b'"images"' not in content or b'"annotations"' not in content:
        return False
    other = b'"caption"' if key == b'"bbox"' else b'"bbox"'
    return key in content or (key == b'"bbox"' and other not in content)


def candidates(root: Path) -> list[str]:
    """JSON files in the folder, in `annotations/` and in the folders of splits."""
    folders = [p for p in root.iterdir() if p.is_dir() and split_of(p.name)]
    places = [root, root / "annotations", *folders]
    paths = [p for place in places if place.is_dir() for p in place.glob("*.json")]
    return sorted(
        p.relative_to(root).as_posix() for p in paths if not p.name.startswith(".")
    )


def files_of(root: Path, task: AnnotationKind) -> dict[str, str]:
    """Split to JSON file.

    Raises:
        DataError: If there is none, or two are for one split.
    """
    names = candidates(root)
    key = b'"bbox"' if task == "instances" else b'"caption"'
    called = [name for name in names if Path(name).stem.startswith(f"{task}_")]
    chosen = called or [n for n in names if looks_like_coco(root, n, key)] or names
    found = _by_split(root, chosen)
    if not found:
        raise DataError(f"{root} holds no annotations: no .json, no annotations/")
    return found


def _by_split(root: Path, names: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        path = PurePosixPath(name)
        words = [*re.split(r"[_\-. ]", path.stem), path.parent.name]
        said = next((s for word in words if (s := split_of(word))), None)
        split = said or "train"
        if split in found:
            raise DataError(
                f"{root}: both {found[split]} and {name} are for {split}: name them "
                "after their splits, for example instances_train.json"
            )
        if said is None:
            noted(root.name, f"no split in the name of {name}: all of it is train")
        found[split] = name
    return {split: found[split] for split in SPLITS if split in found}
