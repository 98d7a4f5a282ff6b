import json
import os
import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import files
from jaxnets.run import checkpoints as checkpoints_module
from jaxnets.run.checkpoints import CheckpointError, Checkpoints, digest, verify


def state(value=0.0):
    return {
        "params": {"w": jnp.arange(600.0) + value, "b": jnp.ones((3,), jnp.bfloat16)},
        "key": jax.random.key(7),
        "step": jnp.int32(int(value)),
        "empty": jnp.zeros((0, 4)),
        "flag": jnp.array([True, False]),
    }


def target():
    return jax.eval_shape(state)


def saved(folder, steps=(10, 20, 30), **options):
    said = []
    checkpoints = Checkpoints(folder, keep=3, say=said.append, **options)
    for step in steps:
        checkpoints.save(step, state(step), {"at": step})
    return checkpoints, said


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    checkpoints, _ = saved(tmp_path / "c")
    found = checkpoints.newest(target())
    assert (found.step, found.record) == (30, {"at": 30})
    assert digest(found.state) == digest(state(30))
    assert found.state["params"]["b"].dtype == jnp.bfloat16
    assert found.state["empty"].shape == (0, 4)
    draw = jax.random.normal(found.state["key"], (3,))
    np.testing.assert_array_equal(draw, jax.random.normal(jax.random.key(7), (3,)))


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path / "none").newest(target()) is None


def test_only_the_newest_are_kept(tmp_path):
    checkpoints, _ = saved(tmp_path, steps=range(1, 7))
    assert checkpoints.steps() == [4, 5, 6]
    assert sorted(os.listdir(tmp_path)) == ["4", "5", "6"]


def test_leftovers_of_a_kill_are_swept(tmp_path):
    saved(tmp_path)
    (tmp_path / "40.tmp" / "state").mkdir(parents=True)
    (tmp_path / "5.trash").mkdir()
    assert Checkpoints(tmp_path).newest(target()).step == 30
    assert sorted(os.listdir(tmp_path)) == ["10", "20", "30"]


def test_the_digest_sees_every_leaf():
    base = state()
    for name in base:
        if name == "empty":
            continue
        other = jax.tree.map(lambda x: x, base)
        if name == "key":
            other[name] = jax.random.key(8)
        elif name == "flag":
            other[name] = ~base[name]
        else:
            other[name] = jax.tree.map(lambda x: x + 1, base[name])
        assert digest(other) != digest(base), name
    renamed = {("step2" if k == "step" else k): v for k, v in base.items()}
    assert digest(renamed) != digest(base)


def test_a_state_of_another_kind_is_refused_with_the_difference(tmp_path):
    checkpoints, _ = saved(tmp_path)
    other = {**target(), "extra": jax.ShapeDtypeStruct((2,), jnp.float32)}
    other["params"] = {"w": jax.ShapeDtypeStruct((5,), jnp.float32)}
    with pytest.raises(CheckpointError) as error:
        checkpoints.newest(other)
    for word in ("['extra'] is missing", "['params']['b'] is not expected", "(600,)"):
        assert word in str(error.value)


KINDS = ("flip", "truncate", "delete", "zeros", "append", "stray")


def corrupt(folder, kind, rng):
    """Damages one file of the checkpoint, and says which."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    path = rng.choice([p for p in files if p.stat().st_size > 0])
    content = bytearray(path.read_bytes())
    if kind == "flip":
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del content[rng.randrange(len(content)) :]
    elif kind == "zeros":
        begin = rng.randrange(len(content))
        if not any(content[begin : begin + 64]):
            begin = next(i for i, byte in enumerate(content) if byte)
        content[begin : begin + 64] = bytes(len(content[begin : begin + 64]))
    elif kind == "append":
        content += bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
    if kind == "delete":
        path.unlink()
    elif kind == "stray":
        (folder / "state" / "more").write_bytes(b"x")
    else:
        path.write_bytes(bytes(content))
    return path


def campaign(tmp_path, count):
    """Damages the newest of three checkpoints `count` times; counts what was seen."""
    whole = tmp_path / "whole"
    saved(whole)
    rng, noticed = random.Random(0), 0
    for index in range(count):
        folder = tmp_path / "damaged"
        shutil.copytree(whole, folder)
        kind = KINDS[index % len(KINDS)]
        corrupt(folder / "30", kind, rng)
        said = []
        found = Checkpoints(folder, say=said.append).newest(target())
        assert found.step == 20, (kind, said)
        assert digest(found.state) == digest(state(20))
        noticed += any("checkpoint 30 is damaged" in text for text in said)
        shutil.rmtree(folder)
    return noticed


def test_damage_is_noticed_and_the_newest_intact_step_is_used(tmp_path):
    assert campaign(tmp_path, 24) == 24


@pytest.mark.campaign
def test_240_corruptions(tmp_path):
    assert campaign(tmp_path, 240) == 240


def test_without_an_intact_step_there_is_an_error_and_no_fresh_start(tmp_path):
    saved(tmp_path)
    for step in (10, 20, 30):
        (tmp_path / str(step) / "record.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"none of the checkpoints.*record.json is missing"
    ):
        Checkpoints(tmp_path, say=lambda text: None).newest(target())


def test_a_stray_folder_is_named_and_ignored(tmp_path):
    checkpoints, said = saved(tmp_path)
    for name in ("999999_old", "latest", "007", "-1"):
        (tmp_path / name).mkdir()
    assert checkpoints.newest(target()).step == 30
    assert len([text for text in said if "no checkpoint and is ignored" in text]) == 4


def test_a_folder_without_a_manifest_is_damage(tmp_path):
    checkpoints, said = saved(tmp_path)
    (tmp_path / "99").mkdir()
    assert checkpoints.newest(target()).step == 30
    assert "manifest.json is missing" in said[0]


def test_a_further_test_may_refuse_a_checkpoint(tmp_path):
    checkpoints, said = saved(tmp_path)
    wrong = {20: None, 30: "the metrics are gone"}
    found = checkpoints.newest(target(), lambda record: wrong[record["at"]])
    assert found.step == 20
    assert "the metrics are gone" in said[0]


def test_the_same_step_may_be_saved_again(tmp_path):
    checkpoints, _ = saved(tmp_path)
    checkpoints.save(30, state(31), {"at": 31})
    assert checkpoints.newest(target()).record == {"at": 31}
    assert verify(tmp_path / "30") is None


@pytest.mark.parametrize("where", ["orbax", "manifest", "rename"])
def test_a_failed_save_leaves_nothing_behind(tmp_path, monkeypatch, where):
    checkpoints, _ = saved(tmp_path)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    if where == "orbax":
        monkeypatch.setattr("orbax.checkpoint.PyTreeCheckpointer.save", full)
    elif where == "manifest":
        monkeypatch.setattr("jaxnets.files.sha256", full)
    else:
        monkeypatch.setattr("pathlib.Path.rename", full)
    with pytest.raises(CheckpointError, match=r"No space left.*\[10, 20, 30\]"):
        checkpoints.save(40, state(40), {})
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["10", "20", "30"]
    assert checkpoints.newest(target()).step == 30


def test_a_full_disk_is_reported_at_once(tmp_path):
    """A real one: a file system of two megabytes, where it may be mounted."""
    if os.system(f"mount -t tmpfs -o size=2m none {tmp_path} 2>/dev/null") != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        checkpoints = Checkpoints(tmp_path / "c", keep=2, say=lambda text: None)
        big = {"w": jnp.asarray(np.random.default_rng(0).normal(size=100_000))}
        checkpoints.save(1, big, {})
        rng = np.random.default_rng(1)
        with pytest.raises(
            CheckpointError, match=r"Older checkpoints are intact: \[1\]"
        ):
            checkpoints.save(2, {"w": jnp.asarray(rng.normal(size=600_000))}, {})
        assert os.listdir(tmp_path / "c") == ["1"]
        assert digest(checkpoints.newest(jax.eval_shape(lambda: big)).state) == digest(
            big
        )
    finally:
        os.system(f"umount {tmp_path}")


def test_weights_can_be_read_without_their_state(tmp_path):
    checkpoints, _ = saved(tmp_path)
    (tmp_path / "30" / "record.json").write_text("{}")
    sha, found = checkpoints.leaves()
    assert len(sha) == 64
    np.testing.assert_array_equal(found["['params']['w']"], np.arange(600.0) + 20)


def test_nothing_in_a_checkpoint_is_run(tmp_path):
    """A pickle that is put in a checkpoint's place is damage, not a program."""
    import pickle

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'hacked'}",))

    checkpoints, _ = saved(tmp_path / "c", steps=[1, 2])
    payload = pickle.dumps(Evil())
    for path in (tmp_path / "c" / "2").rglob("*"):
        if path.is_file():
            path.write_bytes(payload)
    assert checkpoints.newest(target()).step == 1
    # Even with a manifest that vouches for it.
    from jaxnets import files

    folder = tmp_path / "c" / "1"
    for path in (folder / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(payload)
    listed = {
        str(p.relative_to(folder)): files.sha256(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(listed, indent=1))
    with pytest.raises(Exception, match=r".+"):
        checkpoints.newest(target())
    assert not (tmp_path / "hacked").exists()


ODD_NAMES = (
    "proj [v2]",
    "a*b",
    "a?b",
    "a\\b",
    "a{b}",
    "a%20b",
    "~x #1 $HOME",
    'it\'s "q"',
    "one\ntwo",
    "é 名",
    os.fsdecode(b"caf\xe9"),
)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_folders_of_any_name(tmp_path, name):
    folder = tmp_path / name / "checkpoints"
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, state(3), {"at": 3})
    assert (folder / "3" / "state" / "manifest.ocdbt").is_file()
    found = checkpoints.newest(target())
    assert digest(found.state) == digest(state(3))
    assert "['flag']" in checkpoints.leaves()[1]


def test_a_folder_whose_name_matches_another_one_is_not_mixed_up(tmp_path):
    for name, value in (("axb", 1), ("a*b", 2)):
        Checkpoints(tmp_path / name).save(1, state(value), {})
    found = Checkpoints(tmp_path / "a*b").newest(target())
    assert digest(found.state) == digest(state(2))


def test_what_cannot_be_read_back_does_not_count_as_saved(tmp_path, monkeypatch):
    checkpoints, _ = saved(tmp_path, steps=[10])
    read = checkpoints_module._arrays

    def other(folder):
        return {**read(folder), "00001": np.zeros(600, np.float32)}

    def lost(folder):
        raise ValueError("NOT_FOUND [tensorstore_spec='a page of settings']")

    for broken, why in ((other, "reads back differently"), (lost, ": NOT_FOUND. ")):
        monkeypatch.setattr(checkpoints_module, "_arrays", broken)
        with pytest.raises(CheckpointError, match=why) as error:
            checkpoints.save(20, state(20), {})
        assert "checkpoints are intact: [10]" in str(error.value)
        assert "a page" not in str(error.value)
    assert os.listdir(tmp_path) == ["10"]


def test_arrays_that_cannot_be_read_are_damage_even_if_the_digests_agree(tmp_path):
    checkpoints, said = saved(tmp_path)
    newest = tmp_path / "30"
    (newest / "state" / "manifest.ocdbt").unlink()
    listed = json.loads((newest / "manifest.json").read_text())
    del listed["state/manifest.ocdbt"]
    (newest / "manifest.json").write_text(files.dump_json(listed, indent=1))
    assert verify(newest) is None
    assert checkpoints.newest(target()).step == 20
    assert "checkpoint 30 is damaged and is skipped: its arrays cannot" in said[0]
    assert "tensorstore_spec" not in said[0]
    assert digest(state(20)) == digest(Checkpoints(tmp_path).newest(target()).state)
