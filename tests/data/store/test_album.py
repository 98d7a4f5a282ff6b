"""Albums on pictures that are made up: what is looked at, kept, decoded again."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from jaxnets.data.dataset import DataError
from jaxnets.data.files.class_folders import image_folder
from jaxnets.data.pictures import channel_statistics
from jaxnets.data.store import looking
from jaxnets.data.store.album import DecodedPicture, Pictures
from jaxnets.data.store.looking import looked_at
from jaxnets.data.store.shelf import Shelf

pytestmark = pytest.mark.host

SHAPE = (6, 5, 3)


class Made:
    """Pictures drawn from their numbers; counts who is decoded."""

    def __init__(self, **numbers):
        self.numbers = dict(numbers)
        self.decoded_names = Counter()
        self.bad, self.stop_at = {}, None

    @property
    def names(self):
        return list(self.numbers)

    def states(self):
        return np.array([[3, n] for n in self.numbers.values()], np.int64)

    def checking(self):
        return contextlib.nullcontext()

    def fetched(self, positions):
        return self

    def decoded(self, position, *, checked=False):
        name = self.names[position]
        if name == self.stop_at:
            raise KeyboardInterrupt
        self.decoded_names[name] += 1
        if name in self.bad:
            raise DataError(self.bad[name])
        number = self.numbers[name]
        pixels = np.random.default_rng(number).integers(0, 256, SHAPE, np.uint8)
        return DecodedPicture(pixels, (60, 50), (3, number))


def made(count=40):
    return Made(**{f"n{i:02d}": i for i in range(count)})


def look(source, home, keep="auto", shape=SHAPE):
    lines = []
    shelf = Shelf([home], {"what": "made"}) if home else None
    album = looked_at(source, "made", shelf, shape=shape, keep=keep, say=lines.append)
    return album, lines


def column(album):
    return Pictures(album, album.good)


def pixels_of(source):
    return np.stack([source.decoded(i).pixels for i in range(len(source.names))])


@pytest.mark.parametrize("keep", ["auto", "kept", "streamed"])
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("workers", [1, 4])
def test_rows_are_the_same_however_they_are_stored(
    tmp_path, monkeypatch, keep, stored, workers
):
    monkeypatch.setattr(looking.os, "cpu_count", lambda: workers)
    monkeypatch.setattr(looking, "PART_BYTES", 1000)
    source = made()
    expected = pixels_of(source)
    for _ in range(2):
        album, _ = look(source, tmp_path if stored else None, keep)
        rows = column(album)
        assert rows.shape == expected.shape
        np.testing.assert_array_equal(rows[:], expected)
        (loaded,) = rows.album.loaded([rows.positions])
        np.testing.assert_array_equal(loaded, expected)
        np.testing.assert_array_equal(rows[np.array([[7, 3]])], expected[[[7, 3]]])
        some = rows.rows_at(np.array([5, 2, 9]))
        np.testing.assert_array_equal(some[1], expected[2])
        mean, std = some.statistics()
        wanted = channel_statistics(expected[[5, 2, 9]])
        np.testing.assert_allclose((mean, std), wanted, rtol=1e-13)
    assert len(list(tmp_path.glob("*/0*"))) > 1 or not stored or keep == "streamed"


def test_the_digest_is_of_the_pixels_not_of_where_they_are(tmp_path):
    kept, streamed = (look(made(), tmp_path / k, k)[0] for k in ("kept", "streamed"))
    assert kept.kept
    assert not streamed.kept
    assert column(kept).digest == column(streamed).digest
    other = column(kept).rows_at(np.array([1, 0]))
    assert other.digest != column(kept).rows_at(np.array([0, 1])).digest


@pytest.mark.parametrize("keep", ["kept", "streamed"])
def test_a_later_start_looks_only_at_what_is_new_or_has_changed(tmp_path, keep):
    source = made(8)
    look(source, tmp_path, keep)
    assert set(source.decoded_names.values()) == {1}
    source.decoded_names.clear()
    _, lines = look(source, tmp_path, keep)
    assert not source.decoded_names
    assert not any("since" in line for line in lines)
    source.numbers["n03"] = 103  # changed
    del source.numbers["n05"]
    source.numbers |= {"n10": 10, "n11": 11}
    album, lines = look(source, tmp_path, keep)
    assert lines[0] == "since the last start: 2 added, 1 changed, 1 removed"
    assert set(source.decoded_names) == {"n03", "n10", "n11"}
    np.testing.assert_array_equal(column(album)[:], pixels_of(source))
    source.decoded_names.clear()
    _, lines = look(source, tmp_path, keep)
    assert not source.decoded_names
    assert not any("since" in line for line in lines)


def test_pictures_that_were_streamed_are_looked_at_again_to_be_kept(tmp_path):
    source = made(8)
    look(source, tmp_path, "streamed")
    source.decoded_names.clear()
    look(source, tmp_path, "kept")
    assert len(source.decoded_names) == 8
    source.decoded_names.clear()
    album, lines = look(source, tmp_path, "streamed")
    assert not source.decoded_names
    column(album)[:2]
    assert set(source.decoded_names) == {"n00", "n01"}
    assert lines == [
        "8 pictures of 6 x 5 pixels, 720 B decoded: streamed, decoded each time they "
        "are read"
    ]


def test_parts_that_were_looked_at_again_leave_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "PART_BYTES", 4 * np.prod(SHAPE))
    source = made(8)
    album, _ = look(source, tmp_path)
    first = column(album)
    assert [path.name for path in sorted(tmp_path.glob("*/0*"))] == ["000000", "000001"]
    source.numbers |= {
        f"n{i:02d}": 100 + i for i in range(5)
    }  # the first part, and one
    look(source, tmp_path)
    parts = [path.name for path in sorted(tmp_path.glob("*/0*"))]
    assert parts == ["000001", "000002", "000003"]
    assert len(first[:4]) == 4  # a run that has the old part open
    del source.numbers["n00"], source.numbers["n06"]
    album, _ = look(source, tmp_path)  # what is missing now may be there tomorrow
    assert [path.name for path in sorted(tmp_path.glob("*/0*"))] == parts
    np.testing.assert_array_equal(column(album)[:], pixels_of(source))


def test_an_album_of_other_files_replaces_the_one_before(tmp_path):
    def shelf(**about):
        return Shelf([tmp_path], about).folder

    others = shelf(what="photos"), shelf(of="b", files="old")
    old = shelf(of="a", files="old")
    new = shelf(of="a", files="new")
    assert new != old
    assert not old.exists()
    assert all(other.exists() for other in others)


def test_a_bad_picture_is_a_problem_until_it_is_mended(tmp_path):
    source = made(6)
    source.bad = {"n04": "is cut off"}
    for _ in range(2):
        source.decoded_names.clear()
        album, _ = look(source, tmp_path)
        assert album.problems == {4: "is cut off"}
        assert album.good.tolist() == [0, 1, 2, 3, 5]
    assert set(source.decoded_names) == {"n04"}
    source.bad = {}
    album, _ = look(source, tmp_path)
    assert not album.problems
    assert len(album.good) == 6


def test_without_a_shape_the_first_good_picture_has_it(tmp_path):
    source = made(5)
    source.bad = {"n00": "is cut off"}
    whole = source.decoded

    def decoded(position, **options):
        found = whole(position, **options)
        return found._replace(pixels=found.pixels[: 6 - (position == 3)])

    source.decoded = decoded
    album, _ = look(source, tmp_path, shape=None)
    assert album.shape == SHAPE
    assert (album.good.tolist(), album.decodable.tolist()) == ([1, 2, 4], [1, 2, 3, 4])


@pytest.mark.parametrize("stop", ["n05", "n39"])
def test_what_was_seen_before_ctrl_c_is_not_seen_again(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(looking, "BLOCK", 1)
    monkeypatch.setattr(looking.os, "cpu_count", lambda: 1)
    source = made()
    source.stop_at = stop
    with pytest.raises(KeyboardInterrupt):
        look(source, tmp_path)
    before = set(source.decoded_names)
    source.decoded_names.clear()
    source.stop_at = None
    album, _ = look(source, tmp_path)
    first = {f"n{i:02d}" for i in range(int(stop[1:]))}
    assert first <= before
    assert set(source.decoded_names) == set(source.names) - first
    np.testing.assert_array_equal(column(album)[:], pixels_of(source))


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 16
    path.write_bytes(bytes(content))


def test_a_flipped_bit_in_kept_pixels_is_seen_and_mended(tmp_path):
    source = made(5)
    look(source, tmp_path)
    (pixels,) = tmp_path.glob("*/*/pixels.npy")
    flip(pixels, -90 * 3 - 1)  # in the second picture
    album, _ = look(source, tmp_path)
    whole = lambda rows: rows.album.loaded([rows.positions])[0]
    for read in (lambda rows: rows[:]), whole:
        with pytest.warns(
            UserWarning, match="pixels of n01 are damaged; it is decoded"
        ):
            rows = read(column(album))
        np.testing.assert_array_equal(rows, pixels_of(source))


@pytest.mark.parametrize("file", ["seen.npy", "manifest.json", "pixels.npy"])
@pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
def test_a_damaged_part_is_looked_at_again(tmp_path, file, harm):
    source = made(5)
    look(source, tmp_path)
    (path,) = tmp_path.glob(f"*/*/{file}")
    if harm == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        if harm == "flip":
            path.write_bytes(content)
            flip(path, 20)
    source.decoded_names.clear()
    with pytest.warns(UserWarning, match="000000 is damaged: .*; its pictures are loo"):
        album, _ = look(source, tmp_path)
    assert len(source.decoded_names) == 5
    np.testing.assert_array_equal(column(album)[:], pixels_of(source))
    source.decoded_names.clear()
    look(source, tmp_path)
    assert not source.decoded_names


def test_a_file_that_changes_during_a_run_stops_it_by_name(tmp_path):
    source = made(5)
    album, _ = look(source, tmp_path, "streamed")
    source.numbers["n02"] = 99
    np.testing.assert_array_equal(column(album)[:2], pixels_of(source)[:2])
    with pytest.raises(DataError, match="made: n02: has changed since the run began"):
        column(album)[:]
    source.bad["n03"] = "is cut off"
    with pytest.raises(DataError, match="made: n03: is cut off"):
        column(album)[3:]


def free(monkeypatch, count):
    usage = shutil.disk_usage("/")._replace(free=count)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_pictures_that_would_fill_the_disk_are_refused_or_streamed(
    tmp_path, monkeypatch
):
    free(monkeypatch, 899)
    with pytest.raises(
        DataError,
        match=r"10 pictures take 900 B, 900 B of them new, .* room for 899 B in",
    ):
        look(made(10), tmp_path / "a", "kept")
    assert not look(made(10), tmp_path / "b")[0].kept
    free(monkeypatch, 3600)
    assert look(made(10), tmp_path / "c")[0].kept  # a quarter
    monkeypatch.setattr(looking, "KEPT_BYTES", 899)
    assert not look(made(10), tmp_path / "d")[0].kept
    free(monkeypatch, 0)  # what is there already needs no room
    assert look(made(9), tmp_path / "c")[0].kept


def test_a_full_disk_leaves_nothing_torn(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "PART_BYTES", 900)
    source, whole, count = made(), os.fsync, Counter()

    def fsync(descriptor):
        count["calls"] += 1
        if count["calls"] > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DataError, match=r"to .*: No space left on device. Make room"):
        look(source, tmp_path)
    monkeypatch.setattr(os, "fsync", whole)
    parts = list(tmp_path.glob("*/0*"))
    assert parts
    assert not list(tmp_path.glob("*/*.part"))
    source.decoded_names.clear()
    album, _ = look(source, tmp_path)
    assert 0 < len(source.decoded_names) < 40
    np.testing.assert_array_equal(column(album)[:], pixels_of(source))


def test_of_two_starts_at_once_one_waits_and_decodes_nothing(tmp_path):
    first, second, lines = made(5), made(5), []
    shelf = Shelf([tmp_path], {"what": "made"})
    started = threading.Event()

    def say(line):
        lines.append(line)
        started.set()

    def wait():
        other = Shelf([tmp_path], {"what": "made"})
        looked_at(second, "made", other, shape=SHAPE, say=say)

    thread = threading.Thread(target=wait)
    with shelf.locked(print):
        thread.start()
        assert started.wait(60)
        assert lines == ["another run is looking at these pictures, so this one waits"]
        album = looked_at(first, "made", None, shape=SHAPE, say=print)
        rows = album.seen.copy()
        rows["row"] = np.arange(5)
        shelf.add(rows, column(album)[:])
    thread.join(60)
    assert not second.decoded_names


def test_where_nothing_can_be_written_pictures_stay_in_memory(tmp_path, monkeypatch):
    (tmp_path / "file").touch()  # as root no mode of a folder stops a write
    source = made(5)
    album, _ = look(source, tmp_path / "file")
    np.testing.assert_array_equal(column(album)[:], pixels_of(source))
    monkeypatch.setattr(looking, "RESIDENT_BYTES", 100)
    assert not look(made(5), tmp_path / "file")[0].kept
    with pytest.raises(DataError, match="room for 100 B in memory: make room, set"):
        look(made(5), tmp_path / "file", "kept")
    second = Shelf([tmp_path / "file", tmp_path / "other"], {"what": "made"})
    assert second.writable
    assert second.folder.parent.name == "other"


KILLED = """
import sys, time
from pathlib import Path
from jaxnets.data.files import picture_files
from jaxnets.data.files.class_folders import image_folder
from jaxnets.data.store import looking

looking.PART_BYTES = 2000
whole = picture_files.PictureFiles.decoded
def decoded(self, position, **options):
    with open(sys.argv[2], "a") as file:
        file.write(f"{self.names[position]}\\n")
    time.sleep(0.005)
    return whole(self, position, **options)
picture_files.PictureFiles.decoded = decoded
print("ready", flush=True)
image_folder(Path(sys.argv[1]))
print("done", flush=True)
"""


@pytest.mark.campaign
def test_a_first_start_that_is_killed_20_times_ends_with_the_same_pictures(tmp_path):
    data, log = tmp_path / "data", tmp_path / "log"
    for i in range(200):
        path = data / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    command = [sys.executable, "-c", KILLED, os.fspath(data), os.fspath(log)]
    kills, moments = 0, np.random.default_rng(0)
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            if kills < 20:
                time.sleep(moments.uniform(0, 0.08))
                process.kill()
                kills += 1
            elif "done" in process.stdout.read():
                break
    (album,) = (tmp_path / ".jaxnets" / "data").iterdir()
    assert kills == 20
    assert not list(album.glob("*.part"))
    (work := Counter(log.read_text().split())).subtract(["class0/0.png"] * 21)
    assert sum(work.values()) < 200 + 20 * 80  # what was seen was not seen again
    log.write_text("")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert not log.read_text()
    dataset = image_folder(data)
    for split in dataset.splits.values():
        for row, name in zip(split.columns["image"], split.ids, strict=True):
            i = int(name.split("/")[1].split(".")[0])
            expected = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
            np.testing.assert_array_equal(row, expected)
