"""XML read strictly: bounded, no entities, nothing fetched."""

import io
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from jaxnets.data.files.problems import FileError

LARGEST_XML = 2**20
_DEEPEST = 20


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


def text_at(tree: Element, path: str) -> str:
    """The text of the first element at a path.

    Raises:
        FileError: If there is none, or it is empty.
    """
    text = (tree.findtext(path) or "").strip()
    if not text:
        raise FileError(f"has no <{path}>")
    return text


def number_at(tree: Element, path: str) -> float:
    """The number in the first element at a path.

    Raises:
        FileError: If there is none.
    """
    text = text_at(tree, path)
    try:
        return float(text)
    except ValueError:
        raise FileError(f"has {text!r} in <{path}>, not a number") from None
