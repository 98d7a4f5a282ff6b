import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxnets.data.__main__ import COMMANDS, main
from tests.data import damage
from tests.data.files.test_annotations import voc as counted
from tests.data.files.test_folder import captioned, coco, png, put, tree, voc
from tests.data.files.test_mask_images import mask, masked
from tests.data.files.test_yolo import NAMES, labelled

pytestmark = pytest.mark.host


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    return code, capsys.readouterr().out


def captions(root):
    captioned(root, [f"{i}.png,x" for i in range(12)])


def yolo(root):
    labelled(root)
    put(root, "data.yaml", NAMES)


def masked_images(root):
    masked(root, mask())


def pairs(root):
    put(root, "a.tsv", "\n".join(f"{i}\tx" for i in range(99)))


@pytest.mark.parametrize(
    ("kind", "make", "examples"),
    [
        ("images", tree, 20),
        ("captions", captions, 12),
        ("coco", coco, 10),
        ("voc", voc, 10),
        ("yolo", yolo, 10),
        ("masks", masked_images, 10),
        ("text", lambda root: put(root, "a.txt", "\n\n".join("abcdefgh")), 8),
        ("pairs", pairs, 99),
    ],
)
def test_a_sound_set_of_each_kind_passes(capsys, tmp_path, kind, make, examples):
    root = tmp_path / "set"
    make(root)
    code, out = run(capsys, "check", root)
    assert out.splitlines()[-1] == "0 problems"
    assert code == 0
    first = out.splitlines()[0]
    assert first.startswith(f"{root}: {kind}, ")
    counts = first.removeprefix(f"{root}").replace(",", " ").split()
    assert sum(int(word) for word in counts if word.isdigit()) == examples
    assert run(capsys, "check", root, "--kind", kind)[0] == 0


def test_every_bad_file_is_listed_with_its_kind_and_counted(capsys, tmp_path):
    made = tree(tmp_path, count=12)
    bad = [f"cat/{i:03}.png" for i in range(9)]
    for name in bad:
        put(tmp_path, name, png(made[name])[:-5])
    put(tmp_path, "dog/notes.txt", "x")
    (tmp_path / "eel").mkdir()
    put(tmp_path, "dog/large.png", png(damage.picture(3, 9, 9)))
    code, out = run(capsys, "check", tmp_path)
    assert code == 1
    for name in bad:
        assert f"[file] {name}: is cut off" in out
    assert "[shape] " in out
    assert "--size 6 brings all to one shape" in out
    assert out.splitlines()[-1] == "12 problems: file 10, label 1, shape 1"
    code, out = run(capsys, "check", tmp_path, "--size", "8", "--fit", "pad")
    assert "[file] dog/notes.txt: is not called" in out
    assert "[label] eel: is empty" in out
    assert "shapes, height x width: 6 x 7 15, 9 x 9 1" in out
    assert "classes: dog 13, cat 3" in out
    assert out.splitlines()[-1] == "11 problems: file 10, label 1"
    assert len(out.splitlines()) == 3 + 11 + 1


def test_all_bad_annotations_are_listed(capsys, tmp_path):
    value = coco(tmp_path)
    for i in (0, 4, 8, 9):
        row = next(r for r in value["annotations"] if r["image_id"] == i)
        row["bbox"] = [5, 5, -2, 3]
    value["annotations"][-1]["category_id"] = 8
    put(tmp_path, "annotations/instances_train2017.json", json.dumps(value))
    code, out = run(capsys, "check", tmp_path)
    assert code == 1
    assert out.count("is empty or turned over") == 3
    assert "category 8; allowed are [3, 7]" in out
    assert out.splitlines()[-1] == "4 problems: box 4"


def test_boxes_that_count_otherwise_and_lists_to_choose_from_have_flags(
    capsys, tmp_path
):
    counted(tmp_path / "zero", [(0, 0, 29, 19)])
    code, out = run(capsys, "check", tmp_path / "zero")
    assert code == 1
    assert out.count("so try --first-pixel 0") == 1 + 10  # said once, and each box
    code, out = run(capsys, "check", tmp_path / "zero", "--first-pixel", 0)
    assert (code, out.splitlines()[-1]) == (0, "0 problems")
    captions(tmp_path / "two")
    put(tmp_path, "two/more.csv", "image,caption\n")
    assert "--captions captions.csv" in run(capsys, "check", tmp_path / "two")[1]
    chosen = run(capsys, "check", tmp_path / "two", "--captions", "captions.csv")
    assert chosen[0] == 0


def test_a_name_cannot_command_the_terminal(capsys, tmp_path):
    tree(tmp_path)
    put(tmp_path, "cat/\x1b[2Jboo\n\u202egnp.png", b"x")
    code, out = run(capsys, "check", tmp_path)
    assert code == 1
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert r"\x1b[2Jboo\n\u202egnp.png" in out


def test_what_looks_like_nothing_or_is_missing_is_one_problem(capsys, tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        code, out = run(capsys, "check", path)
        assert code == 1
        assert out.splitlines()[-1] == "1 problems: layout 1"


def test_an_empty_path_is_not_the_current_folder(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["check", ""])
    assert stopped.value.code == 2
    assert "the path is empty" in capsys.readouterr().err


def test_a_list_of_captions_says_the_kind(capsys, tmp_path):
    tree(tmp_path / "photos")
    lines = [f"photos/cat/{i:03}.png,x" for i in range(10)]
    put(tmp_path, "list.csv", "\n".join(["image,caption", *lines]))
    put(tmp_path, "other.csv", "\n".join(["image,caption", *lines]))
    code, out = run(capsys, "check", tmp_path, "--captions", "list.csv")
    assert code == 0
    assert out.splitlines()[0].startswith(f"{tmp_path}: captions, ")
    flags = ("--kind", "images", "--captions", "list.csv")
    code, out = run(capsys, "check", tmp_path, *flags)
    assert code == 1
    assert "--captions is for --kind captions, not images" in out


@pytest.mark.filterwarnings("always::jaxnets.data.files.problems.DataWarning")
def test_what_is_left_out_is_a_plain_line(capsys, tmp_path):
    captions(tmp_path)
    for i in range(12, 20):
        put(tmp_path, f"images/{i}.png", png(damage.picture(i, 6, 7)))
    assert main(["check", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path.name}: left out 8 of 20 (40.0 %)")


def test_what_only_the_whole_set_shows_is_a_problem_too(capsys, tmp_path):
    tree(tmp_path, count=2)  # nothing is left to validate on
    code, out = run(capsys, "check", tmp_path)
    assert code == 1
    assert "there is no example in it" in out


def test_digests_are_written_and_then_every_change_is_seen(capsys, tmp_path):
    tree(tmp_path)
    code, out = run(capsys, "digest", tmp_path)
    assert code == 0
    assert out.endswith("20 files\n")
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert run(capsys, "check", tmp_path)[0] == 0
    put(tmp_path, "cat/003.png", png(damage.picture(77, 6, 7)))  # sound, but another
    put(tmp_path, "cat/new.png", png(damage.picture(78, 6, 7)))
    code, out = run(capsys, "check", tmp_path)
    assert code == 1
    assert "cat/003.png: is not the file that SHA256SUMS lists" in out
    assert "cat/new.png: is not listed in SHA256SUMS" in out
    assert run(capsys, "digest", tmp_path)[0] == 0
    assert run(capsys, "check", tmp_path)[0] == 0
    put(tmp_path, "SHA256SUMS", "what\n")
    code, out = run(capsys, "check", tmp_path)
    assert code == 1
    assert "SHA256SUMS, line 1: is no digest and name" in out


def test_as_a_program(tmp_path):
    tree(tmp_path / "set")
    put(tmp_path, "set/cat/bad.png", b"")
    done = subprocess.run(
        [sys.executable, "-m", "jaxnets.data", "check", "set"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path.cwd()),
        },
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "[file] cat/bad.png: is empty",
        "1 problems: file 1",
    ]
    assert set(COMMANDS) >= {"check", "digest"}


def test_digests_of_a_folder_by_any_path(capsys, tmp_path, monkeypatch):
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.txt").write_text("x")
    (tmp_path / "link").symlink_to("set")
    monkeypatch.chdir(tmp_path)
    for path in ("set", "./set/", "link"):
        assert main(["digest", path]) == 0
        sums = tmp_path / "set" / "SHA256SUMS"
        assert sums.read_text().split()[1] == "a/1.txt"
        sums.unlink()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "stopped\n"),
        (BrokenPipeError(), 141, ""),
        (OSError(28, "No space left"), 1, "error: [Errno 28] No space left\n"),
    ],
)
def test_ends_are_one_line(capsys, tmp_path, monkeypatch, error, status, line):
    def fails(*given, **options):
        raise error

    monkeypatch.setattr("tyro.extras.subcommand_cli_from_dict", fails)
    monkeypatch.setattr("sys.stdout", sys.stdout)  # gets it back
    assert main(["check", str(tmp_path)]) == status
    assert capsys.readouterr().err == line


def test_a_folder_of_text_files_with_pairs_is_called_so(capsys, tmp_path):
    rows = "".join(f"go {i}\tva {i}\tCC-BY\n" for i in range(100))
    put(tmp_path, "fra.txt", rows)
    put(tmp_path, "_about.txt", "These are pairs.\n")
    assert main(["check", str(tmp_path)]) == 0
    assert ": pairs, " in capsys.readouterr().out
