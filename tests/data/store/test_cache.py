import errno
import hashlib
import json
import os
import warnings

import numpy as np
import pytest

from jaxnets import files
from jaxnets.data.store.cache import ENVIRONMENT, cache_folder, cached

pytestmark = pytest.mark.host

KEY = {"version": 1, "drawn_by": "9.9"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


class Maker:
    """Counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {
            "image": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
            "text": np.array([b"one", b"three"]),
        }


def entry_of(folder):
    (entry,) = (path for path in (folder / "thing").iterdir())
    return entry


def assert_right(arrays):
    expected = Maker()()
    assert set(arrays) == set(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)


def test_made_once_and_read_back(folder):
    make = Maker()
    for _ in range(3):
        assert_right(cached("thing", KEY, make))
    assert make.calls == 1
    assert cache_folder() == folder
    manifest = json.loads((entry_of(folder) / "manifest.json").read_text())
    assert manifest["key"] == KEY
    image = entry_of(folder) / "image.npy"
    assert manifest["sha256"]["image"] == hashlib.sha256(image.read_bytes()).hexdigest()
    assert sorted(os.listdir(entry_of(folder))) == [
        "image.npy",
        "manifest.json",
        "text.npy",
    ]


def test_another_key_is_another_entry(folder):
    make = Maker()
    cached("thing", KEY, make)
    cached("thing", {**KEY, "drawn_by": "10.0"}, make)
    assert make.calls == 2
    assert len(list((folder / "thing").iterdir())) == 2


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


DAMAGE = {
    "a flipped bit": lambda entry: flip(entry / "image.npy"),
    "a flipped bit in the manifest": lambda entry: (entry / "manifest.json").write_text(
        (entry / "manifest.json").read_text().replace('"image": "', '"image": "0')
    ),
    "a truncated file": lambda entry: os.truncate(entry / "image.npy", 100),
    "an empty file": lambda entry: os.truncate(entry / "text.npy", 0),
    "a lost file": lambda entry: (entry / "text.npy").unlink(),
    "a lost manifest": lambda entry: (entry / "manifest.json").unlink(),
    "zeros": lambda entry: (entry / "manifest.json").write_bytes(bytes(200)),
    "not a table": lambda entry: (entry / "manifest.json").write_text("[1, 2]"),
    "nesting": lambda entry: (entry / "manifest.json").write_text("[" * 100_000),
    "another's key": lambda entry: (entry / "manifest.json").write_text(
        (entry / "manifest.json").read_text().replace("9.9", "9.8")
    ),
    "a way out": lambda entry: (entry / "manifest.json").write_text(
        (entry / "manifest.json").read_text().replace('"image"', '"../image"')
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_entry_is_named_and_made_again(folder, damage):
    make = Maker()
    cached("thing", KEY, make)
    damage(entry_of(folder))
    with pytest.warns(UserWarning, match="is damaged: .* made again"):
        assert_right(cached("thing", KEY, make))
    assert make.calls == 2
    assert_right(cached("thing", KEY, make))  # intact now: no warning, nothing made
    assert make.calls == 2
    assert len(list((folder / "thing").iterdir())) == 1


def forge(entry, content):
    """An array file whose digest is right, whatever it holds."""
    (entry / "image.npy").write_bytes(content)
    manifest = json.loads((entry / "manifest.json").read_text())
    manifest["sha256"]["image"] = hashlib.sha256(content).hexdigest()
    (entry / "manifest.json").write_text(json.dumps(manifest))


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_a_pickle_is_never_opened(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = Maker()
    cached("thing", KEY, make)
    with (tmp_path / "bomb.npy").open("wb") as file:
        np.save(file, np.array([Bomb()], object), allow_pickle=True)
    forge(entry_of(folder), (tmp_path / "bomb.npy").read_bytes())
    with pytest.warns(UserWarning, match="damaged"):
        assert_right(cached("thing", KEY, make))
    assert not (tmp_path / "exploded").exists()


def test_a_header_that_promises_too_much_allocates_nothing(folder):
    make = Maker()
    cached("thing", KEY, make)
    header = (
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, "
        b"'shape': (1000000, 1000000), }"
    )
    forge(entry_of(folder), header.ljust(127) + b"\n" + bytes(64))
    with pytest.warns(UserWarning, match="damaged: image.npy cannot be read"):
        assert_right(cached("thing", KEY, make))


def test_a_full_disk_costs_the_cache_and_not_the_data(folder, monkeypatch):
    def full(path, fill):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_with", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert_right(cached("thing", KEY, Maker()))
    assert list((folder / "thing").iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=ENVIRONMENT):
        assert_right(cached("thing", KEY, Maker()))


def test_what_a_killed_process_left_is_not_read_and_swept_when_old(folder):
    cached("thing", KEY, Maker())
    entry = entry_of(folder)
    fresh, old = (entry.parent / f".{entry.name}-{age}" for age in ("fresh", "old"))
    for leftover in (fresh, old):
        entry_copy = leftover / "image.npy"
        leftover.mkdir()
        entry_copy.write_bytes(b"half")
    os.utime(old, (0, 0))
    make = Maker()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_right(cached("thing", KEY, make))
        assert make.calls == 0
        cached("thing", {"other": 1}, make)  # a write sweeps
    assert fresh.exists()
    assert not old.exists()


@pytest.mark.parametrize("name", ["../thing", "a/b", "", ".hidden", "a b"])
def test_names_stay_inside(name):
    with pytest.raises(ValueError, match="plain word"):
        cached(name, KEY, Maker())
    with pytest.raises(ValueError, match="plain word"):
        cached("thing", KEY, lambda: {name: np.ones(2)})


@pytest.mark.parametrize("array", [np.array([{}], object), np.zeros((0, 3))])
def test_what_could_not_be_read_back_is_refused(array):
    with pytest.raises(ValueError, match="cannot be cached"):
        cached("thing", KEY, lambda: {"image": array})
