"""Lists of captions as they are downloaded, and those that are refused."""

import json

import numpy as np
import pytest

from jaxnets.data.dataset import DataError
from jaxnets.data.files.caption_folders import captioned_folder
from jaxnets.data.files.caption_lists import rows_of
from jaxnets.data.files.folder import kind_of
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.problems import DataWarning
from tests.data.files.test_annotations import scene
from tests.data.files.test_folder import put

pytestmark = pytest.mark.host

TEXT = 'A dog , "Rex" , runs {} times over {} stones .'
ROWS = [(f"{i}.jpg", TEXT.format(i, k)) for i in range(10) for k in range(2)]


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


def table(header, delimiter=",", end="\n"):
    lines = [header, *(f"{image}{delimiter}{quoted(text)}" for image, text in ROWS)]
    return end.join(lines) + end


def karpathy(folder=""):
    splits = ("train", "restval", "val", "test")
    rows = [
        {
            "filename": f"{i}.jpg",
            "filepath": folder,
            "split": splits[i % 4],
            "sentids": [i],
            "sentences": [{"raw": TEXT.format(i, k), "tokens": []} for k in range(2)],
        }
        for i in range(10)
    ]
    return json.dumps({"images": rows, "dataset": "flickr8k"})


def coco_captions():
    notes = [
        {"id": 2 * i + k, "image_id": i, "caption": TEXT.format(i, k)}
        for i in range(10)
        for k in range(2)
    ]
    rows = [{"id": i, "file_name": f"{i}.jpg"} for i in range(10)]
    return json.dumps({"images": rows, "annotations": notes})


def lines(write):
    return "\n".join(write(image, text) for image, text in ROWS) + "\n"


def records(image="file_name", caption="text"):
    return lines(lambda i, t: json.dumps({image: i, caption: t}))


def bare(image, text):
    return f"{image},{text}"


def texts_of(i):
    return [text for image, text in ROWS if image == f"{i}.jpg"]


def lists_in_cells(write=json.dumps):
    rows = [f"{quoted(write(texts_of(i)))},train,{i}.jpg,{i}\n" for i in range(10)]
    return "raw,split,filename,img_id\n" + "".join(rows)


def two_columns():
    rows = [",".join([f"{i}.jpg", *map(quoted, texts_of(i))]) for i in range(10)]
    return "\n".join(["image,caption,caption_2", *rows])


def both_keys():
    return [
        {"image": f"{i}.jpg", "caption": texts_of(i)[0], "captions": texts_of(i)}
        for i in range(10)
    ]


FORMS = {  # file, its content, folder of the images
    "kaggle": ("captions.txt", table("image,caption"), "Images"),
    "excel": ("captions.csv", "\ufeff" + table("Image,Caption", end="\r\n"), "images"),
    "semicolons": ("c.csv", table("image;caption", ";") + ";\r\n", "images"),
    "a column more": ("c.csv", table("image_path,caption"), ""),
    "tabs": ("c.tsv", "image\tcaption\n" + lines("{}\t{}".format), "images"),
    "flickr30k": (
        "results.csv",
        "image_name| comment_number| comment\n" + lines("{}| 0| {}".format),
        "flickr30k_images",
    ),
    "unquoted": ("c.csv", "image,caption\n" + lines(bare), "images"),
    "tokens": ("Flickr8k.token.txt", lines("{}#0\t{}".format), "Flicker8k_Dataset"),
    "tokens of flickr30k": ("results.token", lines("{}#1\t{}\r".format), "photos"),
    "karpathy": ("dataset_flickr8k.json", karpathy(), "Images"),
    "karpathy of coco": ("dataset_coco.json", karpathy("val2014"), "val2014"),
    "coco": ("annotations/captions_train2017.json", coco_captions(), "train2017"),
    "hugging face": ("metadata.jsonl", records(), ""),
    "ids": ("c.json", "[" + ",".join(records("image_id").split("\n")[:-1]) + "]", ""),
    "hugging face's flickr30k": ("flickr.csv", lists_in_cells(), "images"),
    "a column for each caption": ("c.csv", two_columns(), "images"),
    "both keys": ("c.json", json.dumps(both_keys()), "images"),
    "without endings": ("c.csv", table("image,caption").replace(".jpg", ""), "images"),
    "windows": ("c.csv", "image,caption\n" + lines(r"images\{},{}".format), "images"),
}


def told(dataset):
    return {
        text
        for split in dataset.splits.values()
        for texts in split.columns["captions"][np.arange(len(split))]
        for text in texts
    }


@pytest.mark.parametrize("form", FORMS)
def test_captions_are_read_as_they_are_downloaded(tmp_path, form):
    name, content, folder = FORMS[form]
    scene(tmp_path, folder)
    put(tmp_path, name, content)
    put(tmp_path, "._" + name.rpartition("/")[2], b"\0\5\x16\7Mac OS X\xb0")
    put(tmp_path, "readme.txt", "Images with captions.\n")
    assert kind_of(tmp_path) == "captions"
    survey = Survey()
    dataset = captioned_folder(tmp_path, survey=survey)
    assert [str(p) for p in survey.problems] == []
    assert told(dataset) == {text for _, text in ROWS}
    assert sum(survey.examples.values()) == 10
    if "karpathy" in form:
        assert dict(survey.examples) == {"train": 6, "validation": 2, "test": 2}
    # By name it is the same list.
    again = captioned_folder(tmp_path, name, survey=Survey())
    assert again.digest == dataset.digest


@pytest.mark.parametrize(
    ("content", "captions"),
    [
        ("image,id,caption\n0.jpg,7,[A man speaks]\n", ["[A man speaks]"]),
        ("image,caption1,caption2\n0.jpg,a dog,\n", ["a dog"]),
        ('image,raw,n\n0.jpg,"[""a, b"", ""c""]",2\n', ["a, b", "c"]),
    ],
)
def test_cells_and_columns_of_captions(tmp_path, content, captions):
    put(tmp_path, "c.csv", content)
    survey = Survey()
    (row,) = rows_of(tmp_path, "c.csv", survey)
    assert row.captions == captions
    (note,) = survey.notes
    columns = content.split("\n")[0].split(",")
    read = [column for column in columns if column not in ("id", "n")]
    assert note == "c.csv: columns read: " + ", ".join(f"`{c}`" for c in read)


def test_captions_under_several_keys_are_taken_once(tmp_path):
    put(tmp_path, "c.json", json.dumps(both_keys()))
    put(tmp_path, "c.jsonl", "\n".join(map(json.dumps, both_keys())))
    for name in ("c.json", "c.jsonl"):
        rows = rows_of(tmp_path, name, survey := Survey())
        assert [row.captions for row in rows] == [texts_of(i) for i in range(10)]
        assert survey.notes == [f"{name}: captions are read from `caption`, `captions`"]


def test_a_header_with_a_wrong_quote_costs_no_row(tmp_path):
    put(tmp_path, "c.csv", 'image,"caption" \n0.jpg,a dog\n')
    survey = Survey()
    (row,) = rows_of(tmp_path, "c.csv", survey)
    assert (row.where, row.captions) == ("c.csv, line 2", ["a dog"])
    assert [problem.where for problem in survey.problems] == ["c.csv, line 1"]


def test_flickr8k_has_lists_of_its_splits(tmp_path, capsys):
    scene(tmp_path, "Flicker8k_Dataset")
    put(tmp_path, "Flickr8k.token.txt", lines("{}#0\t{}".format))
    for split, some in {"train": range(5), "dev": (5, 6), "test": (7, 8)}.items():
        content = "".join(f"{i}.jpg\r\n" for i in some)
        put(tmp_path, f"Flickr_8k.{split}Images.txt", content)
    survey = Survey()
    captioned_folder(tmp_path, survey=survey)
    assert dict(survey.examples) == {"train": 6, "validation": 2, "test": 2}
    assert "1 images are in no list of a split" in capsys.readouterr().out


def test_a_text_file_beside_each_image_holds_its_captions(tmp_path):
    scene(tmp_path, "")
    for i in range(10):
        put(tmp_path, f"{i}.txt", f"caption {i}\r\n\nanother {i}\n")
    assert kind_of(tmp_path) == "captions"
    dataset = captioned_folder(tmp_path, survey=Survey())
    assert told(dataset) == {
        f"{w} {i}" for w in ("caption", "another") for i in range(10)
    }
    (tmp_path / "3.jpg").unlink()
    (tmp_path / "4.txt").unlink()
    put(tmp_path, "5.txt", "")
    survey = Survey()
    captioned_folder(tmp_path, survey=survey)
    assert [str(p) for p in survey.problems] == [
        "3.txt: has no image of the same name beside it",
        "4.jpg: has no text file of captions of the same name beside it",
        "5.txt: is empty",
    ]


def test_a_list_in_each_split_as_hugging_face_has_it(tmp_path):
    for split in ("train", "validation", "test"):
        scene(tmp_path, split)
        put(tmp_path, f"{split}/metadata.jsonl", records())
    survey = Survey()
    dataset = captioned_folder(tmp_path, survey=survey)
    assert survey.problems == []
    assert [len(s) for s in dataset.splits.values()] == [10, 10, 10]
    assert dataset.test.ids[0] == "test/0.jpg"
    assert kind_of(tmp_path) == "captions"


def test_folders_named_like_splits_are_splits(tmp_path):
    for split in ("train", "valid", "test"):
        scene(tmp_path, f"images/{split}")
    rows = [f"{s}/{i}.jpg,a cat" for s in ("train", "valid", "test") for i in range(10)]
    put(tmp_path, "metadata.csv", "\n".join(["file_name,text", *rows]))
    dataset = captioned_folder(tmp_path)
    assert [len(s) for s in dataset.splits.values()] == [10, 10, 10]


def test_images_that_no_list_has_are_counted(tmp_path, capsys):
    scene(tmp_path, count=11)
    put(tmp_path, "c.csv", table("image,caption"))
    captioned_folder(tmp_path)
    line = "left out 1 of 11 (9.1 %): images are not listed; add their captions to use"
    assert line in capsys.readouterr().out
    put(tmp_path, "images/11.jpg", b"")
    with pytest.warns(DataWarning, match=r"left out 2 of 12 \(16.7 %\)"):
        captioned_folder(tmp_path)
    with pytest.raises(DataError, match=r"give its folder, .*--captions c.csv"):
        captioned_folder(tmp_path / "c.csv")


def test_where_a_row_is_skipped_its_image_is_counted(tmp_path, capsys):
    scene(tmp_path, count=20)
    rows = [f"{i}.jpg,a dog {i}\n" for i in range(20)]
    rows[7] = '7.jpg,"a "dog"\n'
    put(tmp_path, "c.csv", "image,caption\n" + "".join(rows))
    with pytest.warns(DataWarning, match="1 problems, 19 examples left"):
        dataset = captioned_folder(tmp_path, skip_bad=True)
    assert len(told(dataset)) == 19
    assert "left out 1 of 20 (5.0 %): images are not listed" in capsys.readouterr().out


def test_of_several_lists_the_flag_that_chooses_is_named(tmp_path):
    scene(tmp_path)
    put(tmp_path, "a.csv", table("image,caption"))
    put(tmp_path, "b.json", karpathy())
    with pytest.raises(DataError, match=r"a.csv, b.json: choose one.*--captions a.csv"):
        captioned_folder(tmp_path)
    with pytest.raises(DataError, match=r"no list of captions c.csv; there is: a.csv"):
        captioned_folder(tmp_path, "c.csv")
    assert len(told(captioned_folder(tmp_path, "a.csv"))) == 20
    put(tmp_path, "b.json", coco_captions())
    with pytest.raises(DataError, match="several lists"):
        captioned_folder(tmp_path)
    assert len(told(captioned_folder(tmp_path, "b.json"))) == 20
    # What is no list of captions is not in the way.
    put(tmp_path, "b.json", '{"name": "set", "version": "1"}')
    put(tmp_path, "sizes.csv", "image,height\n0.jpg,3\n")
    assert len(told(captioned_folder(tmp_path))) == 20


def test_lists_named_after_splits_are_those_splits(tmp_path, capsys):
    splits = {"train": 6, "val": 3, "test": 2}
    for split, count in splits.items():
        scene(tmp_path, f"images/{split}", count=count)
        rows = [f"{i}.jpg,{split} {i}" for i in range(count)]
        put(tmp_path, f"captions-{split}.csv", "\n".join(["image,caption", *rows]))
    dataset = captioned_folder(tmp_path)
    assert [len(s) for s in dataset.splits.values()] == list(splits.values())
    assert dataset.validation.ids[0] == "images/val/0.jpg"
    assert list(dataset.test.columns["captions"][:]) == [("test 0",), ("test 1",)]
    assert "captions-val.csv is validation" in capsys.readouterr().out
    put(tmp_path, "valid.csv", table("image,caption"))
    with pytest.raises(DataError, match="several lists"):
        captioned_folder(tmp_path)


def test_lemmas_are_passed_over_and_names_are_quoted(tmp_path, capsys):
    scene(tmp_path)
    put(tmp_path, "Flickr8k.lemma.token.txt", lines("{}#0\tlemma {}".format))
    assert "lemma" in min(told(captioned_folder(tmp_path)))
    put(tmp_path, "Flickr8k.token.txt", lines("{}#0\t{}".format))
    assert told(captioned_folder(tmp_path)) == {text for _, text in ROWS}
    assert "--captions Flickr8k.lemma.token.txt reads it" in capsys.readouterr().out
    put(tmp_path, "A copy.token", lines("{}#0\t{}".format))
    with pytest.raises(DataError, match=r"--captions 'A copy.token'$"):
        captioned_folder(tmp_path)
    with pytest.raises(DataError, match=r"--captions 'A copy.token'$"):
        captioned_folder(tmp_path / "A copy.token")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", "0.jpg,a dog\n", "the first line names the columns"),
        ("c.csv", "caption,image\na dog, brown,0.jpg\n", "captions with ',' in quotes"),
        ("c.csv", "image,caption\n0.jpg,\n", "has no text as a caption"),
        ("c.csv", "image,caption\n0.jpg,a\n./0.jpg,b\n", "means images/0.jpg by './0"),
        ("c.csv", "image,caption\n", "holds no captions: expected a table"),
        ("c.csv", "image,caption\n../0.png,a dog\n", "may lead out of the folder"),
        ("c.token", "0.jpg#0\tdog\n0.jpg a dog\n", "is not `image#number TAB"),
        ("c.jsonl", '{"image": "0.jpg", "text": "a"}\n{"im', "line 2: is not JSON"),
        ("c.json", '[{"data": {}, "annotations": []}]', "format of Label Studio"),
        ("c.json", '{"images": [{"sentences": [3]}]}', "names no image: None"),
        ("c.json", '{"images": [{"sentences": []}, 3]}', "image 1: names no image"),
        ("c.json", "[3]", "row 0: names no image"),
        ("c.json", "3", "is neither a list nor an object"),
        ("c.csv", lists_in_cells(repr), "not JSON, the first in line 2: ['A dog"),
        ("c.csv", b"image,caption\n0.jpg,caf\xe9\n", "is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, name, content, message):
    scene(tmp_path, count=1)
    put(tmp_path, name, content)
    survey = Survey()
    try:
        captioned_folder(tmp_path, name, survey=survey)
        captioned_folder(tmp_path, survey=survey)
    except DataError as error:
        survey.add(name, str(error))
    assert message in " | ".join(map(str, survey.problems))


def test_a_strange_table_beside_classes_is_named_and_not_in_the_way(tmp_path, capsys):
    for folder in ("cat", "dog"):
        scene(tmp_path, folder)
    put(tmp_path, "labels.csv", "id,label\n1,cat\n")
    assert kind_of(tmp_path) == "images"
    assert "labels.csv lists no captions and is not read" in capsys.readouterr().out
    put(tmp_path, "1.json", json.dumps({"shapes": [], "imagePath": "1.jpg"}))
    with pytest.raises(DataError, match=r"1.json is in the format of Labelme"):
        kind_of(tmp_path)
