import errno
import fcntl
import threading

import pytest

from jaxnets.data.store.locks import held

pytestmark = pytest.mark.host


class Waiting:
    """A thread that wants a lock."""

    def __init__(self, path):
        self.asked, self.entered, self.leave = (threading.Event() for _ in range(3))
        self.thread = threading.Thread(target=self.run, args=(path,))
        self.thread.start()

    def run(self, path):
        with held(path, self.asked.set):
            self.entered.set()
            self.leave.wait(60)


@pytest.mark.parametrize("removed", [None, "file", "folder"])
def test_who_waits_enters_when_the_other_has_left(tmp_path, removed):
    path = tmp_path / "home" / "lock"
    with held(path, pytest.fail):
        other = Waiting(path)
        assert other.asked.wait(60)
        assert not other.entered.is_set()
        if removed is not None:
            path.unlink()
        if removed == "folder":
            path.parent.rmdir()
    assert other.entered.wait(60)
    third = Waiting(path)  # of the lock that is at the path, whoever made it
    assert third.asked.wait(60)
    assert not third.entered.is_set()
    for one in other, third:
        one.leave.set()
        one.thread.join(60)
    assert third.entered.is_set()


def test_a_file_system_without_locks_holds_up_nobody(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with held(tmp_path / "lock", pytest.fail), held(tmp_path / "lock", pytest.fail):
        pass


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError, match="home"), held(tmp_path / "home/lock", print):
        pass
