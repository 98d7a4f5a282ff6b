"""Objects and detections in COCO's JSON: an annotation file and a results file.

The format is described at https://cocodataset.org/#format-data and `#format-results`.
Values here are what `json` reads and writes; no file is opened. Ids are written from 1,
because pycocotools never matches an annotation of id 0. Boxes are x, y, width, height
there and [y0, x0, y1, x1] here. Masks are written as compressed strings. Polygons are
read as well, and drawn as pycocotools draws them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnets import run_lengths
from jaxnets.run_lengths import RunLengths
from jaxnets.scores.objects import ImageDetections, ImageTruth, Overlap

Row = Mapping[str, Any]


class Annotations(NamedTuple):
    """What an annotation file holds; images and classes in the order of their ids."""

    truth: list[ImageTruth]
    classes: list[str]
    image_ids: list[int]
    class_ids: list[int]


def annotations_of(
    truth: Sequence[ImageTruth],
    classes: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    files: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Returns an annotation file: `images`, `annotations` and `categories`.

    Args:
        truth: One record an image.
        classes: Names, by label.
        sizes: Height and width of each image.
        files: The name of each image's file. None: numbers.

    Raises:
        ValueError: If the numbers of records, sizes and files differ.
    """
    files = [f"{i + 1:012d}.jpg" for i in range(len(truth))] if files is None else files
    if not len(truth) == len(sizes) == len(files):
        raise ValueError(
            f"{len(truth)} records, {len(sizes)} sizes and {len(files)} files: each "
            "image needs one of each"
        )
    rows: list[dict[str, Any]] = []
    for image, row in enumerate(truth, 1):
        boxes = row.boxes.astype(np.float64)
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        if row.area is not None:
            area = row.area
        elif row.masks is not None:
            area = run_lengths.areas(row.masks)
        for k, box in enumerate(_sides(boxes)):
            made = {
                "id": len(rows) + 1,
                "image_id": image,
                "category_id": int(row.labels[k]) + 1,
                "bbox": box,
                "area": float(area[k]),
                "iscrowd": int(row.ignore is not None and row.ignore[k]),
            }
            if row.masks is not None:
                made["segmentation"] = _segmentation(row.masks[k])
            rows.append(made)
    return {
        "images": [
            {"id": i, "file_name": name, "height": size[0], "width": size[1]}
            for i, (name, size) in enumerate(zip(files, sizes, strict=True), 1)
        ],
        "annotations": rows,
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
    }


def results_of(
    detections: Sequence[ImageDetections],
    *,
    of: Overlap = "boxes",
    image_ids: Sequence[int] | None = None,
    class_ids: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Returns a results file: one row a detection.

    A file has boxes or masks: of both, pycocotools takes areas from the boxes when it
    compares the masks.

    Args:
        detections: One record an image.
        of: What to write.
        image_ids: The id of each image. None: from 1.
        class_ids: The id of each class, by label. None: from 1.

    Raises:
        ValueError: If there are other numbers of images and ids, or masks are missing.
    """
    ids = range(1, len(detections) + 1) if image_ids is None else image_ids
    if len(ids) != len(detections):
        raise ValueError(f"{len(detections)} images have {len(ids)} ids")
    rows = []
    for image, row in zip(ids, detections, strict=True):
        if of == "masks" and row.masks is None and len(row.labels):
            raise ValueError(f"the detections of image {image} have no masks")
        boxes = _sides(row.boxes.astype(np.float64))
        for k, label in enumerate(row.labels.tolist()):
            made = {
                "image_id": image,
                "category_id": label + 1 if class_ids is None else class_ids[label],
                "score": float(row.scores[k]),
            }
            if of == "masks" and row.masks is not None:
                made["segmentation"] = _segmentation(row.masks[k])
            else:
                made["bbox"] = boxes[k]
            rows.append(made)
    return rows


def read_annotations(value: Row, *, masks: bool = False) -> Annotations:
    """Returns the records of an annotation file.

    Ids may have gaps. The order of images and classes is that of the ids.

    Args:
        value: What `json` made of the file.
        masks: Also read `segmentation`, which every annotation must then have.

    Raises:
        ValueError: If a list or an entry is missing, an id is unknown or there twice,
            or a segmentation is no mask.
    """
    lists = [value.get(key) for key in ("images", "annotations", "categories")]
    if not all(isinstance(rows, list) for rows in lists):
        raise ValueError("an annotation file has images, annotations and categories")
    images, rows, categories = ([*map(dict, part or ())] for part in lists)
    image_ids, class_ids = _ids("image", images), _ids("category", categories)
    names = {row["id"]: row["name"] for row in categories}
    by_image = _by_image("annotation", rows, image_ids, class_ids)
    sizes = (
        {r["id"]: (r.get("height"), r.get("width")) for r in images} if masks else {}
    )
    label = {key: i for i, key in enumerate(class_ids)}
    truth = []
    for key in image_ids:
        own = by_image[key]
        truth.append(
            ImageTruth(
                _corners([row["bbox"] for row in own]),
                np.array([label[row["category_id"]] for row in own], np.int64),
                np.array([bool(row.get("iscrowd", 0)) for row in own], bool),
                np.array([_area(row) for row in own], np.float64),
                [_mask(row, sizes[key]) for row in own] if masks else None,
            )
        )
    return Annotations(truth, [names[key] for key in class_ids], image_ids, class_ids)


def read_results(
    rows: Sequence[Row], annotations: Annotations
) -> list[ImageDetections]:
    """Returns the detections of a results file, one record an image.

    Rows without a box have the box around their mask.

    Args:
        rows: What `json` made of the file.
        annotations: Whose ids the file names.

    Raises:
        ValueError: If an entry is missing, an id is unknown, or only some rows have
            masks.
    """
    image_ids, class_ids = annotations.image_ids, annotations.class_ids
    masked = sum("segmentation" in row for row in rows)
    if masked not in (0, len(rows)):
        raise ValueError(
            f"{masked} of {len(rows)} results have masks: all must, or none"
        )
    by_image = _by_image("result", rows, image_ids, class_ids)
    label = {key: i for i, key in enumerate(class_ids)}
    found = []
    for key in image_ids:
        own = by_image[key]
        masks = [_mask(row, None) for row in own] if masked else None
        if masks is None or all("bbox" in row for row in own):
            boxes = _corners([row["bbox"] for row in own])
        else:
            boxes = run_lengths.boxes(masks)
        scores = np.array([row["score"] for row in own], np.float64)
        labels = np.array([label[row["category_id"]] for row in own], np.int64)
        found.append(ImageDetections(boxes, scores, labels, masks))
    return found


def _sides(boxes: np.ndarray) -> list[list[float]]:
    """x, y, width, height of each box."""
    y0, x0, y1, x1 = boxes.T
    return np.stack([x0, y0, x1 - x0, y1 - y0], axis=1).tolist()


def _corners(boxes: list[Any]) -> np.ndarray:
    x, y, width, height = np.array(boxes, np.float64).reshape(-1, 4).T
    return np.stack([y, x, y + height, x + width], axis=1)


def _segmentation(mask: RunLengths) -> dict[str, Any]:
    return {"size": list(mask.size), "counts": run_lengths.to_string(mask)}


def _mask(row: Row, size: tuple[Any, Any] | None) -> RunLengths:
    """The mask of a row, of polygons in an image of a size or of run lengths."""
    value = row.get("segmentation")
    if isinstance(value, Mapping) and {"size", "counts"} <= set(value):
        height, width = value["size"]
        if isinstance(value["counts"], str):
            return run_lengths.from_string(value["counts"], (height, width))
        return run_lengths.from_counts(value["counts"], (height, width))
    if isinstance(value, list) and value and size is not None and None not in size:
        return run_lengths.from_polygons(value, size)
    raise ValueError(
        f"the segmentation of {_said(row)} is neither run lengths nor polygons in an "
        "image with a height and a width"
    )


def _area(row: Row) -> float:
    return float(row["area"] if "area" in row else row["bbox"][2] * row["bbox"][3])


def _said(row: Row) -> str:
    return f"annotation {row['id']}" if "id" in row else f"image {row.get('image_id')}"


def _ids(kind: str, rows: Sequence[Row]) -> list[int]:
    """All ids in rising order."""
    if not all(type(row.get("id")) is int for row in rows):
        raise ValueError(f"an entry of kind {kind} has no whole number as its id")
    ids = sorted(row["id"] for row in rows)
    if len(set(ids)) != len(ids):
        raise ValueError(f"an id of kind {kind} is there twice")
    return ids


def _by_image(
    kind: str, rows: Sequence[Row], image_ids: list[int], class_ids: list[int]
) -> dict[int, list[Row]]:
    """The rows of each image, after checking what they name."""
    made: dict[int, list[Row]] = {key: [] for key in image_ids}
    known = set(class_ids)
    needed = {"image_id", "category_id"}
    needed |= {"score"} if kind == "result" else set()
    for place, row in enumerate(rows):
        box = set() if kind == "result" and "segmentation" in row else {"bbox"}
        if missing := sorted((needed | box) - set(row)):
            raise ValueError(f"{kind} number {place} has no {', '.join(missing)}")
        if "bbox" in row and len(row["bbox"]) != 4:
            raise ValueError(f"{kind} number {place} has the box {row['bbox']}")
        if row["image_id"] not in made:
            raise ValueError(f"{kind} number {place}: no image {row['image_id']}")
        if row["category_id"] not in known:
            raise ValueError(f"{kind} number {place}: no category {row['category_id']}")
        made[row["image_id"]].append(row)
    return made
