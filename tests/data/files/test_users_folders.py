"""Folders of labelled images as users, cameras and operating systems leave them."""

import json
import os
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxnets.data import named
from jaxnets.data.__main__ import main
from jaxnets.data.dataset import DataError
from jaxnets.data.files.class_folders import image_folder
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.problems import DataWarning, printable
from jaxnets.data.files.reading import is_path
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import height_and_width
from tests.data import damage
from tests.data.files.test_folder import every, png, put, tree

pytestmark = pytest.mark.host


def agree(capsys, root, *flags, **options):
    """What the loader of the experiments says; `check` must come to the same end."""
    refused = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset = image_folder(root, fewest=2, **options)
    except DataError as error:
        dataset, refused = None, str(error)
    said = capsys.readouterr().out
    code = main(["check", os.fspath(root), "--kind", "images", *flags])
    out = capsys.readouterr().out
    assert code == (refused is not None), (refused, out)
    assert out.isascii() or out.replace("\n", "").isprintable()
    return dataset, refused, said, out


# --- sizes ----------------------------------------------------------------------------


def photographs(root):
    sizes = [(40, 60), (80, 44), (52, 48), (49, 55)]
    for label, turn in (("cat", 1), ("dog", -1)):  # no shape is in both classes
        for i in range(12):
            put(root, f"{label}/{i}.png", png(damage.picture(i, *sizes[i % 4][::turn])))


def test_photographs_of_several_sizes_need_a_size_which_the_message_names(
    tmp_path, capsys
):
    photographs(tmp_path)
    _, refused, _, out = agree(capsys, tmp_path)
    assert len(refused.splitlines()) == 1
    assert "of 8 shapes, height x width from 40 x 60 over" in refused
    assert "one class" not in refused + out
    assert "to 80 x 44 pixels" in refused
    flags = re.search(r"--size (\d+)", refused)
    assert flags[0] == "--size 40"
    assert flags[0] in out
    for fit in ("crop", "pad", "stretch"):
        size = (int(flags[1]),)
        dataset = labelled_images(f"{tmp_path}", size=size, fit=fit, fewest=2)
        assert dataset.features["image"].shape == (40, 40, 3)
        assert sum(map(len, dataset.splits.values())) == 24
        assert main(["check", f"{tmp_path}", *flags[0].split(), "--fit", fit]) == 0
    wide = labelled_images(f"{tmp_path}", size=(16, 24), fit="pad")
    assert wide.train.columns["image"].shape[1:] == (16, 24, 3)


def test_what_size_takes():
    assert height_and_width(()) is None
    assert height_and_width((7,)) == (7, 7)
    assert height_and_width((7, 9)) == (7, 9)
    for size in ((0,), (-3, 5), (1, 2, 3), (40_000,)):
        with pytest.raises(
            DataError, match="--size takes one side or height and width"
        ):
            height_and_width(size)


def test_sets_that_come_along_are_brought_to_a_size_or_refuse_it(tmp_path):
    whole = labelled_images("digits")
    assert labelled_images("digits", size=(8,)).digest == whole.digest
    for fit in ("crop", "pad", "stretch"):
        small = labelled_images("digits", size=(4, 6), fit=fit)
        rows = small.train.columns["image"]
        assert rows.shape == (len(whole.train), 4, 6, 1)
        np.testing.assert_allclose(small.mean[0], (rows / 255).mean())
    four = labelled_images("digits", size=(4,), fit="stretch")
    blocks = whole.train.columns["image"].reshape(-1, 4, 2, 4, 2).mean((2, 4))
    apart = np.abs(four.train.columns["image"][..., 0] - blocks)
    assert apart.mean() < 25  # the triangle filter sees a little beyond the block
    with pytest.raises(DataError, match="give --size, too"):
        labelled_images("digits", fit="pad")
    with pytest.raises(DataError, match="--skip-bad leaves out files of a folder"):
        labelled_images("digits", skip_bad=True)
    for options in ({"size": (8, 9)}, {"size": (8,), "fit": "pad"}):
        with pytest.raises(DataError, match="cut to squares"):
            labelled_images("mnist", data_dir=tmp_path, **options)


# --- which data is meant --------------------------------------------------------------


def test_a_folder_goes_by_its_name_with_and_without_a_slash(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}")
    monkeypatch.setenv("TFDS_DATA_DIR", f"{tmp_path / 'tfds'}")
    tree(tmp_path / "photos")
    tree(tmp_path / "sets" / "mine")
    ways = ["photos", "photos/", "./photos", "./photos/", "~/photos", "sets/../photos"]
    for name in [*ways, f"{tmp_path}/photos"]:
        assert is_path(name)
        assert labelled_images(name).name == "photos"
    assert labelled_images("sets/mine").name == "mine"
    assert not is_path("cifar10")
    # A name of ours stays ours, and says so.
    tree(tmp_path / "digits")
    assert labelled_images("digits").classes == tuple("0123456789")
    assert "./digits is the folder" in capsys.readouterr().out
    assert labelled_images("./digits").classes == ("cat", "dog")
    # A set that was prepared is not mixed up with a folder.
    for file in ("dataset_info.json", "features.json"):
        put(tmp_path, f"tfds/photos/1.0.0/{file}", "{}")
    with pytest.raises(DataError, match=r"\./photos for the folder, photos:1.0.0 for"):
        labelled_images("photos")
    assert labelled_images("./photos").name == "photos"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./potos", "similar names beside it: Photos"),
        ("nowhere/at/all/", "nothing is there"),
        ("~nobody/photos", "nothing is there"),
        ("photos.zip", "unpack it with `unzip photos.zip -d photos`"),
        ("photos.tar.gz", "unpack it with `mkdir photos && tar -xf photos.tar.gz"),
        ("./one.png", "is a file, not a folder: give the folder that holds it"),
        ("empty", "empty: holds no folder of images"),
        ("flat", r"0.png: lies outside any class, like 2 more: put it into a folder"),
        ("x" * 5000, "neither a folder here nor a name of a TFDS set"),
        ("", "neither a folder here"),
        ("my photos", "neither a folder here"),
        ("./bad\udce9", r"the path ./bad\\xe9 is not UTF-8.*give a link"),
    ],
)
def test_what_is_no_folder_of_images_is_refused_in_a_line(
    tmp_path, monkeypatch, name, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", f"{tmp_path / 'tfds'}")
    (tmp_path / "Photos").mkdir()
    (tmp_path / "empty").mkdir()
    for i in range(3):
        put(tmp_path, f"flat/{i}.png", png(damage.picture(i)))
    for file in ("photos.zip", "photos.tar.gz", "one.png"):
        put(tmp_path, file, b"PK\3\4")
    with pytest.raises(DataError, match=message) as caught:
        labelled_images(name)
    str(caught.value).encode()  # can be printed


# --- what else lies there -------------------------------------------------------------


def test_what_systems_leave_behind_is_no_data(tmp_path, capsys):
    made = tree(tmp_path)
    junk = ["cat/._000.png", "cat/.DS_Store", "dog/Thumbs.db", "dog/Desktop.ini"]
    junk += ["__MACOSX/cat/._000.png", ".ipynb_checkpoints/000-checkpoint.png"]
    junk += ["cat/.ipynb_checkpoints/000-checkpoint.png", "cat/@eaDir/000.png"]
    for name in [*junk, "lost+found/x.png", "$RECYCLE.BIN/x.png", "._.DS_Store"]:
        put(tmp_path, name, b"junk")
    dataset, refused, said, _ = agree(capsys, tmp_path)
    assert refused is None
    name, folder = tmp_path.name, re.escape(str(tmp_path.parent / ".jaxnets"))
    line = (
        f"{name}: 20 pictures of 6 x 7 pixels, 2.52 kB decoded, kept in {folder}/.+\n"
    )
    assert re.fullmatch(line, said)
    assert sorted(every(dataset)) == sorted(made)
    assert dataset.classes == ("cat", "dog")
    put(tmp_path, "cat/.mine.png", b"junk")  # a person's: left out, but not in silence
    put(tmp_path, ".eel/0.png", b"junk")
    dataset, _, said, out = agree(capsys, tmp_path)
    assert sorted(every(dataset)) == sorted(made)
    for text in (said, out):
        assert "2 images are left out, because their names or folders begin" in text


@pytest.mark.parametrize(
    "words", [("train",), ("val",), ("train", "test"), ("train", "test_tube")]
)
def test_a_class_may_be_called_like_a_split(tmp_path, capsys, words):
    tree(tmp_path, classes=(*words, "bus", "car"))
    dataset, refused, said, out = agree(capsys, tmp_path)
    assert refused is None
    assert dataset.classes == tuple(sorted((*words, "bus", "car")))
    for text in (said, out):
        assert "read as a class: images lie directly in it" in text


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("Train Images", "test"),
    ],
)
def test_folders_with_a_word_for_a_split_are_splits(tmp_path, capsys, train, test):
    tree(tmp_path / train, 6)
    tree(tmp_path / test, 3)
    dataset, refused, said, out = agree(capsys, tmp_path)
    assert refused is None
    assert dataset.classes == ("cat", "dog")
    assert [len(dataset.test), len(dataset.train)] == [6, 10]
    assert all(name.startswith(test) for name in dataset.test.ids)
    note = f"`{train.split('/')[0]}`"
    assert note in said
    assert note in out


def test_classes_with_words_of_splits_and_nested_folders_are_noted(tmp_path, capsys):
    tree(tmp_path / "a", classes=("train_station", "test_tube"))
    dataset, _, said, out = agree(capsys, tmp_path / "a")
    assert dataset.classes == ("test_tube", "train_station")
    assert "read as classes: images lie directly in them" in said
    assert "[note]" in out
    tree(tmp_path / "c", classes=("train_images", "test_images"))
    _, refused, *_ = agree(capsys, tmp_path / "c")
    assert "train_images: is a split, which holds CLASS/name.png" in refused
    for label in ("cat", "dog"):
        tree(tmp_path / "b" / label, classes=("old", "young"))
    dataset, _, said, _ = agree(capsys, tmp_path / "b")
    assert dataset.classes == ("cat", "dog")
    assert "nested folders: those below cat, dog (4) are read as 2 classes" in said


def test_a_class_is_one_in_both_of_unicodes_forms(tmp_path, capsys):
    tree(tmp_path, 10, ("train",), ("caf\u00e9", "bar"))
    tree(tmp_path, 3, ("test",), ("cafe\u0301", "bar"))
    dataset, refused, *_ = agree(capsys, tmp_path)
    assert refused is None
    assert dataset.classes == ("bar", "caf\u00e9")
    assert len(dataset.test) == 6
    tree(tmp_path / "one", 2, ("train",), ("bar",))
    _, refused, *_ = agree(capsys, tmp_path / "one")
    assert refused == "one: has one class, bar: telling classes apart needs two"


def test_splits_without_classes_are_not_taken_for_classes(tmp_path, capsys):
    tree(tmp_path, classes=("train", "val", "test"))
    _, refused, *_ = agree(capsys, tmp_path)
    assert "train: is a split, which holds CLASS/name.png" in refused


def test_a_test_split_without_classes_can_be_left_out(tmp_path, capsys):
    tree(tmp_path, splits=("train",))
    for i in range(4):
        put(tmp_path, f"test/{i}.png", png(damage.picture(i, 6, 7)))
    _, refused, *_ = agree(capsys, tmp_path)
    assert "test/0.png: lies outside any class, like 3 more" in refused
    assert "--skip-bad" in refused
    with pytest.warns(DataWarning, match="20 examples left"):
        dataset = image_folder(tmp_path, skip_bad=True)
    assert [len(split) for split in dataset.splits.values()] == [16, 2, 2]


def test_one_class_is_enough_to_imitate_but_not_to_tell_apart(tmp_path, capsys):
    tree(tmp_path / "a" / "PetImages")
    tree(tmp_path / "b", classes=("all",))
    _, refused, *_ = agree(capsys, tmp_path / "a")
    assert "one class, PetImages: telling classes apart needs two" in refused
    assert "Its folders look like classes: give a/PetImages" in refused
    _, refused, *_ = agree(capsys, tmp_path / "b")
    assert refused == "b: has one class, all: telling classes apart needs two"
    assert image_folder(tmp_path / "b").classes == ("all",)
    assert main(["check", f"{tmp_path / 'b'}", "--unlabelled"]) == 0
    with pytest.raises(DataError, match="needs two"):
        image_folder(tmp_path / "b", fewest=2, skip_bad=True)


def test_classes_that_training_cannot_learn(tmp_path, capsys):
    tree(tmp_path, splits=("train", "test"))
    for i in range(3):
        put(tmp_path, f"test/eel/{i}.png", png(damage.picture(i, 6, 7)))
        put(tmp_path, f"train/fox/{i}.png", b"junk")
    (tmp_path / "train" / "gnu").mkdir()
    _, refused, *_ = agree(capsys, tmp_path)
    for line in ("eel: this class is in another split but not in train (3 images)",):
        assert line in refused
    with pytest.warns(DataWarning, match="5 problems"):
        dataset = image_folder(tmp_path, skip_bad=True)
    assert dataset.classes == ("cat", "dog")  # no label that is never trained
    assert [len(s) for s in dataset.splits.values()] == [18, 2, 20]
    assert set(np.asarray(dataset.test.columns["label"]).tolist()) == {0, 1}


def test_classes_that_differ_by_case_are_two_and_noted(tmp_path, capsys):
    tree(tmp_path, classes=("Cat", "cat", "e\u0301", "\u00e9"))
    dataset, refused, said, out = agree(capsys, tmp_path)
    assert refused is None
    assert len(dataset.classes) == 4
    assert "differ by case only: Cat, cat" in said
    assert "differ by case only: Cat, cat" in out


def test_a_class_of_one_image_is_trained_on(tmp_path, capsys):
    tree(tmp_path)
    put(tmp_path, "eel/0.png", png(damage.picture(0, 6, 7)))
    dataset, refused, *_ = agree(capsys, tmp_path)
    assert refused is None
    assert "eel/0.png" in dataset.train.ids


# --- names ----------------------------------------------------------------------------

ODD = ["12:30:05.png", "a\\b.png", "x (1).PNG", "$5_$.png", "<b>&'\".png", "-rf.png"]
ODD += ["%s{}.png", "a b\u00a0c.png", "\u732b.png", "\U0001f431\u200d.png", "nul.png"]
ODD += ["n" * 251 + ".png", "a\nb\tc.png", "\x1b[2J.png", "\u202egnp.png", "~.png"]
ODD += [os.fsdecode(b"caf\xe9.png"), os.fsdecode(b"\xff\xfe.png"), "CON", "*?[x].png"]


def test_names_that_the_system_takes_are_used_and_can_be_printed(tmp_path, capsys):
    made = tree(tmp_path)
    odd = [name for name in ODD if name.lower().endswith(".png")]
    classes = [
        "12:30",
        "a\\b",
        "-",
        "nul",
        "e m",
        "\U0001f431",
        os.fsdecode(b"caf\xe9"),
    ]
    for i, name in enumerate(odd):
        put(tmp_path, f"cat/{name}", png(damage.picture(500 + i, 6, 7)))
    for i, label in enumerate([*classes, "l\nm"]):
        put(tmp_path, f"{label}/0.png", png(damage.picture(700 + i, 6, 7)))
    dataset, refused, *_ = agree(capsys, tmp_path)
    assert refused is None
    assert len(every(dataset)) == len(made) + len(odd) + len(classes) + 1
    assert "cat/caf\\xe9.png" in every(dataset)
    assert "cat/a\\nb\\tc.png" in every(dataset)
    assert {"caf\\xe9", "l\\nm", "a\\b"} <= set(dataset.classes)
    for text in (*every(dataset), *dataset.classes):
        json.dumps(text).encode()
        assert text.encode().decode() == text
        assert len(text.splitlines()) == 1
    assert len(dataset.digest) == 64


def test_a_bad_file_with_an_odd_name_is_named_printably(tmp_path, capsys):
    tree(tmp_path)
    put(tmp_path, "cat/" + os.fsdecode(b"\xe9\n.png"), b"junk")
    _, refused, _, out = agree(capsys, tmp_path)
    assert "cat/\\xe9\\n.png: is not a PNG" in refused
    assert "cat/\\xe9\\n.png: is not a PNG" in out


def test_digests_hold_names_as_sha256sum_writes_them(tmp_path, capsys):
    tree(tmp_path)
    for i, name in enumerate(("a\\b.png", "a\nb.png")):
        put(tmp_path, f"cat/{name}", png(damage.picture(i, 6, 7)))
    assert main(["digest", f"{tmp_path}"]) == 0
    text = (tmp_path / "SHA256SUMS").read_text()
    assert sum(line.startswith("\\") for line in text.split("\n")) == 2
    assert len(every(image_folder(tmp_path))) == 22
    put(tmp_path, "cat/a\\b.png", png(damage.picture(9, 6, 7)))
    _, refused, *_ = agree(capsys, tmp_path)
    assert "cat/a\\b.png: is not the file that SHA256SUMS lists" in refused
    put(tmp_path, "cat/" + os.fsdecode(b"\xe9.png"), b"x")
    assert main(["digest", f"{tmp_path}"]) == 1
    assert "name that is not UTF-8: rename it" in capsys.readouterr().out


def test_printable_leaves_letters_of_every_script_alone():
    for text in (
        "na\u00efve",
        "\u0939\u093f\u0902",
        "\U0001f468\u200d\U0001f469",
        "a b",
    ):
        assert printable(text) == text
    assert printable(os.fsdecode(b"\x80a\xff")) == r"\x80a\xff"
    assert printable("a\r\n\u202eb\u2028") == r"a\r\n\u202eb\u2028"


# --- files ----------------------------------------------------------------------------


def test_files_that_are_no_image_are_refused_by_name_with_what_to_do(tmp_path, capsys):
    tree(tmp_path)
    put(tmp_path, "cat/1.HEIC", b"x")
    put(tmp_path, "cat/2.txt", b"x")
    put(tmp_path, "cat/3.jpg", b"<html>not found</html>")
    put(tmp_path, "cat/4.jpg", b"")
    os.mkfifo(tmp_path / "cat" / "5.jpg")
    (tmp_path / "cat" / "6.jpg").symlink_to("nowhere")
    (tmp_path / "cat" / "7.jpg").symlink_to("7.jpg")
    with (tmp_path / "cat" / "8.jpg").open("wb") as file:
        file.truncate(2**40)  # sparse
    survey = Survey()
    image_folder(tmp_path, survey=survey)
    what = {p.where: p.what for p in survey.problems}
    assert what["cat/1.HEIC"].endswith(".tiff: convert it to JPEG or PNG")
    assert what["cat/2.txt"].endswith(".tiff: remove it")
    assert "HTML" in what["cat/3.jpg"]
    assert what["cat/4.jpg"] == "is empty"
    assert what["cat/5.jpg"] == "is not a regular file"
    assert "cannot be read: No such file" in what["cat/6.jpg"]
    assert "7.jpg" in " ".join(what)
    assert "the limit is" in what["cat/8.jpg"]
    assert len(what) == 8
    _, refused, *_ = agree(capsys, tmp_path)
    assert "8 problems, 20 good examples" in refused


def test_every_suffix_is_read_whatever_its_case_and_its_content(tmp_path, capsys):
    made = tree(tmp_path)
    names = ["a.JPG", "b.JPEG", "c.jfif", "d.jpe", "e.Tif", "f.webp", "g.BMP", "h.gif"]
    for i, name in enumerate(names):  # all are PNG by content, as browsers save them
        put(tmp_path, f"cat/{name}", png(damage.picture(i, 6, 7)))
    dataset, refused, *_ = agree(capsys, tmp_path)
    assert refused is None
    assert len(every(dataset)) == len(made) + len(names)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_a_problem(tmp_path, capsys):
    tree(tmp_path)
    (tmp_path / "cat" / "000.png").chmod(0)
    (tmp_path / "dog").chmod(0)
    try:
        _, refused, *_ = agree(capsys, tmp_path)
        assert "cat/000.png: cannot be read: Permission denied" in refused
        assert "dog: cannot be read: Permission denied" in refused
    finally:
        (tmp_path / "dog").chmod(0o700)


def test_a_folder_that_the_system_refuses_is_a_problem(tmp_path, capsys, monkeypatch):
    """As root the mode of a folder stops nobody, so the refusal is planted."""
    tree(tmp_path)
    whole = Path.iterdir

    def iterdir(self):
        if self.name == "dog":
            raise PermissionError(13, "Permission denied")
        return whole(self)

    def scandir(place):
        if Path(place).name == "dog":
            raise PermissionError(13, "Permission denied")
        return entries(place)

    entries = os.scandir
    monkeypatch.setattr(Path, "iterdir", iterdir)
    monkeypatch.setattr(os, "scandir", scandir)
    _, refused, *_ = agree(capsys, tmp_path)
    assert "dog: cannot be read: Permission denied" in refused


def test_images_of_one_colour_and_of_one_pixel(tmp_path, capsys):
    for label in ("a", "b"):
        for i in range(10):
            image = Image.new("RGB", (1, 1), (10 * i if label == "a" else 0, 7, 0))
            path = tmp_path / label / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            image.save(path)
    dataset, refused, _, out = agree(capsys, tmp_path)
    assert refused is None
    assert dataset.std[1:] == (1.0, 1.0)
    assert "of 3 image channels, 1, 2 (counted from 0) never varies" in out
    assert named.labelled_images(f"{tmp_path}", size=(3,)).std[1:] == (1.0, 1.0)
