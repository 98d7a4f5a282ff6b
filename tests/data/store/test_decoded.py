import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.store import decoded, entries
from jaxnets.data.store.entries import DamagedError, Mapped, verified_header

pytestmark = pytest.mark.host

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3)).astype(np.uint8)
LABELS = np.arange(60, dtype=np.int32)
SOURCE = {"files": "one", "size": None}


def fill(store):
    with store.column("train.image", IMAGES.shape, "uint8") as append:
        append(IMAGES[:25])
        append(IMAGES[25:])
    store.save("train.label", LABELS)
    return {"classes": ["a", "b"], "mean": [0.1234567890123456]}


def never(store):
    raise AssertionError("the entry was not read")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNETS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def beside(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def entry_of(beside):
    (entry,) = (beside / ".jaxnets").iterdir()
    return entry


def check(got, *, notes=True):
    np.testing.assert_array_equal(got.columns["train.image"][:], IMAGES)
    np.testing.assert_array_equal(got.columns["train.label"][:], LABELS)
    assert got.columns["train.image"][:].dtype == np.uint8
    assert not notes or got.notes["mean"] == [0.1234567890123456]


def test_the_second_read_is_the_first_and_decodes_nothing(beside):
    check(decoded.decoded(beside, SOURCE, fill))
    check(decoded.decoded(beside, SOURCE, never))
    loaded = np.load(entry_of(beside) / "train.image.npy", allow_pickle=False)
    np.testing.assert_array_equal(loaded, IMAGES)


def test_another_source_is_another_entry_and_replaces_an_outdated_one(beside):
    decoded.decoded(beside, SOURCE, fill)
    decoded.decoded(beside, {**SOURCE, "size": 8}, fill)
    assert len(list((beside / ".jaxnets").iterdir())) == 2
    decoded.decoded(beside, {**SOURCE, "files": "prepared again"}, fill)
    assert len(list((beside / ".jaxnets").iterdir())) == 1
    with pytest.raises(AssertionError, match="not read"):
        decoded.decoded(beside, SOURCE, never)


def test_large_columns_are_mapped_and_give_plain_rows(beside):
    decoded.decoded(beside, SOURCE, fill)
    got = decoded.decoded(beside, SOURCE, never, resident_bytes=1000)
    images, labels = got.columns["train.image"], got.columns["train.label"]
    assert isinstance(images, Mapped)
    assert isinstance(labels, np.ndarray)
    assert len(images) == 60
    index = np.array([[3, 0], [59, 3]])
    np.testing.assert_array_equal(images[index], IMAGES[index])
    assert type(images[index]) is np.ndarray
    assert images.digest == files.sha256(entry_of(beside) / "train.image.npy")


DAMAGES = ("flip", "truncate", "append", "zero", "delete", "empty")


def damage(path, how, rng):
    data = bytearray(path.read_bytes())
    if how == "delete":
        return path.unlink()
    if how == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "truncate":
        del data[rng.randrange(len(data)) :]
    elif how == "append":
        data += bytes([rng.randrange(256)])
    elif how == "zero":
        at = rng.randrange(len(data))
        data[at : at + 64] = bytes(len(data[at : at + 64]))
    else:
        data.clear()
    return path.write_bytes(data)


def damage_and_read(beside, trials, seed):
    """Counts damages that changed a file, warned or raised, and left a right result."""
    decoded.decoded(beside, SOURCE, fill)
    entry, rng, noticed = entry_of(beside), random.Random(seed), 0
    for trial in range(trials):
        before = {p.name: p.read_bytes() for p in entry.iterdir()}
        name = sorted(before)[trial % len(before)]
        damage(entry / name, DAMAGES[trial // len(before) % len(DAMAGES)], rng)
        after = {p.name: p.read_bytes() for p in entry.iterdir()}
        if after == before:
            continue
        if name == "manifest.json" and _same_json(before[name], after.get(name)):
            continue  # white space
        with pytest.warns(UserWarning, match="is damaged: .*decoded again"):
            check(decoded.decoded(beside, SOURCE, fill))
        noticed += 1
        check(decoded.decoded(beside, SOURCE, never))
        leftovers = [p for p in (beside / ".jaxnets").iterdir() if p != entry]
        assert not leftovers
    return noticed


def _same_json(before, after):
    try:
        return json.loads(before) == json.loads(after)
    except (TypeError, ValueError):
        return False


def test_damage_is_noticed_and_decoded_again(beside):
    assert damage_and_read(beside, 54, seed=1) >= 48


def test_a_changed_digit_in_the_manifest_is_noticed(beside):
    decoded.decoded(beside, SOURCE, fill)
    path = entry_of(beside) / "manifest.json"
    text = path.read_text()
    assert text.count("0.1234567890123456") == 1
    path.write_text(text.replace("0.1234567890123456", "0.1234567890123457"))
    with pytest.warns(UserWarning, match=r"manifest.json does not have its SHA-256"):
        check(decoded.decoded(beside, SOURCE, fill))


@pytest.mark.campaign
def test_a_thousand_damages_are_noticed(beside):
    assert damage_and_read(beside, 1000, seed=2) >= 900


def forge(entry, name, shape):
    """A header and a manifest that agree with each other, but not with the file."""
    path = entry / f"{name}.npy"
    data = entries.header_of(tuple(shape), np.dtype("uint8")) + path.read_bytes()[128:]
    path.write_bytes(data)
    stored = json.loads((entry / "manifest.json").read_text())
    about = stored["manifest"]["columns"][name]
    about.update(shape=list(shape), sha256=files.sha256(path))
    stored["sha256"] = decoded.hashlib.sha256(
        entries.canonical(stored["manifest"])
    ).hexdigest()
    (entry / "manifest.json").write_text(json.dumps(stored))


def test_a_header_that_lies_about_its_size_allocates_nothing(beside, monkeypatch):
    decoded.decoded(beside, SOURCE, fill)
    entry = entry_of(beside)
    for shape in ((2**40, 4, 4, 3), (2**62, 2**62), (61, 4, 4, 3), (59, 4, 4, 3)):
        forge(entry, "train.image", shape)
        described = json.loads((entry / "manifest.json").read_text())["manifest"]
        with monkeypatch.context() as patch:
            patch.setattr(np, "load", never)
            with pytest.raises(DamagedError, match="header promises"):
                entries.opened(entry, described["source"], 1 << 30)
        with pytest.warns(UserWarning, match="header promises"):
            check(decoded.decoded(beside, SOURCE, fill))


def test_no_pickle_is_read(beside, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    decoded.decoded(beside, SOURCE, fill)
    entry = entry_of(beside)
    np.save(entry / "train.label.npy", np.array([Bomb()] * 60, object))
    stored = json.loads((entry / "manifest.json").read_text())
    about = stored["manifest"]["columns"]["train.label"]
    about.update(dtype="|O", sha256=files.sha256(entry / "train.label.npy"))
    canonical = entries.canonical(stored["manifest"])
    stored["sha256"] = decoded.hashlib.sha256(canonical).hexdigest()
    (entry / "manifest.json").write_text(json.dumps(stored))
    with pytest.warns(UserWarning, match="is damaged"):
        check(decoded.decoded(beside, SOURCE, fill))
    assert not (tmp_path / "exploded").exists()


def test_a_manifest_cannot_name_a_file_elsewhere(beside):
    decoded.decoded(beside, SOURCE, fill)
    entry = entry_of(beside)
    stored = json.loads((entry / "manifest.json").read_text())
    columns = stored["manifest"]["columns"]
    columns["../../secret"] = columns.pop("train.label")
    canonical = entries.canonical(stored["manifest"])
    stored["sha256"] = decoded.hashlib.sha256(canonical).hexdigest()
    (entry / "manifest.json").write_text(json.dumps(stored))
    with pytest.warns(UserWarning, match="no name for a file"):
        check(decoded.decoded(beside, SOURCE, fill))


def test_a_read_only_set_is_decoded_into_the_cache_folder(beside, tmp_path):
    (beside / ".jaxnets").write_text("in the way: root ignores permissions")
    check(decoded.decoded(beside, SOURCE, fill))
    check(decoded.decoded(beside, SOURCE, never))
    assert list((tmp_path / "cache" / "decoded").glob("*/*/manifest.json"))


def test_without_any_folder_the_remedy_is_named(beside, tmp_path):
    (beside / ".jaxnets").write_text("")
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match="set JAXNETS_CACHE"):
        decoded.decoded(beside, SOURCE, fill)


def test_a_full_disk_leaves_nothing_behind(beside, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            decoded.decoded(beside, SOURCE, fill)
    assert not list((beside / ".jaxnets").iterdir())
    check(decoded.decoded(beside, SOURCE, fill))


def test_what_a_kill_leaves_is_no_entry_and_is_swept_later(beside):
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(os.getcwd())!r})
from pathlib import Path
import numpy as np
from jaxnets.data.store.decoded import decoded
def fill(store):
    with store.column("train.image", (60, 4, 4, 3), "uint8") as append:
        append(np.zeros((10, 4, 4, 3), np.uint8))
        os.kill(os.getpid(), signal.SIGKILL)
decoded(Path({str(beside)!r}), {SOURCE!r}, fill)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60)
    assert done.returncode == -9
    (left,) = (beside / ".jaxnets").glob("*.part")
    old, new = (left.with_name(f"{name}.part") for name in ("old", "new"))
    old.mkdir()
    os.utime(old, (0, 0))
    new.mkdir()  # another process may be writing to it
    check(decoded.decoded(beside, SOURCE, fill))
    assert list((beside / ".jaxnets").glob("*.part")) == [new]


def test_of_two_starts_at_once_one_fills_and_the_other_waits(beside):
    lines, waits, found = [], threading.Event(), []

    def say(line):
        lines.append(line)
        waits.set()

    def other():
        found.append(decoded.decoded(beside, SOURCE, never, name="toy", say=say))

    thread = threading.Thread(target=other)

    def slowly(store):
        thread.start()
        assert waits.wait(60)
        return fill(store)

    check(decoded.decoded(beside, SOURCE, slowly))
    thread.join(60)
    check(found[0])
    assert lines == ["toy: another run is decoding these data, so this waits"]


def test_rows_must_be_as_many_and_as_large_as_announced(beside):
    def short(store):
        with store.column("a", (3, 2), "uint8") as append:
            append(np.zeros((2, 2), np.uint8))
        return {}

    def other(store):
        with store.column("a", (3, 2), "uint8") as append:
            append(np.zeros((3, 3), np.uint8))
        return {}

    with pytest.raises(ValueError, match="2 rows instead of 3"):
        decoded.decoded(beside, SOURCE, short)
    with pytest.raises(ValueError, match="do not fit"):
        decoded.decoded(beside, SOURCE, other)
    with pytest.raises(ValueError, match="pickle"):
        decoded.decoded(
            beside, SOURCE, lambda store: store.save("a", np.array([None])) or {}
        )
    assert not list((beside / ".jaxnets").iterdir())


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 2), "<i4"), ((0, 5), "|u1"), ((7,), "<f8"), ((), "|b1")]
)
def test_numpy_reads_the_headers(tmp_path, shape, dtype):
    array = np.zeros(shape, dtype)
    path = tmp_path / "a.npy"
    path.write_bytes(entries.header_of(shape, array.dtype) + array.tobytes())
    assert verified_header(path, shape, array.dtype) == array.nbytes
    loaded = np.load(path, allow_pickle=False)
    assert loaded.shape == shape
    assert loaded.dtype == array.dtype


def test_the_entry_of_a_copied_set_is_found(beside, tmp_path):
    decoded.decoded(beside, SOURCE, fill)
    shutil.copytree(beside, tmp_path / "copy")
    check(decoded.decoded(tmp_path / "copy", SOURCE, never))
