"""Annotations as tools write them: COCO's and VOC's siblings, and what is refused."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from jaxnets.data.dataset import DataError
from jaxnets.data.files.coco import coco_folder
from jaxnets.data.files.folder import kind_of
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.outlines import Outline, outline
from jaxnets.data.files.places import ImageFinder
from jaxnets.data.files.problems import DataWarning, FileError
from jaxnets.data.files.voc import voc_folder
from tests.data import damage
from tests.data.files.test_folder import every, png, put, voc_xml

pytestmark = pytest.mark.host

HEIGHT, WIDTH = 20, 30


def scene(root, folder="images", count=10, ending="jpg"):
    """Images; returns COCO's entries for them."""
    for i in range(count):
        content = png(damage.picture(i, HEIGHT, WIDTH))
        put(root, f"{folder}/{i}.{ending}".lstrip("/"), content)
    size = {"height": HEIGHT, "width": WIDTH}
    return [{"id": i, "file_name": f"{i}.{ending}", **size} for i in range(count)]


def box(image, **more):
    return {"image_id": image, "category_id": 1, "bbox": [5, 6, 20, 10], **more}


def write(root, rows, annotations, name="annotations/instances_train.json", **more):
    value = {
        "images": rows,
        "annotations": [{"id": k, **a} for k, a in enumerate(annotations)],
        "categories": [{"id": 1, "name": "cat"}],
        **more,
    }
    put(root, name, json.dumps(value))


def surveyed(root, **options):
    survey = Survey()
    dataset = coco_folder(root, survey=survey, **options)
    return dataset, [str(problem) for problem in survey.problems]


def boxes(dataset):
    return np.concatenate(
        [s.columns["boxes"][s.columns["present"]] for s in dataset.splits.values()]
    )


# --- COCO: annotations ----------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"segmentation": None},
        {"segmentation": []},
        {"segmentation": [[]]},
        {"segmentation": [[5, 6, 25, 6, 25, 16], [25.0, 16.0], []]},
        {"segmentation": {"size": [20, 30], "counts": [600], "extra": 1}},
        {"iscrowd": None, "area": None, "keypoints": [1, 2, 2], "attributes": {"a": 1}},
        {"image_id": "3", "category_id": "1"},
        {"image_id": 3.0, "category_id": 1.0},
        {"bbox": [5.0, 6.0, 20.0, 10.0]},
    ],
)
def test_what_sound_tools_write_is_read(tmp_path, more):
    rows = scene(tmp_path)
    annotations = [{**box(i), **(more if i == 3 else {})} for i in range(10)]
    write(tmp_path, rows, annotations, info=None, licenses=None)
    dataset, problems = surveyed(tmp_path, masks=True)
    assert problems == []
    np.testing.assert_array_equal(boxes(dataset), [[6, 5, 16, 25]] * 10)


def test_pieces_without_area_add_nothing_to_a_polygon():
    triangle = [5, 6, 25, 6, 25, 16]
    made = outline([triangle, [25.0, 16.0], [1, 2, 3, 4]], (20, 30))
    assert made == Outline((20, 30), polygons=(tuple(map(float, triangle)),))
    for value in ([[1, 2, 3, 4]], [[1, 2, 3]], [triangle, [1, 2, 3, 4, 5]], "text", 3):
        with pytest.raises(FileError):
            outline(value, (20, 30))


@pytest.mark.parametrize(
    ("edge", "sound"), [(30.0, True), (30.9, True), (31.0, False), (40.0, False)]
)
def test_a_box_that_rounding_put_outside_is_cut_and_others_are_problems(
    tmp_path, edge, sound
):
    rows = scene(tmp_path)
    rest = [box(i) for i in range(1, 10)]
    write(tmp_path, rows, [box(0, bbox=[20, 6, edge - 20, 10]), *rest])
    dataset, problems = surveyed(tmp_path)
    assert len(problems) == (not sound)
    assert boxes(dataset)[:, 3].max() == (30 if sound else 25)


def test_ids_are_numbers_or_texts_and_the_same_number_is_one_id(tmp_path):
    rows = [{**row, "id": f"img-{row['id']}"} for row in scene(tmp_path)]
    categories = [{"id": "c", "name": "cat"}, {"id": "10", "name": "dog"}]
    made = [{**box(f"img-{i}"), "category_id": ("c", 10)[i % 2]} for i in range(10)]
    write(tmp_path, rows, made, categories=categories)
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    assert dataset.classes == ("dog", "cat")  # numbers first
    assert "train img-0" in every(dataset)
    rows[1]["id"], rows[2]["id"] = 7, "7"
    write(tmp_path, rows, made, categories=categories)
    assert any(
        "image 7: has an id that is there twice" in p for p in surveyed(tmp_path)[1]
    )


@pytest.mark.parametrize("value", [-1, 1.5, [], {}, True, "", "\0"])
def test_other_ids_are_refused_by_name(tmp_path, value):
    rows = scene(tmp_path)
    rows[0]["id"] = value
    write(tmp_path, rows, [box(i) for i in range(1, 10)])
    (problem,) = surveyed(tmp_path)[1]
    assert "neither a whole number from 0 nor a text" in problem


def test_a_file_that_is_listed_twice_is_a_problem(tmp_path):
    rows = scene(tmp_path)
    rows[4]["file_name"] = "./3.jpg"
    write(tmp_path, rows, [box(i) for i in range(4)])
    problems = surveyed(tmp_path)[1]
    assert "image 4: is the file images/3.jpg, as is annotations" in problems[0]


def test_without_a_size_that_of_the_image_counts_and_a_turned_one_is_explained(
    tmp_path,
):
    rows = scene(tmp_path)
    unsaid = [{}, {"height": 0, "width": 0}, {"height": None}]
    for row, size in zip(rows, unsaid, strict=False):
        del row["height"], row["width"]
        row |= size
    annotations = [box(i) for i in range(10)]
    write(tmp_path, rows, annotations)
    assert surveyed(tmp_path)[1] == []
    rows[5] |= {"height": WIDTH, "width": HEIGHT}
    write(tmp_path, rows, [*annotations[:5], *annotations[6:]])
    (problem,) = surveyed(tmp_path)[1]
    assert "says 30 x 20: its annotation has height and width the other" in problem
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    put(tmp_path, "images/5.jpg", png(damage.picture(5, HEIGHT, WIDTH), exif=exif))
    (problem,) = surveyed(tmp_path)[1]
    assert "says 30 x 20: it was annotated as its EXIF tag turns it" in problem
    rows[5] |= {"height": 20, "width": None}
    write(tmp_path, rows, annotations)
    assert "has width None, not a whole number from 1" in surveyed(tmp_path)[1][0]


def test_images_without_annotations_are_images_without_objects(tmp_path):
    write(tmp_path, scene(tmp_path), [box(0)])
    dataset, problems = surveyed(tmp_path)
    assert (problems, len(every(dataset)), len(boxes(dataset))) == ([], 10, 1)


# --- COCO: layouts --------------------------------------------------------------------


def roboflow(root, name="pets"):
    parent = {"id": 0, "name": name, "supercategory": "none"}
    child = {"id": 1, "name": "cat", "supercategory": name}
    for split in ("train", "valid", "test"):
        rows = scene(root, split)
        annotations = [box(i) for i in range(10)]
        file = f"{split}/_annotations.coco.json"
        write(root, rows, annotations, file, categories=[parent, child])


@pytest.mark.parametrize("name", ["pets", "cat"])
def test_roboflow_has_a_file_in_each_split_and_a_root_that_is_no_class(
    tmp_path, capsys, name
):
    roboflow(tmp_path, name)
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    assert [len(s) for s in dataset.splits.values()] == [10, 10, 10]
    assert dataset.classes == ("cat",)
    assert f"the category '{name}' (id 0) is the root" in capsys.readouterr().out
    assert kind_of(tmp_path) == "coco"


@pytest.mark.parametrize(
    ("file", "folder"),
    [
        ("annotations/instances_default.json", "images/default"),  # CVAT
        ("annotations/instances_Train.json", "images/Train"),  # CVAT with subsets
        ("annotations/instances_train2017.json", "images/train2017"),  # Ultralytics
        ("annotations/instances_train2017.json", "train2017"),  # COCO
        ("annotations/instances_train.json", "train2017"),
        ("annotations/person_keypoints_train2017.json", "train2017"),
        ("labels.json", "data"),  # FiftyOne
        ("result.json", "images"),  # Label Studio
        ("_annotations.coco.json", ""),
        ("train/annotations.json", "train/images"),
        ("annotations.json", "JPEGImages"),  # labelme2coco
    ],
)
def test_images_are_found_where_tools_put_them(tmp_path, file, folder):
    rows = scene(tmp_path, folder)
    write(tmp_path, rows, [box(i) for i in range(10)], file)
    put(tmp_path, "annotations/._instances_train.json", b"\0\5\x16\7Mac OS X\xb0")
    assert kind_of(tmp_path) == "coco"
    dataset, problems = surveyed(tmp_path)
    assert (problems, len(every(dataset))) == ([], 10)


@pytest.mark.parametrize(
    "prefix",
    [
        "./",
        "images\\",
        ".\\images\\",
        "/home/me/",
        "C:\\a\\",
        "../a/",
        "https://b.org/a/",
    ],
)
def test_names_with_the_folders_of_another_machine_are_found(tmp_path, prefix):
    rows = scene(tmp_path)
    for row in rows:
        row["file_name"] = prefix + row["file_name"]
    write(tmp_path, rows, [box(i) for i in range(10)])
    assert surveyed(tmp_path)[1] == []


def test_places_prefer_the_exact_name_and_never_guess_between_two(tmp_path):
    for name in (
        "a/1.jpg",
        "b/2.JPG",
        "a/deep/3.png",
        "a/x.jpg",
        "b/X.JPG",
        "b/no é.png",
    ):
        put(tmp_path, name, "x")
    places = ImageFinder(tmp_path, ["b", "a", "nowhere"])
    expected = {
        "1.jpg": "a/1.jpg",
        "1": "a/1.jpg",
        "2.jpg": "b/2.JPG",
        "deep/3.png": "a/deep/3.png",
        "deep\\3": "a/deep/3.png",
        "https://a.org/b/x.jpg?w=1": "a/x.jpg",
        "no%20%C3%A9": "b/no é.png",
        "x.jpg": "a/x.jpg",
        "X.jpg": "X.jpg",  # a/x.jpg or b/X.JPG
        "../../etc/passwd": "../../etc/passwd",
        "9" * 999: "9" * 999,
        "\ud800": "\ud800",
        "": "",
    }
    assert {name: places.find(name) for name in expected} == expected


def test_places_find_names_in_both_of_unicodes_forms(tmp_path):
    whole, apart = "caf\u00e9", "cafe\u0301"
    put(tmp_path, f"{apart}/{whole}.jpg", "x")
    put(tmp_path, f"{apart}.png", "x")
    places = ImageFinder(tmp_path, [""])
    expected = {
        f"{whole}/{apart}.jpg": f"{apart}/{whole}.jpg",
        whole: f"{apart}.png",
        f"{whole}.PNG".upper(): f"{apart}.png",
        f"../{whole}.jpg": f"../{whole}.jpg",
    }
    assert {name: places.find(name) for name in expected} == expected


def test_voc_files_of_oxfords_pets_are_read_and_the_rest_is_said(tmp_path, capsys):
    voc(tmp_path, [(4, 5, 20, 15)], "annotations/xmls", "images")
    put(tmp_path, "annotations/trimaps/0.png", "x")
    put(tmp_path, "annotations/test.txt", "0 1 1 1\n")
    assert kind_of(tmp_path) == "voc"
    dataset, problems = voc_surveyed(tmp_path)
    assert problems == []
    assert sorted(every(dataset)) == [str(i) for i in range(10)]
    line = "of annotations, only xmls is read, not test.txt, trimaps"
    assert line in capsys.readouterr().out


def test_voc_lists_and_files_agree_in_both_of_unicodes_forms(tmp_path):
    whole, apart = "\u00e9", "e\u0301"
    scene(tmp_path, "JPEGImages", 10)
    for i in range(10):
        os.rename(
            tmp_path / f"JPEGImages/{i}.jpg", tmp_path / f"JPEGImages/{whole}{i}.jpg"
        )
        xml = voc_xml("", HEIGHT, WIDTH, [("cat", 0, (4, 5, 20, 15))])
        put(tmp_path, f"Annotations/{apart}{i}.xml", xml)
    put(
        tmp_path,
        "ImageSets/Main/train.txt",
        "".join(f"{apart}{i}\n" for i in range(10)),
    )
    dataset, problems = voc_surveyed(tmp_path)
    assert problems == []
    assert len(every(dataset)) == 10


@pytest.mark.parametrize(
    ("value", "tool"),
    [
        ({"version": "5", "shapes": [], "imagePath": "1.jpg"}, "Labelme"),
        ({"_via_settings": {}, "_via_img_metadata": {}}, "VIA"),
        ({"1.jpg99": {"filename": "1.jpg", "size": 99, "regions": []}}, "VIA"),
        ([{"id": 1, "data": {}, "annotations": [{"result": []}]}], "Label Studio"),
        ([{"image": "1.jpg", "annotations": [{"coordinates": {}}]}], "Create ML"),
        ({"images": [], "annotations": [{"segments_info": []}]}, "panoptic"),
        ([{"a": 1}], "is not an object with `images`"),
    ],
)
def test_files_of_other_tools_are_refused_by_name(tmp_path, value, tool):
    scene(tmp_path)
    put(tmp_path, "annotations/train.json", json.dumps(value))
    with pytest.raises(DataError, match=tool):
        coco_folder(tmp_path)


def test_two_files_for_one_split_say_how_to_name_them(tmp_path):
    rows = scene(tmp_path)
    for name in ("batch_1.json", "batch_2.json"):
        write(tmp_path, rows, [box(0)], name)
    with pytest.raises(DataError, match=r"for example instances_train.json"):
        coco_folder(tmp_path)


# --- VOC ------------------------------------------------------------------------------


def voc(root, corners, folder="Annotations", images="JPEGImages", count=10):
    """Images of 20 x 30 pixels with one cat each, at these corners in turn."""
    scene(root, images, count)
    for i in range(count):
        things = [("cat", 0, corners[i % len(corners)])]
        xml = voc_xml(f"{i}.jpg", HEIGHT, WIDTH, things)
        put(root, f"{folder}/{i}.xml".lstrip("/"), xml)


def voc_surveyed(root, **options):
    survey = Survey()
    dataset = voc_folder(root, survey=survey, **options)
    return dataset, [str(problem) for problem in survey.problems]


@pytest.mark.parametrize(
    ("corners", "better", "whole"),
    [
        ([(1, 1, 30, 20), (4, 5, 20, 15)], None, [0, 0, 20, 30]),
        ([(0, 0, 29, 19), (3, 4, 19, 14)], 0, [0, 0, 20, 30]),
        ([(0, 0, 30, 20), (3, 4, 20, 15)], "edges", [0, 0, 20, 30]),
        ([(0, 1.5, 12.25, 20), (3, 4, 20, 15)], "edges", [1.5, 0, 20, 12.25]),
    ],
)
def test_boxes_that_count_from_0_are_refused_with_the_flag_that_reads_them(
    tmp_path, corners, better, whole
):
    voc(tmp_path, corners)
    _, problems = voc_surveyed(tmp_path)
    assert len(problems) == (0 if better is None else 5)
    assert all(f"so try --first-pixel {better}" in problem for problem in problems)
    dataset, problems = voc_surveyed(
        tmp_path, first_pixel=1 if better is None else better
    )
    assert problems == []
    found = boxes(dataset)
    np.testing.assert_array_equal(found[found[:, 1] == 0], [whole] * 5)
    np.testing.assert_array_equal(found[found[:, 1] == 3], [[4, 3, 15, 20]] * 5)


def test_boxes_that_begin_between_0_and_1_are_read_and_the_doubt_is_said(
    tmp_path, capsys
):
    voc(tmp_path, [(0.35, 1.5, 30, 20)])
    dataset, problems = voc_surveyed(tmp_path)
    assert problems == []
    np.testing.assert_array_equal(boxes(dataset), [[0.5, 0, 20, 30]] * 10)
    assert "begin at 0.35 and end at the width or height" in capsys.readouterr().out


def test_a_box_far_outside_is_no_matter_of_counting(tmp_path):
    voc(tmp_path, [(0, 0, 99, 19)])
    for first_pixel in (0, "edges"):
        problems = voc_surveyed(tmp_path, first_pixel=first_pixel)[1]
        assert "is not inside the image of 20 x 30 pixels" in problems[0]
        assert "--first-pixel" not in problems[0]


def changed(root, name, old, new):
    path = root / "Annotations" / name
    content = path.read_text()
    assert old in content
    path.write_bytes(content.replace(old, new).encode("latin-1"))


PART = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part><name>cat"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<difficult>0</difficult>", ""),
        ("<width>30</width><height>20</height>", ""),
        ("<width>30</width><height>20</height>", "<width>0</width><height>0</height>"),
        ("<size>", "<ignored>"),
        ("<width>30</width>", "<width> 30.0 </width>"),
        ("<filename>3.jpg", "<filename>3"),
        ("<filename>3.jpg", "<filename>C:\\photos\\3.jpg"),
        ("<filename>3.jpg", "<filename>other.jpg"),
        ("<filename>3.jpg</filename>", ""),
        ("<annotation>", "\n<annotation verified='no'><folder>a</folder>\r\n"),
        ("<name>cat", PART),
        ("<name>cat", "<name> cat"),
        ("<annotation>", "<?xml version='1.0' encoding='latin-1'?><annotation>\xe9"),
    ],
)
def test_what_tools_write_differently_is_read(tmp_path, old, new):
    voc(tmp_path, [(4, 5, 20, 15)])
    changed(tmp_path, "3.xml", old, new)
    if new == "<ignored>":
        changed(tmp_path, "3.xml", "</size>", "</ignored>")
    dataset, problems = voc_surveyed(tmp_path)
    assert problems == []
    assert dataset.classes == ("cat",)
    np.testing.assert_array_equal(boxes(dataset), [[4, 3, 15, 20]] * 10)


def test_the_name_of_the_file_decides_and_another_filename_is_said(tmp_path, capsys):
    voc(tmp_path, [(4, 5, 20, 15)])
    changed(tmp_path, "3.xml", "<filename>3.jpg", "<filename>4.jpg")
    dataset, problems = voc_surveyed(tmp_path)
    assert problems == []
    assert sorted(every(dataset)) == list("0123456789")
    assert "1 of 10 XML files say the <filename> of another" in capsys.readouterr().out
    (tmp_path / "Annotations/3.xml").rename(tmp_path / "Annotations/x.xml")
    assert "is about JPEGImages/4.jpg, as is" in voc_surveyed_warned(tmp_path)[1][0]


def voc_surveyed_warned(root):
    for name in ("one", "two"):
        put(root, f"JPEGImages/{name}.jpg", png(damage.picture(1, 2, 3)))
    with pytest.warns(DataWarning, match=r"images are not listed"):
        return voc_surveyed(root)


def test_an_xml_file_without_an_image_is_a_problem_and_images_alone_are_counted(
    tmp_path,
):
    voc(tmp_path, [(4, 5, 20, 15)])
    (tmp_path / "JPEGImages/2.jpg").unlink()
    _, problems = voc_surveyed_warned(tmp_path)
    assert problems == ["Annotations/2.xml: there is no image JPEGImages/2.jpg"]


@pytest.mark.parametrize(
    ("folder", "images"),
    [
        ("Annotations/deep", "JPEGImages/deep"),
        ("Annotations", "images"),
        ("annotations", "images"),
        ("", ""),
        ("", "images"),
    ],
)
def test_xml_files_lie_in_folders_or_beside_the_images(tmp_path, folder, images):
    voc(tmp_path, [(4, 5, 20, 15)], folder, images)
    dataset, problems = voc_surveyed(tmp_path)
    assert (problems, len(every(dataset))) == ([], 10)
    assert kind_of(tmp_path) == "voc"


def test_roboflow_has_xml_files_beside_the_images_of_each_split(tmp_path):
    for split in ("train", "valid", "test"):
        voc(tmp_path, [(4, 5, 20, 15)], split, split)
    dataset, problems = voc_surveyed(tmp_path)
    assert problems == []
    assert [len(s) for s in dataset.splits.values()] == [10, 10, 10]
    assert kind_of(tmp_path) == "voc"


def test_lists_of_splits_with_odd_ends_and_names_with_spaces(tmp_path, capsys):
    voc(tmp_path, [(4, 5, 20, 15)])
    for suffix, folder in ((".jpg", "JPEGImages"), (".xml", "Annotations")):
        (tmp_path / f"{folder}/9{suffix}").rename(tmp_path / f"{folder}/my 9{suffix}")
    put(tmp_path, "ImageSets/Main/trainval.txt", "0 1\r\n1  -1\n\n 2\t\n3.jpg\n4\n5\n6")
    put(tmp_path, "ImageSets/Main/test.txt", "7\r\nmy 9 1\r\n")
    put(tmp_path, "ImageSets/Main/cat_train.txt", "8 1\n")
    dataset, problems = voc_surveyed(tmp_path, held_out=0.2)
    assert problems == []
    assert set(dataset.test.ids) == {"7", "my 9"}
    assert len(dataset.train) + len(dataset.validation) == 7
    line = "left out 1 of 10 (10.0 %): images are in no list of ImageSets/Main"
    assert line in capsys.readouterr().out


def test_other_xml_is_refused_with_what_to_export(tmp_path):
    scene(tmp_path, "JPEGImages")
    put(tmp_path, "annotations.xml", "<annotations><image/></annotations>")
    with pytest.raises(DataError, match=r"is <annotations>.*export VOC or COCO"):
        voc_folder(tmp_path)
