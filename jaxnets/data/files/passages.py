"""Long texts in files, read some of it at a time: their parts, one after the other."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnets.data.dataset import DataError, refuse_empty
from jaxnets.data.files.blocks import TextFile
from jaxnets.data.files.column_names import split_of_file
from jaxnets.data.files.loading import SPLITS, Survey, say_found, summary
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import inside
from jaxnets.data.files.sentences import HELD_OUT, listed, thirds

_PIECE = 2**20  # characters


class Passage(NamedTuple):
    """A part of a text: characters from `begin` to `end`."""

    split: str
    begin: int
    end: int


class Passages(NamedTuple):
    """The parts of a text in files.

    Attributes:
        characters: Of all files together.
        found: What a start says of the files; from `summary`.
        pieces: From a function that takes how many characters were read since its last
            call, to the text in order: the split, and some of its characters.
    """

    characters: int
    found: Mapping[str, Any]
    pieces: Callable[[Callable[[int], None]], Iterator[tuple[str, str]]]


def file_passages(path: Path) -> Passages:
    """The parts of a file: nine tenths, and two halves of the rest; see `in_three`.

    Raises:
        DataError: If it cannot be read, or its lines end at a single carriage return.
    """
    try:
        file = TextFile(path)
        next(file.blocks())
    except FileError as error:
        raise DataError(f"{path}: {error}") from None
    places = _in_three(file.characters)

    def pieces(advance: Callable[[int], None]) -> Iterator[tuple[str, str]]:
        return _cut(file.blocks(), places, advance)

    return Passages(file.characters, summary(Survey(), 3), pieces)


def folder_passages(path: Path, *, skip_bad: bool = False) -> Passages:
    """The parts of the texts below a folder, cut between paragraphs; see `text_files`.

    Args:
        path: Of the folder.
        skip_bad: Leave out files that cannot be used.

    Raises:
        DataError: At any problem that may not be skipped, or if a part is empty.
    """
    survey = Survey()
    root, names = listed(path, (".txt",), survey.problems)
    texts: dict[str, list[TextFile]] = {"train": []}
    joined = {split: _Joined() for split in SPLITS}
    for name in names:
        try:
            file = TextFile(inside(root, name))
            next(file.blocks())
        except FileError as error:
            survey.add(name, str(error))
            continue
        split = split_of_file(name, names, survey.notes)
        before = len(joined[split].begins)
        for _ in joined[split].pieces(file):
            pass
        if len(joined[split].begins) == before:
            survey.add(name, "is empty: it holds only white space", "text")
        texts.setdefault(split, []).append(file)
    count = sum(len(one.begins) for one in joined.values())
    places = _held_out({split: joined[split] for split in texts})
    if len(joined["train"].begins) < 3 and len(texts) == 1:
        places = {"train": _in_three(joined["train"].length)}
        count = sum(place.begin < place.end for place in places["train"])
    found = summary(survey, count)
    sizes = dict.fromkeys(SPLITS, 0)
    sizes |= {p.split: p.end - p.begin for here in places.values() for p in here}
    if (survey.problems and not skip_bad) or not all(sizes.values()):
        name = path.resolve().name
        say_found(name, found, skip_bad=skip_bad)
        for split, size in sizes.items():
            refuse_empty(f"{name}, {split}", size)

    def pieces(advance: Callable[[int], None]) -> Iterator[tuple[str, str]]:
        for split, files in texts.items():
            whole = _Joined()
            text = (piece for file in files for piece in whole.pieces(file))
            yield from _cut(text, places[split], advance)

    return Passages(sum(one.length for one in joined.values()), found, pieces)


def _in_three(length: int) -> list[Passage]:
    first, second = thirds(length)
    ends = [0, first, second, length]
    return [Passage(split, *ends[i : i + 2]) for i, split in enumerate(SPLITS)]


class _Joined:
    """The paragraphs of files, an empty line between two.

    Attributes:
        begins: At which character each paragraph begins.
        length: How many characters there are.
    """

    def __init__(self) -> None:
        self.begins, self.length = array("q"), 0

    def pieces(self, file: TextFile) -> Iterator[str]:
        """What one more file adds to the text, some of it at a time."""
        within, made, size = False, [], 0
        for line in file.lines():
            if not line.strip():
                within = False
                continue
            gap = "\n" if within else "\n\n" if self.length else ""
            if not within:
                self.begins.append(self.length + len(gap))
            within = True
            made += (gap, line)
            size += len(gap) + len(line)
            self.length += len(gap) + len(line)
            if size >= _PIECE:
                yield "".join(made)
                made, size = [], 0
        yield "".join(made)


def _held_out(joined: Mapping[str, _Joined]) -> dict[str, list[Passage]]:
    """Where the parts are in the text of each split; a missing one ends `train`."""
    places = {
        split: [Passage(split, 0, whole.length)] for split, whole in joined.items()
    }
    train = joined["train"]
    left, end = len(train.begins), train.length
    count = max(1, round(HELD_OUT * left))
    ends = []
    for split in ("test", "validation"):
        if split not in joined and left > 1:
            left -= count
            ends.append(Passage(split, train.begins[left], end))
            end = train.begins[left] - len("\n\n")
    places["train"] = [Passage("train", 0, end), *reversed(ends)]
    return places


def _cut(
    blocks: Iterator[str],
    places: Sequence[Passage],
    advance: Callable[[int], None],
) -> Iterator[tuple[str, str]]:
    """The passages of a text that comes in blocks, in order."""
    position = 0
    for block in blocks:
        for split, begin, end in places:
            piece = block[max(begin - position, 0) : max(end - position, 0)]
            if piece:
                yield split, piece
        position += len(block)
        advance(len(block))
