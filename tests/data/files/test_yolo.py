"""YOLO's text files of boxes: layouts, lines, names of classes."""

import io

import numpy as np
import pytest
import yaml
from PIL import Image

from jaxnets.data.dataset import DataError
from jaxnets.data.files.folder import kind_of
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.problems import DataWarning, FileError
from jaxnets.data.files.yaml_keys import names_of, scalar_of, top_keys
from jaxnets.data.files.yolo import yolo_folder
from tests.data import damage
from tests.data.files.test_annotations import HEIGHT, WIDTH, boxes, scene
from tests.data.files.test_folder import every, put

pytestmark = pytest.mark.host

# The box [y0, x0, y1, x1] = [5, 3, 15, 21] of an image of 20 x 30 pixels.
LINE = "1 0.4 0.5 0.6 0.5"
BOX = [5, 3, 15, 21]
NAMES = "names: [cat, dog]\nnc: 2\n"


def labelled(root, images="images/train", labels="labels/train", text=LINE):
    scene(root, images)
    for i in range(10):
        put(root, f"{labels}/{i}.txt".lstrip("/"), text)


def surveyed(root, **options):
    survey = Survey()
    dataset = yolo_folder(root, survey=survey, **options)
    return dataset, [str(problem) for problem in survey.problems]


@pytest.mark.parametrize(
    ("images", "labels", "keys"),
    [
        ("images/train", "labels/train", "train: images/train\n"),
        ("images/train2017", "labels/train2017", "path: ../coco\n"),
        ("train/images", "train/labels", "train: ../train/images\n"),
        ("images", "labels", ""),
        ("", "", ""),
        ("train", "train", ""),
        ("a/images/one", "a/labels/one", "train: /home/me/set/a/images/one # mine\n"),
        ("images/train", "labels/train", "download: |\n  import os\n  os.exit(1)\n"),
    ],
)
def test_boxes_are_read_where_tools_put_them(tmp_path, images, labels, keys):
    labelled(tmp_path, images, labels)
    put(tmp_path, "data.yaml", keys + NAMES)
    put(tmp_path, "README.roboflow.txt", "Exported.\n")
    assert kind_of(tmp_path) == "yolo"
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    assert dataset.classes == ("cat", "dog")
    np.testing.assert_allclose(boxes(dataset), [BOX] * 10, rtol=1e-6)
    assert f"{images}/3.jpg".lstrip("/") in every(dataset)
    for split in dataset.splits.values():
        labels_ = split.columns["label"][split.columns["present"]]
        assert not split.columns["ignore"].any()
        np.testing.assert_array_equal(labels_, 1)


def test_the_export_of_cvat_has_its_splits(tmp_path):
    for name in ("obj_train_data/one", "obj_Test_data"):
        labelled(tmp_path, name, name)
    put(tmp_path, "obj.names", "cat\ndog\n")
    put(tmp_path, "obj.data", "classes = 2\ntrain = data/train.txt\n")
    put(tmp_path, "train.txt", "data/obj_train_data/one/0.jpg\n")
    assert kind_of(tmp_path) == "yolo"
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    assert dataset.classes == ("cat", "dog")
    assert sorted(dataset.test.ids) == [f"obj_Test_data/{i}.jpg" for i in range(10)]


def test_lists_of_images_are_the_splits(tmp_path, capsys):
    labelled(tmp_path, "images", "labels")
    lines = [f"/home/me/set/images/{i}.jpg" for i in range(8)]
    put(tmp_path, "train.txt", "\n".join(lines[:6]) + "\n")
    put(tmp_path, "lists/val.txt", "\r\n".join([f"./{lines[6][13:]}", "99.jpg"]))
    paths = "train: train.txt\nval: lists/val.txt\ntest: gone\n"
    put(tmp_path, "data.yaml", paths + NAMES)
    kind_of(tmp_path)
    with pytest.warns(DataWarning, match=r"left out 3 of 10 \(30.0 %\)"):
        dataset, problems = surveyed(tmp_path)
    assert problems == ["lists/val.txt, line 2: there is no image 99.jpg"]
    assert dataset.validation.ids == ["images/6.jpg"]
    assert sorted(dataset.train.ids + dataset.test.ids) == [
        f"images/{i}.jpg" for i in range(6)
    ]
    assert capsys.readouterr().out.count("test: gone is no folder here") == 1
    put(tmp_path, "lists/val.txt", "images/0.jpg\n" + "\n".join(lines[6:]))
    with pytest.raises(DataError, match=r"images/0\.jpg"):  # in train, too
        yolo_folder(tmp_path)


def test_a_list_that_is_missing_is_refused_and_several_folders_are_read(tmp_path):
    for name in ("a", "b"):
        labelled(tmp_path, f"images/{name}", f"labels/{name}")
    put(tmp_path, "data.yaml", "train: train.txt\n" + NAMES)
    with pytest.raises(DataError, match=r"train: there is no list train\.txt: add it"):
        yolo_folder(tmp_path)
    for said in ("[images/a, images/b]", "\n  - images/a\n  - images/b"):
        put(tmp_path, "data.yaml", f"train: {said}\n" + NAMES)
        dataset, problems = surveyed(tmp_path)
        assert problems == []
        assert len(every(dataset)) == 20


def test_names_of_images_and_texts_agree_in_both_of_unicodes_forms(tmp_path, capsys):
    labelled(tmp_path, "images", "labels")
    (tmp_path / "images/3.jpg").rename(tmp_path / "images/\u00e9.jpg")
    (tmp_path / "labels/3.txt").rename(tmp_path / "labels/e\u0301.txt")
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    assert len(boxes(dataset)) == 10
    assert "show no object" not in capsys.readouterr().out


def test_splits_are_those_of_the_folders_or_of_data_yaml(tmp_path, capsys):
    for name in ("train", "valid", "test"):
        labelled(tmp_path, f"{name}/images", f"{name}/labels")
    put(tmp_path, "data.yaml", NAMES)
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    assert [len(s) for s in dataset.splits.values()] == [10, 10, 10]
    said = "train: train/images\nval: ./train/images\ntest: nowhere/images\n"
    put(tmp_path, "data.yaml", said + NAMES)
    dataset, problems = surveyed(tmp_path, held_out=0.2)
    assert problems == []
    assert [len(s) for s in dataset.splits.values()] == [6, 2, 2]
    out = capsys.readouterr().out
    assert "val: ./train/images is the folder of another split" in out
    assert "test: nowhere/images is no folder here" in out


@pytest.mark.parametrize(
    ("text", "expected", "pixels"),
    [
        (LINE + "\r\n\r\n", [BOX], 0),
        ("\ufeff" + LINE.replace(" ", "\t") + "\n  \n" + LINE, [BOX, BOX], 0),
        ("", [], 0),
        ("\n", [], 0),
        ("0.0 .5 5e-1 1 1.0", [[0, 0, 20, 30]], 0),
        ("0 0.500001 0.5 1.000001 1", [[0, 0, 20, 30]], 0),  # rounded outwards
        ("1 0.1 0.25 0.7 0.25 0.7 0.75 0.1 0.75", [BOX], 180),  # an outline
        ("1 0.1 0.25 0.7 0.5 0.4 0.75", [BOX], 67),  # a triangle of 67.5 pixels
    ],
)
def test_lines_are_boxes_or_outlines(tmp_path, text, expected, pixels):
    labelled(tmp_path, text="")
    put(tmp_path, "labels/train/3.txt", text)
    put(tmp_path, "labels/train.cache", b"\x93NUMPY")
    put(tmp_path, "data.yaml", NAMES)
    dataset, problems = surveyed(tmp_path, masks=True)
    assert problems == []
    found = boxes(dataset)
    np.testing.assert_allclose(found, np.reshape(expected, (-1, 4)), atol=1e-4)
    splits = dataset.splits.values()
    masks = [split.columns["masks"][np.arange(len(split))] for split in splits]
    assert sum(mask.sum() for mask in masks) == pixels


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.4 0.5 0.6", "has 4 columns; a box has 5"),
        (LINE + " 0.97", "has 6 columns; .* confidence"),
        (LINE + " 1 1 1", "has 8 columns"),
        ("2 0.4 0.5 0.6 0.5", "has the class 2; allowed are 0 to 1"),
        ("-1 0.4 0.5 0.6 0.5", "the class -1, not a whole number"),
        ("0.5 0.4 0.5 0.6 0.5", "the class 0.5, not a whole number"),
        ("cat 0.4 0.5 0.6 0.5", "holds 'cat', which is no number"),
        ("1 0,4 0.5 0.6 0.5", "holds '0,4', which is no number"),
        ("1 nan 0.5 0.6 0.5", "holds 'nan', which is no number"),
        ("1 \u0660.\u0664 0.5 0.6 0.5", "which is no number"),
        ("1 0.4 0.5 1e999 0.5", "is not finite"),
        ("1 0.4 0.5 0 0.5", "is empty or turned over"),
        ("1 12 10 18 10", "not inside the image.*values are shares of the image"),
        ("1 0.9 0.5 0.6 0.5", "is not inside the image of 20 x 30 pixels\\n"),
        ("1 0.1 0.25 0.7 0.25 1.7 0.75", "corner at 51.* is not inside.*shares"),
    ],
)
def test_a_bad_line_is_a_problem_with_its_place(tmp_path, line, message):
    labelled(tmp_path)
    put(tmp_path, "data.yaml", NAMES)
    put(tmp_path, "labels/train/4.txt", f"{LINE}\n{line}\n")
    with pytest.raises(DataError, match=rf"labels/train/4.txt: line 2: .*{message}"):
        yolo_folder(tmp_path)
    dataset, problems = surveyed(tmp_path)
    assert (len(problems), len(every(dataset))) == (1, 9)


def test_images_alone_show_nothing_and_text_files_alone_are_problems(tmp_path, capsys):
    labelled(tmp_path)
    put(tmp_path, "data.yaml", NAMES)
    (tmp_path / "labels/train/1.txt").unlink()
    (tmp_path / "images/train/2.jpg").unlink()
    put(tmp_path, "images/train/notes.md", "x")
    dataset, problems = surveyed(tmp_path)
    assert problems == [
        f"images/train/notes.md: is not called {', '.join(SUFFIXES)}",
        "labels/train/2.txt: has no image images/train/2",
    ]
    assert (len(every(dataset)), len(boxes(dataset))) == (9, 8)
    assert "1 of 9 images in images/train have no file" in capsys.readouterr().out


def test_names_come_from_lists_or_are_numbers(tmp_path, capsys):
    labelled(tmp_path, "images", "labels")
    dataset, problems = surveyed(tmp_path)
    assert (problems, dataset.classes) == ([], ("1",))
    assert "classes are called by their number" in capsys.readouterr().out
    put(tmp_path, "labels/classes.txt", "cat\r\nbig dog\r\n")
    dataset, problems = surveyed(tmp_path)
    assert (problems, dataset.classes) == ([], ("cat", "big dog"))
    put(tmp_path, "data.yaml", "names: {0: a, 1: b}\nnc: 3\n")
    assert kind_of(tmp_path) == "yolo"
    with pytest.raises(DataError, match=r"data.yaml says nc: 3, and names 2 classes"):
        yolo_folder(tmp_path)
    for text, message in (
        ("names: [a, a]", "twice, or an empty one"),
        ("names: [a, '']", "twice, or an empty one"),
        ("names: []", r"data.yaml names no class"),
        ("", r"data.yaml is empty"),
        (b"\xff\xfe", r"data.yaml is not UTF-8"),
    ):
        put(tmp_path, "data.yaml", text)
        with pytest.raises(DataError, match=message):
            yolo_folder(tmp_path)
    put(tmp_path, "data.yaml", "names: [a, b]\nkpt_shape: [1, 2]\n")
    put(tmp_path, "labels/3.txt", LINE + " 0.5 0.5 2")
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    np.testing.assert_allclose(boxes(dataset), [BOX] * 10, rtol=1e-6)


def test_shares_are_of_the_image_as_its_exif_tag_turns_it(tmp_path):
    labelled(tmp_path)
    put(tmp_path, "data.yaml", NAMES)
    picture = Image.fromarray(damage.picture(3, HEIGHT, WIDTH))
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    picture.save(content, "JPEG", exif=exif)
    put(tmp_path, "images/train/3.jpg", content.getvalue())
    dataset, problems = surveyed(tmp_path, size=(60, 40))
    assert problems == []
    # All become 60 x 40, so that the shares tell the boxes, turned or not.
    np.testing.assert_allclose(boxes(dataset), [[15, 4, 45, 28]] * 10, rtol=1e-5)


@pytest.mark.parametrize(
    "text",
    [
        "names: ['cat', 'd, g', \"a]\"]  # three",
        "names: [cat, traffic light]",
        'names: [\n  cat,\n  "d\\u00e9",\n]',
        "names:\n- cat\n- 'a: b'\n- no\n- C#",
        'names:\n  - person\'s bag # his\n  - "#1"',
        "names:\n  0: cat\n  1: it's   # x\n\n# a\n  2: 'do''g'",
        "names: {0: cat, 1: 'x, y'}",
        "names: []",
        "path: ../a b\nnames:\n  0: a\ntrain: b # c\ndownload: |\n  x: [\nnc: 1",
    ],
)
def test_names_are_read_as_a_yaml_parser_reads_them(text):
    """PyYAML, which Flax brings, with every scalar as text."""
    keys = top_keys(text)
    expected = yaml.load(text, yaml.BaseLoader)  # noqa: S506 - builds texts only
    names = expected["names"]
    listed = list(names.values()) if isinstance(names, dict) else names
    assert names_of(keys["names"]) == listed
    assert list(keys) == list(expected)
    for key in keys.keys() - {"names", "download"}:
        assert scalar_of(keys[key]) == expected[key]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: cat", "has no list of names"),
        ("names: [cat", "without its end"),
        ("names: [a b: c]", "use quotes"),
        ("names: [&x a]", "use quotes"),
        ("names: [!!python/object:os.system a]", "use quotes"),
        ("names:\n  1: cat\n  2: dog", r"numbers its names \[1, 2\], not 0, 1"),
        ("names:\n  cat: 0", "has no name here"),
        ("names: {a: b}", "has no number in front"),
        ("names: [a]\nnames: [b]", "gives the key 'names' twice"),
        ("just text", "line 1 is no `key: value`"),
        ('names: ["\\q"]', "has a damaged text"),
        ("names: ['a]", "has no name here"),
    ],
)
def test_other_yaml_is_refused(text, message):
    with pytest.raises(FileError, match=message):
        names_of(top_keys(text)["names"])
