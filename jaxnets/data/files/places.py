"""Where the image lies that a file of annotations or captions names."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.problems import left_out


def say_unlisted(root: Path, listed: Iterable[str], remedy: str) -> None:
    """Counts the images that lie beside listed ones and that no file lists.

    Args:
        root: The folder of the data set.
        listed: Files that are listed, relative to it.
        remedy: What to do to use the others.
    """
    known = set(listed)
    there = set()
    for folder in {PurePosixPath(name).parent.as_posix() for name in known}:
        place = root / folder
        names = os.listdir(place) if place.is_dir() else []
        there |= {
            name if folder == "." else f"{folder}/{name}"
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        }
    left_out(root.name, len(there - known), len(there), "images are not listed", remedy)


class ImageFinder:
    """Finds images by the names that annotation tools write.

    A name is tried as it is, with slashes for the backslashes of Windows, without the
    folders in front of it (paths of another machine), decoded (addresses, `%20`), with
    an ending added, in another case, and with accents composed or apart (Unicode's NFC
    and NFD; macOS writes the latter); each in every folder, in their order. Nothing is
    opened: whoever reads the file checks that it lies inside the root.
    """

    def __init__(self, root: Path, folders: Iterable[str]) -> None:
        """Passes over folders that do not exist.

        Args:
            root: Names are relative to it.
            folders: Relative to the root, with forward slashes; "" is the root.
        """
        self._root = root
        self._folders = [f for f in dict.fromkeys(folders) if (root / f).is_dir()]
        self._lower: dict[str, list[str]] | None = None
        self._composed: dict[str, dict[str, str]] = {}  # entries of folders, by NFC

    def find(self, name: str) -> str:
        """The file relative to the root; the name itself if no file fits."""
        return self.found(name) or name

    def found(self, name: str) -> str | None:
        """The file relative to the root; None if no file fits."""
        spellings = _spellings(name)
        for suffix in ("", *SUFFIXES):
            for written in spellings:
                if found := self._exact(written + suffix):
                    return found
                if found := self._in_another_form(written + suffix):
                    return found
        return self._in_another_case(spellings[-1])

    def _exact(self, name: str) -> str | None:
        if name == "." or name.startswith("/") or ".." in name.split("/"):
            return None
        for folder in self._folders:
            path = f"{folder}/{name}" if folder else name
            if os.path.isfile(os.path.join(self._root, path)):
                return path
        return None

    def _in_another_form(self, name: str) -> str | None:
        """The file whose folders and name differ in Unicode's form at most."""
        if name.isascii() or name.startswith("/") or ".." in name.split("/"):
            return None
        for folder in self._folders:
            path: str | None = folder
            for part in composed(name).split("/"):
                path = path if path is None else self._entries(path).get(part)
            if path is not None and os.path.isfile(self._root / path):
                return path
        return None

    def _entries(self, folder: str) -> dict[str, str]:
        """Paths of what a folder holds, by their names in NFC; empty if it is none."""
        if folder not in self._composed:
            place = self._root / folder
            names = sorted(os.listdir(place)) if os.path.isdir(place) else []
            self._composed[folder] = {
                composed(name): f"{folder}/{name}" if folder else name for name in names
            }
        return self._composed[folder]

    def _in_another_case(self, last: str) -> str | None:
        """The only file whose name differs in upper and lower case at most."""
        if self._lower is None:
            self._lower = {}
            for folder in self._folders:
                for entry in os.scandir(self._root / folder):
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    self._lower.setdefault(_caseless(entry.name), []).append(path)
        found = self._lower.get(_caseless(last), [])
        return found[0] if len(found) == 1 else None


def composed(name: str) -> str:
    """The name with every accent in its letter (NFC), as most systems write it."""
    return unicodedata.normalize("NFC", name)


def _caseless(name: str) -> str:
    return composed(composed(name).lower())


def _spellings(name: str) -> list[str]:
    """The name as it is, with slashes, without folders, and decoded; each once."""
    # One spelling of each path: `./a//b` is `a/b`.
    given, plain = (
        PurePosixPath(text).as_posix() for text in (name, name.replace("\\", "/"))
    )
    last = plain.rsplit("/", 1)[-1]
    address = "://" in name or "%" in last
    decoded = unquote(last.split("?")[0]) if address else last
    return list(dict.fromkeys((given, plain, last, decoded)))
