import os
import stat

import pytest

from jaxnets import files


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    files.write(path, "one")
    files.write(path, b"two")
    assert path.read_text() == "two"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, synced = tmp_path / "a.txt", []

    def fsync(descriptor):
        found = os.fstat(descriptor)
        kind = "folder" if stat.S_ISDIR(found.st_mode) else found.st_size
        synced.append((kind, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    files.write(path, "three")
    assert synced == [(5, False), ("folder", True)]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    files.write(path, "one")

    def fill(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        files.write_with(path, fill)
    assert path.read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "a/b", "a\\b", ".hidden", "a\0", "x" * 300, "a:b"]
)
def test_names_cannot_leave_a_folder(name):
    with pytest.raises(ValueError, match="no name"):
        files.safe_name(name)


def test_ordinary_names_are_fine():
    assert files.safe_name("confusion matrix-2_b.v1") == "confusion matrix-2_b.v1"


def test_without_a_home_folder_the_cache_is_a_temporary_one(monkeypatch, capsys):
    def unknown(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("JAXNETS_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", unknown)
    files._temporary_cache.cache_clear()
    folder = files.cache_root()
    assert folder.is_dir()
    assert folder == files.cache_root()
    assert "Set JAXNETS_CACHE" in capsys.readouterr().err
    files._temporary_cache.cache_clear()


def test_a_folder_that_cannot_be_made_is_replaced_by_a_temporary_one(tmp_path):
    assert files.writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    (tmp_path / "file").write_text("")
    instead = files.writable(tmp_path / "file" / "b")
    assert instead.is_dir()
    assert tmp_path not in instead.parents
