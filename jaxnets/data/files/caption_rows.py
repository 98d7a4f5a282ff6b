"""A row of a list of captions, and the names that its parts go by."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxnets.data.files.problems import FileError

_IMAGE = ("image", "file_name", "filename", "file", "path", "image_name", "image_path")
IMAGE_NAMES = (*_IMAGE, "filepath", "img", "photo", "image_id")
_CAPTION = ("caption", "captions", "text", "sentence", "comment", "description")
_CAPTION_NAMES = (*_CAPTION, "sentences", "texts", "comments", "raw")
_NUMBERED = re.compile(r"(caption|text|sentence|comment|description|raw)[ _.-]?\d+")
_JSON_LISTS = (
    "A cell with several captions holds a list in JSON, for example by pandas: "
    "`df[name].map(ast.literal_eval).map(json.dumps)`, or has a row for each caption"
)


class CaptionRow(NamedTuple):
    """One row of a list; nothing of it has been checked."""

    where: str  # for messages
    image: Any
    captions: Any  # one, or a list
    split: Any  # None: not said


def refuse_lists_of_python(rows: Sequence[CaptionRow]) -> None:
    """Raises if every row has the list as which Python and pandas print captions."""
    texts = [(row.where, text) for row in rows for text in row.captions]
    if texts and all(text.startswith(("['", '["')) for _, text in texts):
        where, text = texts[0]
        raise FileError(
            f"holds lists that are not JSON, the first in {where.partition(', ')[2]}: "
            f"{text[:40]}. {_JSON_LISTS}"
        )


def is_caption(column: str) -> bool:
    """Whether a column or key holds captions, by its name: `caption`, `caption_2`."""
    return column in _CAPTION_NAMES or bool(_NUMBERED.fullmatch(column))


def filled(captions: list[Any]) -> list[Any]:
    """Each caption once; empty ones only if all are: an image may have fewer."""
    once = list({repr(text): text for text in captions}.values())
    return [text for text in once if text not in (None, "")] or once
