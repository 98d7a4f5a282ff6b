"""Images with mask images: what an object is, what is refused, and where masks go."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from jaxnets.data.dataset import DataError, checked
from jaxnets.data.files import mask_images, picture_files
from jaxnets.data.files.folder import kind_of
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.mask_images import mask_folder, mask_objects
from jaxnets.data.files.outlines import Outline, rasterized
from jaxnets.data.files.problems import DataWarning, FileError
from jaxnets.data.files.yolo import yolo_folder
from jaxnets.data.pictures import Placement
from tests.data import damage
from tests.data.files.test_folder import every, png, put

pytestmark = pytest.mark.host

HEIGHT, WIDTH = 20, 30


def mask():
    """An L, one pixel, and an object in two pieces, with values that have gaps."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[2:10, 3:5] = values[8:10, 3:12] = 7
    values[0, 29] = 40
    values[12:14, 20:22] = values[18:20, 26:30] = 2
    return values


PICTURES = [png(damage.picture(i, HEIGHT, WIDTH)) for i in range(10)]
BOXES = [[12, 20, 20, 30], [2, 3, 10, 12], [0, 29, 1, 30]]


def masked(root, values, images="images", masks="masks", ending="", count=10):
    """Images with that mask each."""
    content = png(values)
    for i, image in enumerate(PICTURES[:count]):
        put(root, f"{images}/{i}.png", image)
        put(root, f"{masks}/{i}{ending}.png", content)


def surveyed(root, **options):
    survey = Survey()
    dataset = mask_folder(root, survey=survey, **options)
    return dataset, [str(problem) for problem in survey.problems]


def rows(dataset, name):
    splits = dataset.splits.values()
    return np.concatenate([s.columns[name][np.arange(len(s))] for s in splits])


def saved(array, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def painted(array):
    """A palette image, whose colours say nothing."""
    buffer, image = io.BytesIO(), Image.fromarray(array)
    image.putpalette([9, 9, 9] * 256)
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("images", "masks", ""),
        ("PNGImages", "PedMasks", "_mask"),
        ("train/images", "train/masks", ""),
        ("images/train", "masks/train", "_mask"),
    ],
)
def test_every_value_above_0_is_an_object(tmp_path, images, masks, ending):
    masked(tmp_path, mask(), images, masks, ending)
    assert kind_of(tmp_path) == "masks"
    dataset, problems = surveyed(tmp_path, label="person")
    assert problems == []
    checked(dataset)
    assert dataset.classes == ("person",)
    assert sorted(every(dataset)) == [f"{images}/{i}.png" for i in range(10)]
    assert rows(dataset, "boxes").tolist() == [BOXES] * 10
    assert rows(dataset, "present").all()
    assert not rows(dataset, "ignore").any()
    expected = np.stack([mask() == value for value in (2, 7, 40)])
    assert np.array_equal(rows(dataset, "masks"), [expected] * 10)


def test_runs_of_random_masks_are_those_of_the_pixels():
    random = np.random.default_rng(0)
    for _ in range(8):
        values = random.choice([0, 0, 0, 3, 4, 900], (5, 7)).astype(np.int32)
        found = mask_objects(values)
        runs = np.split(found.runs, np.cumsum(found.lengths)[:-1])
        numbers = [n for n in np.unique(values) if n]
        for number, box, own in itertools.zip_longest(numbers, found.boxes, runs):
            here = Placement(1, 1, 0, 0)
            drawn = rasterized(Outline((5, 7), runs=own), here, (5, 7))
            assert np.array_equal(drawn, values == number)
            y, x = np.nonzero(values == number)
            assert box.tolist() == [y.min(), x.min(), y.max() + 1, x.max() + 1]
    assert len(mask_objects(np.zeros((5, 7), np.int32)).boxes) == 0
    assert mask_objects(np.full((5, 7), 9)).boxes.tolist() == [[0, 0, 5, 7]]


@pytest.mark.parametrize(
    ("content", "objects"),
    [
        (saved(mask() > 0), 1),  # two levels
        (saved((mask() > 0).astype(np.uint8) * 255), 1),
        (saved(mask().astype(np.uint16) * 900), 3),
        (painted(mask()), 3),  # the numbers of a palette, not its colours
        (saved(mask(), kind="TIFF"), 3),
        (saved(mask() * 0), 0),
    ],
)
def test_masks_of_other_kinds_are_read(tmp_path, content, objects):
    masked(tmp_path, mask(), count=4)
    ending = "tif" if content.startswith(b"II") else "png"
    (tmp_path / "masks/3.png").unlink()
    put(tmp_path, f"masks/3.{ending}", content)
    dataset, problems = surveyed(tmp_path)
    assert problems == []
    row = every(dataset).index("images/3.png")
    assert rows(dataset, "present")[row].sum() == objects
    drawn = rows(dataset, "masks")[row]
    assert np.array_equal(drawn.any(0), (mask() > 0) & (objects > 0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(mask()[:, ::-1].T), "says 30 x 20: masks/3.png has height and width"),
        (png(mask()[:10]), "has 20 x 30 pixels, masks/3.png says 10 x 30"),
        (saved(np.stack([mask()] * 3, -1)), "mode RGB; a mask has one whole number"),
        (saved(mask(), kind="JPEG"), "masks/3.png: is a JPEG, which changes values"),
        (saved(np.arange(4000, dtype=np.uint16).reshape(50, 80)), "3,999 values above"),
        (saved(-mask().astype(np.int32), kind="TIFF"), "holds -40; a mask has whole"),
        (png(mask())[:60], "masks/3.png: "),
        (b"no image", "masks/3.png: "),
        (None, "images/3.png: has no mask masks/3.png; a mask of zeros"),
    ],
)
def test_what_is_no_mask_is_a_problem_with_its_name(tmp_path, content, message):
    masked(tmp_path, mask(), count=4)
    (tmp_path / "masks/3.png").unlink()
    if content is not None:
        put(tmp_path, "masks/3.png", content)
    dataset, problems = surveyed(tmp_path)
    assert len(problems) == 1
    assert message in problems[0]
    assert "images/3.png" not in every(dataset)


def test_problems_are_told_at_every_start(tmp_path):
    masked(tmp_path, mask())
    put(tmp_path, "masks/3.png", "no image")
    for _ in range(2):  # the second from the cache
        with pytest.raises(DataError, match="1 problems, 9 good"):
            mask_folder(tmp_path)
        with pytest.warns(DataWarning, match="1 problems, 9 examples left"):
            assert len(every(mask_folder(tmp_path, skip_bad=True))) == 9


def test_masks_alone_and_other_files_are_problems(tmp_path):
    masked(tmp_path, mask())
    put(tmp_path, "masks/x.png", png(mask()))
    put(tmp_path, "masks/notes.txt", "seen")
    put(tmp_path, "images/3.jpg", "the second of its name")
    _, problems = surveyed(tmp_path)
    assert [problem.split(":")[0] for problem in problems] == [
        "images/3.png",  # there is an image 3.jpg
        "masks/notes.txt",
        "masks/x.png",
        "images/3.jpg",
    ]
    with pytest.raises(DataError, match="no folder `masks` beside `images`"):
        mask_folder(tmp_path / "images")


def test_masks_and_boxes_follow_the_image(tmp_path):
    masked(tmp_path, mask())
    stretched, _ = surveyed(tmp_path, size=(40, 30))
    boxes = np.array(BOXES) * [2, 1, 2, 1]
    assert np.array_equal(rows(stretched, "boxes")[0], boxes)
    drawn = rows(stretched, "masks")[0, 1]
    assert np.array_equal(drawn, np.repeat(mask() == 7, 2, axis=0))

    padded, _ = surveyed(tmp_path, size=(60, 60), fit="pad")
    boxes = np.array(BOXES) * 2 + [10, 0, 10, 0]
    assert np.array_equal(rows(padded, "boxes")[0], boxes)
    drawn = rows(padded, "masks")[0, 1]
    assert np.array_equal(drawn[10:50], np.kron(mask() == 7, np.ones((2, 2))))
    assert not drawn[:10].any()

    survey = Survey()
    cropped = mask_folder(tmp_path, size=(20, 20), fit="crop", survey=survey)
    assert "10 of 30 objects lie outside of what --fit crop" in survey.notes[0]
    assert rows(cropped, "present")[0].tolist() == [True, True, False]
    expected = [[12, 15, 20, 20], [2, 0, 10, 7], [0, 0, 0, 0]]
    assert rows(cropped, "boxes")[0].tolist() == expected
    masks = rows(cropped, "masks")[0]
    assert np.array_equal(masks[0], (mask() == 2)[:, 5:25])
    assert not masks[2].any()


def test_a_later_start_opens_no_mask_unless_one_changed(tmp_path, monkeypatch):
    masked(tmp_path, mask())
    digest = mask_folder(tmp_path).digest
    with monkeypatch.context() as patch:
        patch.setattr(mask_images, "mask_objects", None)
        assert mask_folder(tmp_path).digest == digest
    put(tmp_path, "masks/3.png", png(np.minimum(mask(), 2)))
    changed = mask_folder(tmp_path)
    assert changed.digest != digest
    assert rows(changed, "present").sum() == 28


def test_a_later_start_opens_no_image_to_learn_its_size(tmp_path, monkeypatch):
    for i, image in enumerate(PICTURES):
        put(tmp_path, f"images/{i}.png", image)
        put(tmp_path, f"labels/{i}.txt", "0 0.5 0.5 0.2 0.3")
    digest = yolo_folder(tmp_path).digest
    monkeypatch.setattr(picture_files, "decode_strictly", None)
    monkeypatch.setattr(Image, "open", None)
    assert yolo_folder(tmp_path).digest == digest


def test_more_objects_than_the_limit_are_refused():
    values = np.arange(mask_images.MOST + 2).reshape(1, -1)
    with pytest.raises(FileError, match="1,001 values above 0"):
        mask_objects(values)
    assert len(mask_objects(values[:, :-1]).boxes) == mask_images.MOST
