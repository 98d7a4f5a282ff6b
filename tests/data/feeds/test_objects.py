import dataclasses
import json

import numpy as np
import pytest

from jaxnets.data.dataset import DataError, Dataset, Feature, Split
from jaxnets.data.feeds import named_objects as named
from jaxnets.data.feeds.named_objects import named_objects
from jaxnets.data.feeds.objects import check_objects, object_feeds, object_statistics
from jaxnets.data.shapes.segments import SegmentMasks, segment_boxes
from jaxnets.data.store.cache import ENVIRONMENT
from jaxnets.ops import augment
from jaxnets.ops.geometry import without_slivers
from jaxnets.types import DetectionBatch
from tests.data.files.test_annotations import box, write
from tests.data.files.test_annotations import scene as coco_images
from tests.data.files.test_folder import tree, voc
from tests.data.files.test_mask_images import BOXES, HEIGHT, WIDTH, mask, masked
from tests.data.files.test_yolo import NAMES, labelled, put

MOST, SIDE = 3, 16


def segments(count, seed=0):
    """Up to three rectangles on each other; every third image is empty."""
    random = np.random.default_rng(seed)
    made = np.zeros((count, SIDE, SIDE), np.int8)
    for i in range(count):
        for k in range(i % 3 and 1 + i % MOST):
            y, x = random.integers(0, SIDE - 6, 2)
            made[i, y : y + 6, x : x + 3 + k] = k + 1
    return made


def objects(count=12, **changed):
    """A set of objects in memory; columns of the training split can be changed."""
    splits = {}
    for seed, name in enumerate(("train", "validation", "test")):
        drawn = segments(count, seed)
        boxes = segment_boxes(drawn, MOST)
        present = boxes.any(-1)
        columns = {
            "image": np.repeat(drawn[..., None].astype(np.uint8) * 60, 3, -1),
            "boxes": boxes,
            "label": np.where(present, np.arange(MOST), 0).astype(np.int32),
            "present": present,
            "ignore": np.zeros_like(present),
            "masks": SegmentMasks(drawn, MOST),
        }
        if name == "train":
            columns |= changed
        splits[name] = Split(columns, [f"{name} {i}" for i in range(count)])
    features = {
        "image": Feature((SIDE, SIDE, 3), "uint8", 0, 255),
        "boxes": Feature((MOST, 4), "float32", 0, SIDE),
        "label": Feature((MOST,), "int32", 0, 2, ("a", "b", "c")),
        "present": Feature((MOST,), "bool"),
        "ignore": Feature((MOST,), "bool"),
        "masks": Feature((MOST, SIDE, SIDE), "bool"),
    }
    return Dataset("toy", features, **splits, mean=(0.1,) * 3, std=(0.5,) * 3)


def edited(name, place, value):
    """The training set with one value changed."""
    column = objects().train.columns[name].copy()
    column[place] = value
    return objects(**{name: column})


# --- feeds ----------------------------------------------------------------------------


def test_batches_hold_the_objects_of_their_images(capsys):
    data = objects()
    feeds = object_feeds(data, batch_size=4, seed=0, masks=True, largest=8)
    assert feeds.size == (SIDE, SIDE)
    said = capsys.readouterr().out
    assert "toy, train: 12 images, 20 objects (3 at most in one)" in said
    assert "4 images without any" in said
    batch = feeds.validation(1)
    assert batch.mask.tolist() == [True] * 4 + [False] * 4
    columns = data.validation.columns
    for name in ("boxes", "label", "present", "ignore"):
        rows = np.asarray(getattr(batch, name))
        assert np.array_equal(rows[:4], columns[name][8:])
        assert not rows[4:].any()
    masks = np.asarray(batch.masks)
    assert np.array_equal(masks[:4], columns["masks"][np.arange(8, 12)])
    assert not masks[4:].any()
    pixels = (columns["image"][8:] / 255 - 0.1) / 0.5
    np.testing.assert_allclose(batch.image[:4], pixels, atol=1e-6)
    assert feeds.train.batch_size == 4
    assert object_feeds(data, batch_size=4, seed=0).train(0).masks is None


def test_boxes_and_masks_follow_the_augmentation_and_slivers_are_dropped():
    change = (augment.padded_crop(6), augment.horizontal_flip())
    feeds = object_feeds(
        objects(), batch_size=12, seed=0, augmentation=change, masks=True
    )
    numbers, kept = np.arange(1, MOST + 1)[:, None, None], 0
    for step in range(3):
        batch = feeds.train(step)
        masks, present = np.asarray(batch.masks), np.asarray(batch.present)
        boxes = np.asarray(batch.boxes)
        around = segment_boxes((masks * numbers).max(1).astype(np.int8), MOST)
        assert np.array_equal(masks.any((2, 3)), present)
        assert not boxes[~present].any()
        # What is hidden of an object may have been what its box reaches to.
        assert (around[..., :2] >= boxes[..., :2]).all()
        assert (around[..., 2:] <= boxes[..., 2:]).all()
        front = present & ~np.pad(present[:, 1:], ((0, 0), (0, 1)))  # drawn last
        assert np.array_equal(around[front], boxes[front])
        kept += int(present.sum())
    assert 30 < kept < 60


def test_an_object_of_less_than_a_pixel_or_without_a_mask_is_no_longer_present():
    boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 0.5], [0, 0, 0.9, 4], [0, 0, 1, 1]]])
    masks = np.ones((1, 4, 8, 8), bool)
    masks[0, 3] = False
    batch = DetectionBatch(
        image=np.zeros((1, 8, 8, 3), np.float32),
        boxes=boxes.astype(np.float32),
        label=np.zeros((1, 4), np.int32),
        present=np.ones((1, 4), bool),
        ignore=np.zeros((1, 4), bool),
        mask=np.ones(1, bool),
        masks=masks,
    )
    made = without_slivers(batch)
    assert made.present.tolist() == [[True, False, False, False]]
    assert np.array_equal(made.boxes, boxes * [[[1], [0], [0], [0]]])
    assert np.asarray(made.masks).sum((2, 3)).tolist() == [[64, 0, 0, 0]]
    alone = without_slivers(batch._replace(masks=None), shortest=0.5)
    assert alone.present.all()


# --- what is refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (("boxes", (1, 0), [1, 2, 1, 4]), "1 of 20 boxes are empty or turned over"),
        (("boxes", (1, 0), [5, 2, 3, 4]), r"turned over; .* object 0 .* train 1: box"),
        (("boxes", (1, 0), [-1, 2, 3, 4]), "1 of 20 boxes have a negative edge"),
        (("boxes", (1, 0), [1, 2, 3, 17]), "boxes reach out of the image of 16 x 16"),
        (("boxes", (1, 0), [1, 2, np.nan, 4]), "1 of 20 boxes are not finite"),
        (("label", ([1, 2], 0), 3), r"2 of 20 labels are not 0 to 2; .* label 3"),
        (("label", (1, 0), -1), "1 of 20 labels are not 0 to 2"),
        (("present", slice(None), False), "no training image shows an object"),
        (("ignore", slice(None), True), "no training image shows an object"),
    ],
)
def test_annotations_that_cannot_be_used_are_refused_with_counts(data, message):
    with pytest.raises(DataError, match=message):
        object_feeds(edited(*data), batch_size=4, seed=0)


def test_what_padding_holds_is_not_looked_at():
    check_objects(edited("boxes", (0, 0), [3, 3, 2, 2]))
    check_objects(edited("label", (0, 0), 7))


def test_columns_that_are_missing_or_of_another_size_are_named():
    data = objects()
    features = {k: v for k, v in data.features.items() if k != "ignore"}
    with pytest.raises(DataError, match="has no column ignore; a set of objects has"):
        check_objects(dataclasses.replace(data, features=features))
    small = SegmentMasks(segments(12)[:, ::2], MOST)
    check_objects(objects(masks=small))
    with pytest.raises(DataError, match=r"masks has rows of \(3, 8, 16\), not \(3, 16"):
        check_objects(objects(masks=small), masks=True)


# --- statistics -----------------------------------------------------------------------


def test_areas_and_overlaps_are_counted_by_hand():
    drawn = np.zeros((2, 128, 128), np.int8)
    drawn[0, :96, :96], drawn[0, 100:132, :32] = 1, 2  # 9216 pixels, and 28 x 32
    drawn[0, :10, :60] = 3
    drawn[1, :32, :32] = 1  # 1024: small and medium, as COCO has it
    boxes = segment_boxes(drawn, 4)
    boxes[0, 3] = [0, 0, 20, 20]
    present = boxes.any(-1)
    ignore = np.zeros_like(present)
    ignore[0, 3] = True
    columns = {"boxes": boxes, "present": present, "ignore": ignore}
    found = object_statistics(Split({**columns, "masks": SegmentMasks(drawn, 4)}))
    assert found[:5] == (2, 4, 1, 4, 0)
    assert found[5:8] == (0.75, 0.5, 0.0)  # 8616 pixels are seen of the first
    assert object_statistics(Split(columns)).large == 0.25  # its box
    assert found.overlapping == {0.3: 0, 0.5: 0, 0.7: 0}
    columns["boxes"][0, 2] = [0, 0, 60, 96]
    again = object_statistics(Split(columns)).overlapping
    assert again == {0.3: 1 / 3, 0.5: 1 / 3, 0.7: 0}
    assert "small 75.0%, medium 50.0%, large 0.0%" in str(found)


# --- by name --------------------------------------------------------------------------


def images(root, **more):
    """A sound set of objects in each format; returns the boxes that are to be read."""
    write(root, coco_images(root), [box(i, **more) for i in range(10)])
    return [[6, 5, 16, 25]]


def yolo(root):
    labelled(root)
    put(root, "data.yaml", NAMES)


@pytest.mark.parametrize("make", [images, voc, yolo, lambda r: masked(r, mask())])
def test_folders_are_told_by_their_looks(tmp_path, make):
    make(tmp_path)
    data = named_objects(str(tmp_path), size=(32,), keep="streamed")
    check_objects(data)
    assert set(data.features) == {"image", "boxes", "label", "present", "ignore"}
    assert data.train.columns["image"].shape[1:] == (32, 32, 3)


def test_masks_of_folders_reach_the_batch(tmp_path):
    masked(tmp_path, mask())
    data = named_objects(str(tmp_path), size=(60,), masks=True, label="person")
    feeds = object_feeds(data, batch_size=2, seed=0, masks=True)
    batch = feeds.train(0)
    boxes = np.array(BOXES) * 2 + [10, 0, 10, 0]
    assert np.array_equal(batch.boxes, [boxes] * 2)
    drawn = np.asarray(batch.masks)[0, 1, 10:50]
    assert np.array_equal(drawn, np.kron(mask() == 7, np.ones((2, 2))))
    assert (HEIGHT, WIDTH) == (20, 30)


def test_objects_without_an_outline_are_counted_where_masks_are_needed(tmp_path):
    rows, whole = coco_images(tmp_path), [[5, 6, 25, 6, 25, 16, 5, 16]]
    made = [box(i, **({"segmentation": whole} if i > 3 else {})) for i in range(10)]
    write(tmp_path, rows, made)
    data = named_objects(str(tmp_path), masks=True)
    check_objects(data)
    with pytest.raises(DataError, match="objects have a box and no outline"):
        check_objects(data, masks=True)


def test_ids_of_categories_with_gaps_or_from_0_are_said(tmp_path, capsys):
    rows = coco_images(tmp_path)
    made = [{**box(i), "category_id": (0, 7)[i % 2]} for i in range(10)]
    categories = [{"id": 7, "name": "dog"}, {"id": 0, "name": "cat"}]
    write(tmp_path, rows, made, categories=categories)
    data = named_objects(str(tmp_path))
    assert "category ids are 0, 7, not 1 to 2: labels are 0 to 1" in (
        capsys.readouterr().out
    )
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize("name", list(named.EMBEDDED))
def test_generated_scenes_have_ignore_and_masks(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    short = {
        n: lambda side, train, f=f: f(side=side, train=train, validation=2, test=2)
        for n, f in named.EMBEDDED.items()
    }
    monkeypatch.setattr(named, "EMBEDDED", short)
    data = named_objects(name, masks=True, generated=4)
    drawn = data.test.columns["masks"][:]
    assert np.array_equal(drawn.any((2, 3)), data.test.columns["present"])
    if name == "shapes":
        return
    feeds = object_feeds(data, batch_size=2, seed=0, masks=True)
    batch = feeds.test(0)
    assert np.array_equal(batch.masks[:2], drawn)
    around = np.asarray(batch.masks).any((2, 3))
    assert np.array_equal(around, batch.present)
    assert set(feeds.train.columns) >= {"segments"}
    assert "areas as COCO counts them" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shapes", {"size": (64, 32)}, "images are squares"),
        ("shapes", {"skip_bad": True}, "--skip-bad leaves out parts of a user's"),
        ("shapes", {"fit": "pad"}, "--fit pad says how images reach a size"),
        ("shapes", {"generated": 2**40}, "bytes of memory"),
        ("digits", {}, "digits is labelled images, not objects with boxes as shapes"),
        ("voc", {"masks": True}, "sets of TFDS are read with boxes only"),
        ("voc", {"size": (64,), "fit": "crop"}, "not cut: use --fit pad"),
    ],
)
def test_options_that_do_not_go_with_a_name_are_refused(name, options, message):
    with pytest.raises(DataError, match=message):
        named_objects(name, **options)


def test_folders_without_boxes_or_masks_are_refused(tmp_path):
    tree(tmp_path / "classes")
    with pytest.raises(DataError, match="looks like images, which has no boxes"):
        named_objects(str(tmp_path / "classes"))
    voc(tmp_path / "voc")
    with pytest.raises(DataError, match="format of VOC, which has boxes only"):
        named_objects(str(tmp_path / "voc"), masks=True)


def test_boxes_of_tfds_without_area_are_left_out(capsys):
    made = named._without_empty(edited("boxes", (1, 0), [1, 2, 1, 4]))
    assert "left out 1 of 20 (5.0 %): boxes have no area" in capsys.readouterr().out
    assert not made.train.columns["present"][1, 0]
    check_objects(made)
    assert json.dumps(sorted(made.features)) == json.dumps(sorted(objects().features))
