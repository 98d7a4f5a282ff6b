"""Unpacking zip and tar archives that somebody else made.

An archive is a list of requests to write files. Only plain files and folders below the
target are written, each once, and never more than was allowed: everything that could
lead elsewhere or fill the disk is refused, and nothing of a refused archive stays.
"""

import bz2
import contextlib
import gzip
import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.reading import FileError, inside

LARGEST = 2**38  # bytes of all files together
MOST = 10**7  # members
RATIO = 1100  # expanded bytes a byte of the archive: a little above what deflate can do
_CHUNK = 2**20
_DEEPEST = 32


class ArchiveError(DataError):
    """An archive is damaged or asks for what is not allowed; the member is named."""


def extract(
    archive: Path,
    target: Path,
    *,
    sha256: str | None = None,
    largest: int = LARGEST,
    most: int = MOST,
    ratio: int = RATIO,
) -> Path:
    """Unpacks a zip or tar archive (plain, gzip, bzip2, xz) into a new folder.

    It is written as `target.part`, which is renamed when all is there; so the folder is
    whole or absent. Files get the permissions of new files, not those in the archive.

    Args:
        archive: The file; its first bytes tell the format.
        target: The folder to make; its parent must be there.
        sha256: What the archive's digest must be, in hexadecimal.
        largest: Bytes of all files together.
        most: Members.
        ratio: Expanded bytes for each byte of the archive, beyond the first 64 MiB.

    Returns:
        The target.

    Raises:
        ArchiveError: If the digest differs; if the archive is damaged, encrypted, cut
            off or expands beyond the limits or the disk; or if a member has a name that
            is absolute, leads outside, is there twice (also in another case or spelling
            of the same letters), or is anything but a file or a folder.
        FileExistsError: If the target is there already.
    """
    if target.exists() or target.is_symlink():
        raise FileExistsError(f"{target} is already there")
    size = archive.stat().st_size
    if sha256 is not None and files.sha256(archive) != sha256.lower():
        raise ArchiveError(f"{archive.name}: is not the file expected: SHA-256 differs")
    free = shutil.disk_usage(target.parent).free
    budget = _Budget(min(largest, max(ratio * size, 2**26)), most, free)
    part = target.with_name(target.name + ".part")
    _remove(part)
    part.mkdir()
    try:
        with archive.open("rb") as file:
            writer = _Writer(part, budget)
            # By the first bytes: a tar whose last member is a zip looks like one, too.
            if file.read(4) in (b"PK\3\4", b"PK\5\6"):
                _unzip(file, size, writer)
            else:
                file.seek(0)
                _untar(file, writer)
        part.rename(target)
    except (FileError, *_DAMAGE) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk, not the archive
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ArchiveError(f"{archive.name}: {reason}") from None
    finally:
        _remove(part)
    files.sync(target.parent)
    return target


# What the standard library raises at damaged archives; OSError for gzip and bzip2.
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)


class _Budget:
    """What may still be written."""

    def __init__(self, size: int, members: int, free: int) -> None:
        self.size, self.members, self.free = size, members, free
        self.used = 0

    def member(self) -> None:
        self.members -= 1
        if self.members < 0:
            raise FileError("has too many members")

    def take(self, size: int, name: str) -> None:
        self.used += size
        if self.used > self.size:
            raise FileError(f"{name!r}: expands beyond the limit of {self.size} bytes")
        if self.used > self.free:
            raise FileError(f"{name!r}: the disk has only {self.free} bytes left")


class _Writer:
    """Makes files and folders below one folder that nobody else writes to."""

    def __init__(self, root: Path, budget: _Budget) -> None:
        self.root, self.budget = root, budget
        self.files: set[tuple[str, ...]] = set()
        self.folders: dict[tuple[str, ...], tuple[str, ...]] = {}

    def place(self, name: str, *, is_folder: bool) -> Path:
        """Where a member goes.

        Raises:
            FileError: If it may not go there.
        """
        self.budget.member()
        plain = name.removeprefix("./").rstrip("/") if is_folder else name
        if is_folder and plain in ("", "."):
            return self.root
        try:
            path = inside(self.root, plain, portable=True)
        except FileError as error:
            raise FileError(f"{name!r}: {error}") from None
        parts = path.relative_to(self.root).parts
        if len(parts) > _DEEPEST or any(len(part.encode()) > 255 for part in parts):
            raise FileError(f"{name!r}: is too deep or too long")
        # Two names that some file system takes for one: case, accents, trailing dots.
        keys = tuple(_key(part) for part in parts)
        for end in range(1, len(parts) + is_folder):
            folder, spelled = keys[:end], parts[:end]
            if (
                folder in self.files
                or self.folders.setdefault(folder, spelled) != spelled
            ):
                raise FileError(f"{name!r}: collides with another member")
        if not is_folder:
            if keys in self.files or keys in self.folders:
                raise FileError(f"{name!r}: is there twice, perhaps in another case")
            self.files.add(keys)
        (path if is_folder else path.parent).mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name: str, content: Any, size: int) -> None:
        """Copies a member of the size that was announced.

        Raises:
            FileError: If it has another size, or is more than may be written.
        """
        path = self.place(name, is_folder=False)
        if size < 0:
            raise FileError(f"{name!r}: has a negative size")
        self.budget.take(size, name)
        left = size
        with path.open("xb") as file:
            while chunk := content.read(min(_CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                file.write(chunk)
        if left:
            raise FileError(f"{name!r}: does not have the {size} bytes it announces")


def _key(part: str) -> str:
    return unicodedata.normalize("NFKC", part).casefold().rstrip(". ") or part


def _unzip(file: BinaryIO, size: int, writer: _Writer) -> None:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        end = 0
        for member in sorted(members, key=lambda m: m.header_offset):
            # Members that share bytes are how a small archive holds petabytes.
            if member.header_offset < end:
                raise FileError(f"{member.filename!r}: overlaps another member")
            end = member.header_offset + 30 + member.compress_size
        if end > size:
            raise FileError("is cut off: members lie behind its end")
        for member in members:
            name = member.orig_filename
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise FileError(f"{name!r}: is a link or a device")
            if member.flag_bits & 1:
                raise FileError(f"{name!r}: is encrypted")
            if member.compress_type == zipfile.ZIP_DEFLATED and (
                member.file_size > RATIO * max(member.compress_size, 1)
            ):
                raise FileError(f"{name!r}: announces more than it can hold")
            if name.endswith("/"):
                writer.place(name, is_folder=True)
                continue
            if kind == stat.S_IFDIR:
                raise FileError(f"{name!r}: is a folder by one sign and not by another")
            with archive.open(member) as content:
                writer.write(name, content, member.file_size)


class _Stream:
    """A file to be read forwards, in pieces, up to a limit; one byte back at most."""

    def __init__(self, file: Any, limit: int) -> None:
        self.file, self.limit = file, limit
        self.at = 0
        self.last = b""
        self.again = b""

    def read(self, size: int = -1) -> bytes:
        # tarfile reads the long names and notes of a member at once.
        if not 0 <= size <= _CHUNK:
            raise FileError("has a header longer than 1 MiB")
        again, self.again = self.again[:size], b""
        self.last = again + self.file.read(size - len(again))
        self.at += len(self.last)
        if self.at > self.limit:
            raise FileError(f"expands beyond the limit of {self.limit} bytes")
        return self.last

    def tell(self) -> int:
        return self.at

    def seek(self, to: int, whence: int = 0) -> int:
        if self.last and not whence and to == self.at - 1:
            self.again, self.at = self.last[-1:], to
        if whence or to < self.at:
            raise FileError("has members in an order that cannot be read")
        while self.at < to:
            if not self.read(min(_CHUNK, to - self.at)):
                raise FileError("is cut off")
        return self.at


def _untar(file: BinaryIO, writer: _Writer) -> None:
    with contextlib.closing(_expanded(file)) as plain:
        # Headers and padding take room besides the files.
        stream = _Stream(plain, 2 * writer.budget.size + 2**20)
        # Not as a context: tarfile only reads, and the stream is closed above.
        archive = tarfile.open(fileobj=stream, mode="r:")  # type: ignore[arg-type] # noqa: SIM115
        for member in _members(archive):
            _untar_one(archive, member, writer)
        # At damage in the middle, tarfile stops as if that were the end.
        if len(stream.last) != 512 or any(stream.last):
            raise FileError("is damaged or cut off: it does not end with zeros")
        while stream.read(_CHUNK):
            pass  # so that gzip, bzip2 and xz verify their checksums


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := archive.next()) is not None:
        yield member
        # A list of all is of no use here, and grows.
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue]


def _untar_one(
    archive: tarfile.TarFile, member: tarfile.TarInfo, writer: _Writer
) -> None:
    name = member.name
    if member.isdir():
        writer.place(name + "/", is_folder=True)
        return
    if not member.isreg() or member.issparse():
        raise FileError(f"{name!r}: is a link, a device or sparse")
    content = archive.extractfile(member)
    if content is None:
        raise FileError(f"{name!r}: has no content")
    writer.write(name, content, member.size)


def _expanded(file: BinaryIO) -> Any:
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start == b"\xfd7zXZ\0":
        return lzma.LZMAFile(file)
    return file


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
