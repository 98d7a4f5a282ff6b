"""What a record of a labelled, captioned, annotated or written example becomes.

Each function looks at the features of a set that TFDS describes and returns a
`ColumnPlan`. The features are told apart by the names of their classes, so that nothing
here imports tensorflow_datasets.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxnets.data.dataset import DataError, Feature
from jaxnets.data.store.records import ColumnPlan, ImageField, Packed

SIDE = 160  # of images that differ in size, unless the caller says otherwise
ColumnPlanner = Callable[
    [str, Mapping[str, Any]], ColumnPlan
]  # from the set's name and features


def labelled(label: str | None, size: int | None) -> ColumnPlanner:
    """Columns `image` and `label`.

    Args:
        label: Which feature; None is the only one, or the one called `label`.
        size: Side of the square that images are cut to; None keeps those of one size.
    """

    def plan(name: str, features: Mapping[str, Any]) -> ColumnPlan:
        key = _one(name, features, "Image", "image")
        chosen = _one(name, features, "ClassLabel", "label", label)
        picture = _picture(key, features[key].shape, size, stretch=False)
        classes = tuple(features[chosen].names)

        def pack(said: Mapping[str, list[Any]]) -> Packed:
            labels = {s: np.array(rows, np.int32) for s, rows in said.items()}
            described = {
                "image": _pixels(picture),
                "label": Feature((), "int32", 0, len(classes) - 1, classes),
            }
            columns = {s: {"label": rows} for s, rows in labels.items()}
            return Packed(columns, described, labels)

        return ColumnPlan(picture, lambda record: int(record[chosen]), pack)

    return plan


def captioned(size: int | None) -> ColumnPlanner:
    """Columns `image` and `captions`, a tuple of strings an image."""

    def plan(name: str, features: Mapping[str, Any]) -> ColumnPlan:
        key = _one(name, features, "Image", "image")
        if "captions" not in features:
            raise DataError(f"{name} has no feature `captions`, only {list(features)}")
        picture = _picture(key, features[key].shape, size, stretch=False)

        def annotate(record: Mapping[str, Any]) -> tuple[str, list[str]]:
            captions = record["captions"]
            texts = captions["text"] if isinstance(captions, Mapping) else captions
            return _name(record), [_text(text, name) for text in texts]

        def pack(said: Mapping[str, list[Any]]) -> Packed:
            columns = {
                split: {"captions": [texts for _, texts in rows], **_ids(rows)}
                for split, rows in said.items()
            }
            described = {"image": _pixels(picture), "captions": Feature((), "object")}
            return Packed(columns, described, _no_strata(said))

        return ColumnPlan(picture, annotate, pack)

    return plan


def boxed(size: int | None, *, pad: bool = False) -> ColumnPlanner:
    """Columns `image`, `boxes`, `label`, `present` and `ignore`, `n` objects an image.

    `boxes` are [y0, x0, y1, x1] in pixels of the stretched image, also with `pad`: how
    large images are is known once they are decoded. Images with fewer
    objects are padded: `present` is False there. `ignore` marks crowds (COCO) and
    difficult objects (VOC), which are neither learned nor counted.
    """

    def plan(name: str, features: Mapping[str, Any]) -> ColumnPlan:
        key = _one(name, features, "Image", "image")
        if "objects" not in features:
            raise DataError(f"{name} has no feature `objects`, only {list(features)}")
        kinds = features["objects"].feature
        classes = tuple(kinds["label"].names)
        picture = _picture(key, features[key].shape, size, stretch=True)
        if pad and picture.fit == "stretch":
            picture = picture._replace(fit="pad")
        flag = next((f for f in ("is_crowd", "is_difficult") if f in kinds), None)

        def annotate(record: Mapping[str, Any]) -> tuple[str, Any]:
            objects = record["objects"]
            boxes = np.asarray(objects["bbox"], np.float32).reshape(-1, 4)
            label = np.asarray(objects["label"], np.int32).reshape(-1)
            ignore = np.zeros(len(label), bool)
            if flag is not None:
                ignore = np.asarray(objects[flag], bool).reshape(-1)
            return _name(record), (boxes, label, ignore)

        def pack(said: Mapping[str, list[Any]]) -> Packed:
            most = max((len(a[1]) for r in said.values() for _, a in r), default=0)
            columns = {
                split: {**_padded(rows, max(most, 1), picture), **_ids(rows)}
                for split, rows in said.items()
            }
            for split, made in columns.items():
                _check_boxes(made["boxes"], made["present"], f"{name}, {split}")
            n, side = max(most, 1), float(max(picture.shape[:2]))
            described = {
                "image": _pixels(picture),
                "boxes": Feature((n, 4), "float32", 0, side),
                "label": Feature((n,), "int32", 0, len(classes) - 1, classes),
                "present": Feature((n,), "bool"),
                "ignore": Feature((n,), "bool"),
            }
            return Packed(columns, described, _object_strata(columns))

        return ColumnPlan(picture, annotate, pack)

    return plan


def written(text: str | None, label: str | None) -> ColumnPlanner:
    """A column `text` of strings, and `label` where the set has one.

    Args:
        text: Which feature; None is the only one, or the one called `text`.
        label: Likewise.
    """

    def plan(name: str, features: Mapping[str, Any]) -> ColumnPlan:
        chosen = _one(name, features, "Text", "text", text)
        labels = [k for k, f in features.items() if _kind(f) == "ClassLabel"]
        of = _one(name, features, "ClassLabel", "label", label) if labels else None
        classes = tuple(features[of].names) if of else ()

        def annotate(record: Mapping[str, Any]) -> tuple[str, int]:
            return _text(record[chosen], name), int(record[of]) if of else 0

        def pack(said: Mapping[str, list[Any]]) -> Packed:
            described = {"text": Feature((), "object")}
            columns = {s: {"text": [t for t, _ in rows]} for s, rows in said.items()}
            strata = {s: np.array([n for _, n in r], np.int32) for s, r in said.items()}
            if of:
                described["label"] = Feature((), "int32", 0, len(classes) - 1, classes)
                columns = {s: {**c, "label": strata[s]} for s, c in columns.items()}
            return Packed(columns, described, strata)

        return ColumnPlan(None, annotate, pack)

    return plan


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _one(
    name: str,
    features: Mapping[str, Any],
    kind: str,
    usual: str,
    chosen: str | None = None,
) -> str:
    """The feature of a kind that was asked for, is usual, or is the only one.

    Raises:
        DataError: If there is none, or it is not clear which.
    """
    found = [key for key, feature in features.items() if _kind(feature) == kind]
    if chosen is not None and chosen in found:
        return chosen
    if chosen is None and usual in found:
        return usual
    if chosen is None and len(found) == 1:
        return found[0]
    asked = f"`{chosen}` is not one of" if chosen else "choose from"
    raise DataError(
        f"{name} has {len(found)} features of type {kind}: {asked} {found}. It has "
        f"{ {key: _kind(feature) for key, feature in features.items()} }"
    )


def _picture(
    key: str, shape: tuple[int | None, ...], size: int | None, *, stretch: bool
) -> ImageField:
    height, width, channels = shape
    if size is None and height is not None and width is not None:
        return ImageField(key, (height, width, channels or 3), "whole")
    side = SIDE if size is None else size
    return ImageField(
        key, (side, side, channels or 3), "stretch" if stretch else "crop"
    )


def _pixels(picture: ImageField) -> Feature:
    return Feature(picture.shape, "uint8", 0, 255)


def _text(value: Any, name: str) -> str:
    try:
        return value if isinstance(value, str) else bytes(value).decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: a text is not UTF-8 ({error})") from error


def _name(record: Mapping[str, Any]) -> str:
    """What the source calls the example, or nothing."""
    for key in ("image/id", "image/filename", "id"):
        if key in record:
            value = record[key]
            return value.decode() if isinstance(value, bytes) else str(value)
    return ""


def _ids(rows: list[tuple[str, Any]]) -> dict[str, list[str]]:
    names = [name for name, _ in rows]
    return {"ids": names} if names and all(names) else {}


def _no_strata(said: Mapping[str, list[Any]]) -> dict[str, np.ndarray]:
    return {split: np.zeros(len(rows), np.int32) for split, rows in said.items()}


def _padded(
    rows: list[tuple[str, Any]], n: int, picture: ImageField
) -> dict[str, np.ndarray]:
    height, width, _ = picture.shape
    made: dict[str, np.ndarray] = {
        "boxes": np.zeros((len(rows), n, 4), np.float32),
        "label": np.zeros((len(rows), n), np.int32),
        "present": np.zeros((len(rows), n), bool),
        "ignore": np.zeros((len(rows), n), bool),
    }
    for i, (_, (boxes, label, ignore)) in enumerate(rows):
        count = len(label)
        made["boxes"][i, :count] = boxes * np.array([height, width] * 2, np.float32)
        made["label"][i, :count] = label
        made["present"][i, :count] = True
        made["ignore"][i, :count] = ignore
    return made


def _check_boxes(boxes: np.ndarray, present: np.ndarray, where: str) -> None:
    """Raises if a box is not finite or not ordered."""
    ordered = (boxes[..., :2] <= boxes[..., 2:]).all(-1) & np.isfinite(boxes).all(-1)
    bad = present & ~ordered
    if bad.any():
        i, j = (int(k) for k in np.argwhere(bad)[0])
        raise DataError(
            f"{where}: box {j} of example {i} is {boxes[i, j].tolist()}, not "
            f"[y0, x0, y1, x1] in order ({int(bad.sum())} boxes)"
        )


def _object_strata(columns: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """0 for every example; -1 throughout a split that has no object: unlabelled."""
    return {
        split: np.full(len(made["label"]), 0 if made["present"].any() else -1, np.int32)
        for split, made in columns.items()
    }
