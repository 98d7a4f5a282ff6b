"""Formats of annotation tools that are not read, recognised so that they are refused.

Labelme (https://github.com/wkentaro/labelme), the VGG Image Annotator
(https://www.robots.ox.ac.uk/~vgg/software/via/), Label Studio
(https://labelstud.io/guide/export), Apple's Create ML, and COCO's panoptic files.
"""

from typing import Any


def foreign(value: Any) -> str | None:
    """What a message says about a JSON value in the format of one of these tools.

    Args:
        value: What the file holds.

    Returns:
        The end of a sentence that begins with the name of the file; None for others.
    """
    if isinstance(value, list):
        tool = _of_list(value)
    elif isinstance(value, dict):
        tool = _of_object(value)
    else:
        return None
    if tool is None:
        return None
    return f"is in the format of {tool}, which is not read: export COCO, YOLO or VOC"


def _of_list(value: list[Any]) -> str | None:
    first = value[0] if value else None
    if not isinstance(first, dict):
        return None
    if "data" in first and ("annotations" in first or "predictions" in first):
        return "Label Studio"
    rows = first.get("annotations")
    if "image" in first and _each_has(rows, "coordinates"):
        return "Create ML"
    return None


def _of_object(value: dict[str, Any]) -> str | None:
    if "shapes" in value and "imagePath" in value:
        return "Labelme"
    if "_via_img_metadata" in value or "_via_settings" in value:
        return "the VGG Image Annotator (VIA)"
    if _each_has(list(value.values()), "regions"):
        return "the VGG Image Annotator (VIA)"
    if _each_has(value.get("annotations"), "segments_info"):
        return "COCO's panoptic task"
    return None


def _each_has(rows: Any, key: str) -> bool:
    """Whether this is a list of objects whose first one has the key."""
    return bool(
        isinstance(rows, list) and rows and isinstance(rows[0], dict) and key in rows[0]
    )
