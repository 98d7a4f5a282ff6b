"""Looks after data: `python -m jaxnets.data check`, `digest`, `kept` or `prepare`."""

import contextlib
import dataclasses
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from jaxnets import files
from jaxnets.data.dataset import DataError, checked
from jaxnets.data.files.digests import DIGESTS, digest_line
from jaxnets.data.files.folder import KINDS, kind_of
from jaxnets.data.files.loading import Survey, several_shapes
from jaxnets.data.files.problems import DataWarning, FileError, Problem, printable
from jaxnets.data.files.reading import existing_folder, inside, walk
from jaxnets.data.files.voc import FirstPixel
from jaxnets.data.pictures import Fit, constant_channels, height_and_width
from jaxnets.data.store.kept import StoreEntry, discard, entries, named
from jaxnets.data.store.progress import in_units
from jaxnets.data.tfds.catalogue import root_folder
from jaxnets.errors import UserError


def _path(words: list[str]) -> Path:
    """The path on a command line; an empty one would be the current folder."""
    if not words[0]:
        raise ValueError("the path is empty: `.` is the current folder")
    return Path(words[0])


_SPEC = PrimitiveConstructorSpec(
    nargs=1,
    metavar="PATH",
    instance_from_str=_path,
    is_instance=lambda value: isinstance(value, Path),
    str_from_instance=lambda value: [str(value)],
)
Where = Annotated[Path, tyro.conf.Positional, _SPEC]
Kind = Literal[
    "auto",
    "images",
    "captions",
    "coco",
    "voc",
    "yolo",
    "masks",
    "pairs",
    "labels",
    "text",
]
_TEXTS = ("pairs", "labels", "text")
_WIDTH = 100  # characters of a line of `kept`, the paths of stores apart
_MANY = 20  # classes and shapes that are listed one by one


def check(
    path: Where,
    /,
    kind: Kind = "auto",
    *,
    size: tuple[int, ...] = (),
    fit: Fit = "crop",
    unlabelled: bool = False,
    masks: bool = True,
    first_pixel: FirstPixel = 1,
    captions: str | None = None,
) -> int:
    """Reads a data set as training would and lists everything that is wrong with it.

    Exit code 0 says that nothing is wrong, 1 that something is.

    Args:
        path: Data to check: a folder, or a .tsv, .csv or .txt file.
        kind: Kind of the data; auto: recognised by its files.
        size: Height and width of labelled images in pixels, or one side.
            Without it all images must have one shape.
        fit: How labelled images reach --size: cropped, stretched or padded.
        unlabelled: Accept a single class, as vae.py, gan.py and draw.py do.
        masks: Check the outlines of objects in COCO and YOLO data, too.
        first_pixel: Coordinates of the boxes in VOC data.
            0 or 1: the number of the first pixel; the last pixel is included.
            edges: edges of pixels, from 0 to the width.
        captions: Captions file in the folder, for --kind captions. None: the only one.
    """
    survey = Survey()
    chosen: str = kind
    try:
        height_and_width(size)
        chosen = _kind(path, kind, captions)
        options: dict[str, Any] = {"survey": survey}
        if chosen not in _TEXTS:
            options["size"] = (16, 16)  # decoded whole, kept small
        if chosen == "images":
            options |= {"fit": fit, "fewest": 1 if unlabelled else 2}
        elif size or fit != "crop":
            raise DataError(f"--size and --fit are for labelled images, not {chosen}")
        if chosen in ("coco", "yolo"):
            options["masks"] = masks
        if chosen == "voc":
            options["first_pixel"] = first_pixel
        if chosen == "captions":
            options["file"] = captions
        dataset = KINDS[chosen](path, **options)
        if chosen == "images" and not size:
            several_shapes(survey, path.resolve().name)
        if note := constant_channels(dataset):
            survey.notes.append(note)
        checked(dataset)
    except (UserError, OSError) as error:
        survey.add(str(path), str(error), "layout")
    _say(f"{path}: {chosen}, {_counts(survey.examples)} good examples")
    if survey.shapes:
        shapes = Counter({f"{h} x {w}": n for (h, w), n in survey.shapes.items()})
        _say(f"shapes, height x width: {_counts(shapes)}")
    if survey.classes:
        _say(f"classes: {_counts(survey.classes)}")
    for note in survey.notes:
        _say(f"[note] {note}")
    for problem in survey.problems:
        _say(f"[{problem.kind}] {problem}")
    kinds = Counter(problem.kind for problem in survey.problems)
    _say(f"{len(survey.problems)} problems" + (f": {_counts(kinds)}" if kinds else ""))
    return 1 if survey.problems else 0


def _kind(path: Path, kind: str, captions: str | None) -> str:
    """The kind of data that is asked for, else what the path looks like.

    Raises:
        DataError: If a list of captions is given for another kind; as `kind_of`.
    """
    if captions is not None and kind not in ("auto", "captions"):
        raise DataError(f"--captions is for --kind captions, not {kind}")
    if captions is not None:
        return "captions"
    return kind_of(path) if kind == "auto" else kind


def digest(path: Where, /) -> int:
    """Writes `SHA256SUMS` for all files of a folder; loaders then verify every file.

    Replaces one that is there. `sha256sum -c SHA256SUMS` checks it, too.

    Args:
        path: Folder whose files are listed.
    """
    problems: list[Problem] = []
    lines = []
    try:
        root = existing_folder(path)
        names = walk(root, root, problems)
    except DataError as error:
        _say(f"error: {error}")
        return 1
    for name in names:
        if name == DIGESTS:
            continue
        try:
            file = inside(root, name)
            if not file.is_file():
                raise FileError("is not a regular file")
            lines.append(digest_line(files.sha256(file), name))
        except (FileError, OSError) as error:
            problems.append(Problem(name, str(error)))
    for problem in problems:
        _say(f"[{problem.kind}] {problem}")
    if problems:
        _say(f"{len(problems)} problems: {DIGESTS} was not written")
        return 1
    files.write(root / DIGESTS, "".join(lines))
    _say(f"{path / DIGESTS}: {len(lines)} files")
    return 0


def prepare(
    name: Annotated[str, tyro.conf.Positional],
    /,
    data_dir: Path | None = None,
    manual_dir: Path | None = None,
) -> int:
    """Downloads a TFDS set, or takes its files from a folder, and lays it out.

    Args:
        name: Name of a TFDS set, for example cifar10.
        data_dir: Folder to write to. None: $TFDS_DATA_DIR or ~/tensorflow_datasets.
        manual_dir: Folder of files that were downloaded by hand. None: download.
    """
    from jaxnets.data.tfds.preparing import prepare

    try:
        _say(str(prepare(name, data_dir, manual_dir)))
    except DataError as error:
        _say(f"error: {error}")
        return 1
    return 0


def kept(
    paths: tyro.conf.Positional[tuple[Annotated[Path, _SPEC], ...]] = (),
    /,
    *,
    remove: Annotated[tuple[str, ...], tyro.conf.arg(metavar="KEY [KEY ...]")] = (),
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Lists what was kept of data: decoded images, features and generated data.

    The user's cache folder is always looked through. Each entry is a line: key, bytes,
    last use, data set, kind and options. Removing an entry loses no data: it is
    computed again by the next run that needs it.

    Args:
        paths: Folders of data sets, or folders that hold some.
            None: the current folder and the folder of prepared TFDS sets.
        remove: Entries to remove, without a question: keys, beginnings of keys, or
            folders of entries.
        as_json: Write each entry as a line of JSON, with the folder of its data.
    """
    for path in paths:
        existing_folder(path)
    found = entries(paths or (Path(), root_folder(None)))
    if remove:
        return _remove(named(found, remove))
    store = None
    for entry in found:
        if as_json:
            _say(json.dumps(dataclasses.asdict(entry), default=str))
            continue
        if store != entry.folder.parent:
            store = entry.folder.parent
            _say(str(store))
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        gone = " (its data are gone)" if entry.gone else ""
        options = f", {entry.options}" if entry.options else ""
        line = f"  {entry.key}  {in_units(entry.size):>7}  {used}  "
        line += printable(f"{entry.name}{gone}: {entry.kind}{options}")
        _say(line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "...")
    if not as_json:
        total = sum(entry.size for entry in found)
        _say(f"{len(found)} entries, {in_units(total)}")
    return 0


def _remove(chosen: list[StoreEntry]) -> int:
    """Removes entries; returns 1 if one could not be removed."""
    freed, failed = 0, 0
    try:
        for entry in chosen:
            try:
                discard(entry)
            except (DataError, OSError) as error:
                failed = 1
                _say(f"error: {entry.folder} was not removed: {error}")
                continue
            freed += entry.size
            _say(f"removed {entry.folder}: {entry.name}, {in_units(entry.size)}")
    finally:
        _say(f"freed {in_units(freed)}")
    return failed


def _counts(counter: Counter[str]) -> str:
    listed = [f"{name} {count}" for name, count in counter.most_common(_MANY)]
    more = len(counter) - len(listed)
    return (", ".join(listed) or "no") + (f" and {more} more" if more else "")


def _say(line: str) -> None:
    """One line of plain text; names may hold what would command a terminal."""
    safe = printable(line)
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(safe.encode(encoding, "backslashreplace").decode(encoding) + "\n")


COMMANDS = {"check": check, "digest": digest, "kept": kept, "prepare": prepare}


def main(arguments: list[str] | None = None) -> int:
    """Runs one of `COMMANDS`; returns the exit status.

    130 after Ctrl-C, 141 if the reader of a pipe is gone, 1 if the data are wrong or
    the system refuses a file: each with a line at most, as experiments end.
    """
    try:
        with _plain_warnings():
            status = tyro.extras.subcommand_cli_from_dict(
                COMMANDS, prog="python -m jaxnets.data", args=arguments
            )
            sys.stdout.flush()
            return status
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 128 + signal.SIGINT
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
        return 128 + signal.SIGPIPE
    except (UserError, OSError) as error:
        sys.stdout = None  # it may be what cannot be written
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return 1


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Shows each warning about data as a line, as experiments do, without our code."""
    before = warnings.showwarning

    def shown(message: Any, category: type, *rest: Any) -> None:
        if issubclass(category, DataWarning):
            sys.stderr.write(f"warning: {printable(str(message))}\n")
        else:
            before(message, category, *rest)

    warnings.showwarning = shown
    try:
        yield
    finally:
        warnings.showwarning = before


if __name__ == "__main__":
    sys.exit(main())
