import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxnets.data.__main__ import main
from jaxnets.data.files.class_folders import image_folder
from jaxnets.data.store.cache import ENVIRONMENT, MANIFEST, cached
from jaxnets.data.store.decoded import decoded
from jaxnets.data.store.shelf import Shelf
from tests.data.files.test_folder import tree

pytestmark = pytest.mark.host

SOURCE = {"files": "one", "size": [4, 6], "streamed": None}
ROWS = np.arange(12, dtype=np.int32)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache, no TFDS sets, and an empty current folder."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def fill(store):
    store.save("train.label", ROWS)
    return {}


def never(store):
    raise AssertionError("the entry was not read")


def kept(capsys, *words):
    stdout = sys.stdout
    capsys.readouterr()  # what starts have said before
    status = main(["kept", *map(str, words)])
    sys.stdout = stdout  # an error ends a program, and closes it
    shown = capsys.readouterr()
    return status, shown.out, shown.err


def listed(capsys, *words):
    status, out, _ = kept(capsys, "--json", *words)
    assert status == 0
    return [json.loads(line) for line in out.splitlines()]


def entry_of(store):
    (entry,) = (p for p in store.iterdir() if p.is_dir())
    return entry


def unwritable(beside):
    """No entry fits beside these data: root may write to a read-only folder."""
    beside.mkdir(exist_ok=True)
    (beside / ".jaxnets").touch()
    (beside / "records").touch()
    return beside


def three(folder):
    """An album, a decoded set in the cache, and generated arrays."""
    tree(folder / "pets")
    image_folder(folder / "pets")
    decoded(unwritable(folder / "1.0.0"), SOURCE, fill, name="flowers")
    cached("wiggles", {"count": 3}, lambda: {"row": ROWS})


def test_entries_of_all_kinds_are_listed_with_what_they_are_of(capsys, folder):
    three(folder)
    found = {entry["kind"]: entry for entry in listed(capsys)}
    assert len(listed(capsys)) == len(found) == 3
    expected = {
        "album": ("pets", folder / "pets", folder / ".jaxnets/pets"),
        "decoded": ("flowers", folder / "1.0.0", folder.parent / "cache/decoded"),
        "generated": ("wiggles", None, folder.parent / "cache/wiggles"),
    }
    for kind, (name, path, store) in expected.items():
        entry = found[kind]
        assert entry["name"] == name
        assert entry["path"] == (path and str(path))
        assert entry["folder"].startswith(str(store))
        assert entry["folder"].endswith(entry["key"])
        inside = [p for p in Path(entry["folder"]).rglob("*") if p.is_file()]
        assert entry["size"] == sum(p.stat().st_size for p in inside) > 100
        assert not entry["gone"]
    status, out, _ = kept(capsys)
    assert status == 0
    assert all(len(line) <= 100 for line in out.splitlines() if line.startswith("  "))
    assert "flowers: decoded, size 4 x 6" in out
    assert "wiggles: generated, count 3" in out
    assert "pets: album, fit crop, " in out
    assert str(folder / ".jaxnets/pets") in out.splitlines()
    total = sum(entry["size"] for entry in found.values())
    assert out.splitlines()[-1] == f"3 entries, {total / 1000:.3g} kB"


def test_what_is_said_of_the_data_changes_no_key(folder):
    decoded(folder, SOURCE, fill, name="flowers")
    text = json.dumps({"format": 1, **SOURCE}, sort_keys=True).encode()
    entry = entry_of(folder / ".jaxnets")
    assert entry.name == hashlib.sha256(text).hexdigest()[:16]
    stored = json.loads((entry / MANIFEST).read_text())
    assert stored.pop("data") == {"name": "flowers"}
    (entry / MANIFEST).write_text(json.dumps(stored))  # as it was before
    decoded(folder, SOURCE, never)
    assert (
        Shelf([folder], {"a": 1}, {"name": "x"}).folder
        == Shelf([folder], {"a": 1}).folder
    )


def test_entries_without_a_name_are_called_by_their_folder(capsys, folder):
    decoded(folder, SOURCE, fill)
    decoded(unwritable(folder.parent / "other"), SOURCE, fill)
    assert {entry["name"] for entry in listed(capsys)} == {"here", "other"}


def test_each_use_is_the_last_one(capsys, folder):
    three(folder)
    for entry in listed(capsys):
        os.utime(Path(entry["folder"], MANIFEST), (1e9, 1e9))
    assert "2001-09-" in kept(capsys)[1]
    image_folder(folder / "pets")
    decoded(folder / "1.0.0", SOURCE, never)
    cached("wiggles", {"count": 3}, lambda: pytest.fail("not read"))
    assert all(entry["used"] > 1.1e9 for entry in listed(capsys))


def test_data_that_are_gone_are_marked(capsys, folder):
    three(folder)
    for name in ("cat", "dog"):
        shutil.rmtree(folder / "pets" / name)
    shutil.rmtree(folder / "1.0.0")
    gone = {entry["kind"]: entry["gone"] for entry in listed(capsys)}
    assert gone == {"album": True, "decoded": True, "generated": False}
    assert kept(capsys)[1].count("(its data are gone)") == 2


def test_stores_are_found_three_levels_below_and_not_in_hidden_folders(capsys, folder):
    tfds = folder.parent / "tfds"
    for place in ("a/b/1.0.0", "a/b/c/d", ".hidden", "set", "set/below"):
        (tfds / place).mkdir(parents=True, exist_ok=True)
        decoded(tfds / place, SOURCE, fill)
    names = lambda *words: [entry["name"] for entry in listed(capsys, *words)]
    assert sorted(names()) == ["1.0.0", "below", "set"]
    assert names(tfds / "a/b/c") == ["d"]
    assert kept(capsys, tfds / "missing")[0] == 1


def test_a_named_entry_is_removed_alone_and_made_again(capsys, folder):
    three(folder)
    entries = {entry["kind"]: entry for entry in listed(capsys)}
    first = entries["album"]
    status, out, _ = kept(capsys, "--remove", first["key"][:9])
    assert status == 0
    assert f"removed {first['folder']}: pets, " in out
    assert out.splitlines()[-1] == f"freed {first['size'] / 1000:.3g} kB"
    assert not list(Path(first["folder"]).parent.iterdir())
    assert {e["kind"] for e in listed(capsys)} == {"decoded", "generated"}
    folders = [entry["folder"] for entry in entries.values() if entry is not first]
    assert kept(capsys, "--remove", *folders)[0] == 0
    assert not listed(capsys)
    three(folder)
    assert {e["key"] for e in listed(capsys)} == {e["key"] for e in entries.values()}


def test_a_word_that_names_none_or_several_removes_nothing(capsys, folder):
    for name in ("a", "b"):
        (folder / name).mkdir()
        decoded(folder / name, SOURCE, fill)
    cached("wiggles", {"count": 3}, lambda: {"row": ROWS})
    entries = listed(capsys)
    twice = entry_of(folder / "a/.jaxnets")
    single = next(e["key"] for e in entries if e["kind"] == "generated")
    for word, count in (("zz", 3), ("", 3), (twice.name, 2), (folder, 3)):
        status, _, error = kept(capsys, "--remove", single, word)
        assert status == 1
        assert error.startswith("error: --remove ")
        assert sum(e["folder"] in error for e in entries) == count
    assert listed(capsys) == entries
    assert kept(capsys, "--remove", os.path.relpath(twice))[0] == 0
    assert [e["name"] for e in listed(capsys)] == ["wiggles", "b"]


def test_an_album_in_use_stays(capsys, folder):
    shelf = Shelf([folder / ".jaxnets", folder], {"what": "made"}, {"name": "pets"})
    decoded(folder, SOURCE, fill)
    keys = [entry["key"] for entry in listed(capsys)]
    with shelf.locked(print):
        status, out, _ = kept(capsys, "--remove", *keys)
    assert status == 1
    assert f"{shelf.folder} was not removed: {shelf.folder.name} is in use" in out
    assert [entry["key"] for entry in listed(capsys)] == [shelf.folder.name]
    assert kept(capsys, "--remove", shelf.folder.name)[0] == 0
    assert not shelf.folder.exists()


def test_links_and_what_is_no_entry_are_left_alone(capsys, folder):
    outside = folder.parent / "outside"
    outside.mkdir()
    decoded(outside, SOURCE, fill)
    entry, store = entry_of(outside / ".jaxnets"), folder / ".jaxnets"
    decoded(folder, SOURCE, fill)
    real = entry_of(store)
    (store / "0123456789abcdef").symlink_to(entry)  # a link to an entry
    (folder / "linked").mkdir()
    (folder / "linked/.jaxnets").symlink_to(entry.parent)  # a link to a store
    for name, text in (("0" * 16, "[]"), ("1" * 16, '{"a": 1}'), ("notes", "{}")):
        (store / name).mkdir()
        (store / name / MANIFEST).write_text(text)  # folders that are no entries
    (store / ("2" * 16)).mkdir()
    (store / ("2" * 16) / MANIFEST).symlink_to(entry / MANIFEST)
    (real / "photos").symlink_to(outside)  # a link in an entry
    assert [e["folder"] for e in listed(capsys)] == [str(real)]
    assert kept(capsys, "--remove", store / "0123456789abcdef")[0] == 1
    assert kept(capsys, "--remove", real)[0] == 0
    assert not real.exists()
    assert (entry / "train.label.npy").exists()
    assert len(list(store.iterdir())) == 5


def test_a_damaged_entry_can_be_removed(capsys, folder):
    decoded(folder, SOURCE, fill)
    entry = entry_of(folder / ".jaxnets")
    (entry / MANIFEST).write_bytes(b"{\xff")
    assert [e["kind"] for e in listed(capsys)] == ["damaged"]
    assert kept(capsys, "--remove", entry.name)[0] == 0
    assert not entry.exists()
