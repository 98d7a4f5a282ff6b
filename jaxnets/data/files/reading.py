"""Files that somebody else wrote: inside one folder, bounded, verified, counted.

What is wrong is collected as `Problem`s, so that a loader can stop at them and a check
can list them all, from the same code.
"""

import codecs
import difflib
import mmap
import os
import stat
from pathlib import Path, PurePosixPath

from jaxnets.data.dataset import DataError
from jaxnets.data.files.problems import FileError, Problem, printable

LARGEST = 2**28  # bytes of one file of images or annotations
_SYSTEM_NAMES = {  # what Windows, macOS, Linux and network disks put into folders
    *("thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),
    *("__macosx", "icon\r", "lost+found", "@eadir"),
}
PROGRAM_FOLDERS = {  # what programs keep beside a user's files
    *(".ipynb_checkpoints", ".git", ".cache", ".jaxnets", ".thumbnails", ".Trashes"),
    *(".Spotlight-V100", ".fseventsd", ".dvc", ".idea", ".vscode", ".venv"),
}
_ARCHIVES = {
    ".zip": "unzip {0} -d {1}",
    ".tar": "mkdir {1} && tar -xf {0} -C {1}",
    ".tgz": "mkdir {1} && tar -xf {0} -C {1}",
    ".tar.gz": "mkdir {1} && tar -xf {0} -C {1}",
    ".tar.bz2": "mkdir {1} && tar -xf {0} -C {1}",
    ".tar.xz": "mkdir {1} && tar -xf {0} -C {1}",
}
_AS_TEXT = "save it as plain text (UTF-8)"
_AS_TABLE = "save it as CSV (UTF-8)"
_STARTS = {  # of files that are no text: what they are, and what to do
    b"\x1f\x8b": ("a gzip file", "unpack it, for example with `gunzip OLD.gz`"),
    b"BZh91AY&SY": ("a bzip2 file", "unpack it, for example with `bunzip2 OLD.bz2`"),
    b"\xfd7zXZ\0": ("an xz file", "unpack it, for example with `unxz OLD.xz`"),
    b"\x28\xb5\x2f\xfd": (
        "a zstd file",
        "unpack it, for example with `unzstd OLD.zst`",
    ),
    b"7z\xbc\xaf\x27\x1c": (
        "a 7-Zip archive",
        "unpack it, for example with `7z x OLD`",
    ),
    b"Rar!\x1a\x07": ("a RAR archive", "unpack it, for example with `unrar x OLD`"),
    b"%PDF-": ("a PDF", "convert it, for example with `pdftotext OLD NEW`"),
    b"{\\rtf": ("a document in RTF", _AS_TEXT),
    b"\xd0\xcf\x11\xe0": ("a document of old Word or Excel", f"{_AS_TEXT} or CSV"),
    b"PAR1\x15": (
        "a Parquet file",
        "convert it to CSV or TSV, for example with pandas",
    ),
    b"ARROW1\0": ("an Arrow file", "convert it to CSV or TSV, for example with pandas"),
    b"SQLite format 3\0": ("a SQLite database", "export a table of it as CSV"),
    b"\x89PNG": ("a PNG image", "give a file of text"),
    b"\xff\xd8\xff": ("a JPEG image", "give a file of text"),
}
_INSIDE_ZIP = {
    b"word/document.xml": ("a Word document", _AS_TEXT),
    b"xl/workbook.xml": ("an Excel workbook", _AS_TABLE),
    b"application/vnd.oasis.opendocument.text": ("an OpenDocument text", _AS_TEXT),
    b"application/vnd.oasis.opendocument.spreadsheet": (
        *("an OpenDocument spreadsheet", _AS_TABLE),
    ),
    b"application/epub+zip": ("an EPUB book", "convert it with `pandoc OLD -t plain`"),
}

ALONE = (
    "has lines that end at a carriage return alone; convert it, for example with "
    "`tr '\\r' '\\n' < OLD > NEW`"
)


def is_path(name: str) -> bool:
    """Whether `--data` names a file or folder, rather than a data set.

    True for what is there, and for what looks like a path: `./photos`, `photos/`,
    `~/photos`, `/data/photos`.
    """
    like_one = name.startswith(("/", ".", "~")) or name.endswith("/")
    return like_one or os.path.exists(os.path.expanduser(name))


def given_path(name: str) -> Path:
    """The file or folder that `--data` names; `~` is the home folder.

    Raises:
        DataError: If the name is not UTF-8, which the settings of a run are.
    """
    if name != os.fsencode(name).decode("utf-8", "replace"):
        raise DataError(
            f"the path {printable(name)} is not UTF-8, but the settings of a run "
            "are: rename it, or give a link to it (`ln -s`)"
        )
    return Path(os.path.expanduser(name))


def inside(root: Path, name: str) -> Path:
    """The path of `name` under `root`, once it is sure that it stays there.

    Args:
        root: A folder.
        name: Relative, with forward slashes.

    Raises:
        FileError: If the name is empty, absolute or too long, has `..` or a NUL in it,
            or leads out of the folder through a link, or in a circle.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise FileError(f"the name {name!r} may lead out of the folder")
    try:
        if any(len(os.fsencode(part)) > 255 for part in parts) or len(parts) > 99:
            raise FileError("has a name that is too long")
        path = root.joinpath(*parts)
        there = path.resolve()
    except (OSError, RuntimeError, UnicodeError):  # a circle of links; half a character
        raise FileError(f"the name {name!r} leads nowhere") from None
    if not there.is_relative_to(root.resolve()):
        raise FileError("is a link that leads out of the folder")
    return path


class Inside:
    """`inside` for the names of many files: a folder's links are followed once."""

    def __init__(self, root: Path) -> None:
        """Nothing outside of the root is ever found."""
        self._root, self._real = root, root.resolve()
        self._folders: dict[str, Path] = {}

    def __call__(self, name: str) -> Path:
        """The path of a file under the root.

        Args:
            name: Relative, with forward slashes.

        Raises:
            FileError: As `inside`.
        """
        folder, _, base = name.rpartition("/")
        known = self._folders.get(folder)
        if known is None:
            path = inside(self._root, name)
            if folder and not path.is_symlink():
                self._folders[folder] = path.parent
            return path
        if base in ("", ".", "..") or "\0" in base or len(os.fsencode(base)) > 255:
            return inside(self._root, name)
        path = known / base
        return inside(self._root, name) if path.is_symlink() else path


def existing_folder(path: Path) -> Path:
    """The folder at this path, with its links followed.

    Raises:
        DataError: If it is missing, a file, or may not be read. The message names the
            folders beside it that have a similar name, or how to unpack an archive.
    """
    shown = printable(str(path))
    if os.path.isfile(path):
        name = path.name.lower()
        how = next((_ARCHIVES[end] for end in _ARCHIVES if name.endswith(end)), None)
        target = path.with_name(path.name.split(".")[0] or "unpacked")
        remedy = how and f"unpack it with `{how.format(path, target)}`"
        raise DataError(
            f"{shown} is a file, not a folder: "
            f"{printable(remedy) if remedy else 'give the folder that holds it'}"
        )
    if not os.path.isdir(path):
        near = [printable(name) for name in _similar_names(path)]
        hint = f"; similar names beside it: {', '.join(near)}" if near else ""
        raise DataError(f"{shown} is not a folder: nothing is there{hint}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise DataError(f"{shown} may not be read: use `chmod u+rx` on it")
    return path.resolve()


def _similar_names(path: Path) -> list[str]:
    try:
        beside = [p.name for p in path.parent.iterdir() if os.path.isdir(p)]
    except OSError:
        return []
    lower = {name.lower(): name for name in sorted(beside) if not is_hidden(name)}
    return [lower[n] for n in difflib.get_close_matches(path.name.lower(), lower)]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not the user's: `.DS_Store`, `._1.jpg`, `Thumbs.db`.

    Names that begin with a dot hide copies and previews (`.ipynb_checkpoints`).
    """
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def visible(folder: Path) -> list[Path]:
    """Files and folders in a folder that are not hidden, in the order of their names.

    Raises:
        FileError: If the folder cannot be read.
    """
    try:
        found = [path for path in folder.iterdir() if not is_hidden(path.name)]
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None
    return sorted(found, key=lambda path: path.name)


def read(path: Path, *, limit: int = LARGEST) -> bytes:
    """All bytes of a regular file.

    Args:
        path: As `inside` returns it.
        limit: The largest size that is read; the file's size is compared before.

    Raises:
        FileError: If it is missing, no regular file, empty, too large or unreadable.
    """
    return read_with_status(path, limit=limit)[0]


def read_with_status(
    path: Path, *, limit: int = LARGEST
) -> tuple[bytes, os.stat_result]:
    """As `read`, with what the system knew of the file before."""
    status = regular(path, limit=limit)
    try:
        with path.open("rb") as file:
            # Python allocates what is asked for: no more than there should be.
            content = file.read(status.st_size + 1)
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None
    if len(content) > status.st_size:
        raise FileError("grows while it is read")
    if not content:
        raise FileError("is empty")
    return content, status


def regular(path: Path, *, limit: int = LARGEST) -> os.stat_result:
    """What the system knows of a regular file; nothing is read.

    Args:
        path: As `inside` returns it.
        limit: The largest size that is accepted, in bytes.

    Raises:
        FileError: If it is missing, no regular file, or too large.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror or error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise FileError("is not a regular file")
    if status.st_size > limit:
        raise FileError(f"has {status.st_size} bytes; the limit is {limit}")
    return status


def read_text(path: Path, *, limit: int = LARGEST) -> str:
    """A file as UTF-8, with or without a byte-order mark.

    Raises:
        FileError: As `read`; or naming the format that the file has instead, the first
            byte that is not UTF-8, or a NUL.
    """
    content = read(path, limit=limit)
    if other := other_format(content):
        raise FileError(other)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(encoding_fault(content, error.start)) from None
    if "\0" in text:
        raise FileError(f"is not text: character {text.index(chr(0))} is NUL")
    return text


def other_format(content: bytes | mmap.mmap) -> str | None:
    """What a file that begins as no text does is, and what to do; else None.

    Args:
        content: All of a ZIP archive; of other files the first 64 bytes are enough.
    """
    first = content[:64]
    if first.startswith(b"PK\x03\x04"):  # names of files stand uncompressed in it
        what, remedy = next(
            (said for name, said in _INSIDE_ZIP.items() if content.find(name) >= 0),
            ("a ZIP archive", "unpack it, for example with `unzip OLD`"),
        )
    else:
        what, remedy = next(
            (said for start, said in _STARTS.items() if first.startswith(start)),
            ("", ""),
        )
    return f"is {what}, not text: {remedy}" if what else None


def encoding_fault(content: bytes, wrong: int) -> str:
    """What is wrong with a file that is not UTF-8, and what to do.

    Args:
        content: Of the file, or its beginning.
        wrong: Position of the first byte that is wrong, behind a byte-order mark.
    """
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    name = "UTF-16" if marked else "LATIN1"
    guess = "it begins as UTF-16 does" if marked else "is it Latin-1 or Windows-1252?"
    return (
        f"is not UTF-8: byte {wrong} is wrong ({guess}); convert it, for example with "
        f"`iconv -f {name} -t UTF-8 OLD > NEW`"
    )


def lines_of(text: str) -> list[str]:
    r"""Returns the lines of a text; a line ends at `\n` or `\r\n` and nowhere else.

    U+2028, U+0085, form feeds and single `\r` stay in their line, unlike with
    `str.splitlines`.

    Raises:
        FileError: If lines end at a single `\r`, as on Macs before 2001.
    """
    lines = line_feeds(text).split("\n")
    return lines[:-1] if not lines[-1] else lines


def line_feeds(text: str) -> str:
    r"""Returns the text with `\n` for `\r\n`.

    Raises:
        FileError: If lines end at a single `\r`, as on Macs before 2001.
    """
    if "\r" in text and "\n" not in text:
        raise FileError(ALONE)
    return text.replace("\r\n", "\n")


def is_text(value: object) -> bool:
    """Whether this is a string with something to see in it, and that can be stored.

    Strings from JSON may hold a NUL, or half a character (a lone surrogate).
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def walk(root: Path, folder: Path, problems: list[Problem]) -> list[str]:
    """The names of all files below `folder`, relative to `root`, in order.

    Hidden ones are passed over; see `is_hidden`. Links to folders, what leads outside
    and folders that cannot be read are problems.
    """
    names: list[str] = []
    place = folder.relative_to(root).as_posix()
    prefix = "" if place == "." else f"{place}/"
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        problems.append(Problem(place, what))
        return names
    for entry in found:
        if is_hidden(entry.name):
            continue
        name = prefix + entry.name
        linked = entry.is_symlink()
        if linked or prefix.count("/") > 90:  # what is no link cannot lead outside
            try:
                inside(root, name)
            except FileError as error:
                problems.append(Problem(name, str(error)))
                continue
        if not entry.is_dir():
            names.append(name)
        elif linked:
            problems.append(Problem(name, "is a link to a folder"))
        else:
            names += walk(root, folder / entry.name, problems)
    return names


def is_open_folder(path: Path) -> bool:
    """Whether this is a folder that may be searched: no link, not hidden."""
    hidden = path.name.startswith(".") or path.name == "__MACOSX"
    return path.is_dir() and not path.is_symlink() and not hidden
