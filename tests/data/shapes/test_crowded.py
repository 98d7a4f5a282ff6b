import numpy as np
import pytest

from jaxnets.data.dataset import DataError, checked
from jaxnets.data.shapes import crowded
from jaxnets.data.shapes.crowded import OBJECTS, crowded_scene, crowded_shapes
from jaxnets.data.shapes.scenes import is_held_out_pair
from jaxnets.data.shapes.segments import SegmentMasks, instance_masks
from jaxnets.data.store.cache import ENVIRONMENT

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT, str(tmp_path_factory.mktemp("cache")))
        yield crowded_shapes(train=60, validation=2, test=20)


def test_boxes_are_around_what_is_seen_and_padding_is_behind(data):
    columns = checked(data).train.columns
    masks = instance_masks(columns["segments"], OBJECTS)
    seen = masks.sum(axis=(2, 3))
    present = columns["present"]
    assert np.array_equal(present, seen > 0)
    assert (np.diff(present.astype(int), axis=1) <= 0).all()
    assert seen[present].min() >= crowded.PIXELS
    assert columns["boxes"][~present].max() == 0
    for i, k in np.argwhere(present)[::7]:
        y, x = np.nonzero(masks[i, k])
        around = [y.min(), x.min(), y.max() + 1, x.max() + 1]
        assert columns["boxes"][i, k].tolist() == around
    visible = columns["visible"][present]
    assert visible.min() >= crowded.VISIBLE
    assert visible.max() == 1
    assert (visible < 0.9).mean() > 0.2
    assert (columns["visible"][:, 0] > 0.95).all()  # the foremost; a corner may be cut


def test_up_to_twelve_objects_of_all_sizes_and_overlaps_above_half(data):
    columns = data.train.columns
    counts = columns["present"].sum(axis=1)
    assert counts.min() >= 1
    assert counts.max() >= 10
    assert np.median(counts) in (5, 6)
    boxes = columns["boxes"][columns["present"]]
    sides = np.maximum(*(boxes[:, 2:] - boxes[:, :2]).T)
    assert sides.min() <= 4
    assert sides.max() >= 55
    ious = []
    for row, real in zip(columns["boxes"], columns["present"], strict=True):
        own = row[real]
        low = np.maximum(own[:, None, :2], own[None, :, :2])
        high = np.minimum(own[:, None, 2:], own[None, :, 2:])
        both = np.clip(high - low, 0, None).prod(-1)
        area = (own[:, 2:] - own[:, :2]).prod(-1)
        union = area[:, None] + area - both
        ious.append((both / union)[np.triu_indices(len(own), 1)].max(initial=0))
    assert 0.2 < (np.array(ious) > 0.5).mean() < 0.6


def test_scenes_are_drawn_from_the_front_and_who_is_nearly_hidden_is_not():
    front = crowded.CrowdedObject(1, 0, 0, 0.5, 0.5, 0.5)  # a red square
    hidden = front._replace(colour=5, extent=0.5, y=0.52)
    beside = front._replace(form=0, colour=3, extent=0.25, y=0.25, x=0.5)
    drawn = crowded.render([(front, hidden, beside), (beside, hidden)], "train", 64)
    assert drawn.kept[:, :4].tolist() == [[0, 2, -1, -1], [0, 1, -1, -1]]
    assert drawn.visible[0, 0] == 1
    assert 0.4 < drawn.visible[0, 1] < 0.7
    red, green, blue = drawn.image[0, 32, 32].astype(int)
    assert red > 180 > 90 > max(green, blue)
    assert drawn.segments[0, 32, 32] == 1
    assert drawn.segments[0, 11, 32] == 2


def test_held_out_pairs_are_in_half_of_the_test_split_only(data):
    for name, split in data.splits.items():
        columns = split.columns
        pairs = [
            any(
                is_held_out_pair(int(c), int(f))
                for c, f in zip(colour[real], form[real], strict=True)
            )
            for colour, form, real in zip(
                *(columns[k] for k in ("colour", "label", "present")), strict=True
            )
        ]
        assert columns["held_out"].tolist() == pairs
        assert pairs == [name == "test" and i % 2 == 1 for i in range(len(split))]


def test_objects_that_overlap_differ_in_colour():
    same, pairs = 0, 0
    for i in range(40):
        scene = crowded_scene("train", i)
        for k, thing in enumerate(scene):
            for other in scene[:k]:
                reach = (thing.extent + other.extent) / 2
                if max(abs(thing.y - other.y), abs(thing.x - other.x)) < reach:
                    same, pairs = same + (thing.colour == other.colour), pairs + 1
    assert pairs > 200
    assert same < 0.02 * pairs


def test_the_pixels_are_those_of_this_version(data):
    """Where this fails by intention, `VERSION` counts up: caches hold the old ones."""
    assert crowded.VERSION == 1
    image = data.test.columns["image"].astype(float)
    assert image.mean() == pytest.approx(122.835, abs=0.01)
    assert image.std() == pytest.approx(81.417, abs=0.01)


def test_a_smaller_set_is_the_beginning_and_the_cache_gives_it_back(data, monkeypatch):
    small = crowded_shapes(train=2, validation=2, test=10)
    for name, column in small.test.columns.items():
        assert np.array_equal(column, data.test.columns[name][:10])
    monkeypatch.setattr(crowded, "render", None)
    assert crowded_shapes(train=2, validation=2, test=10).digest == small.digest


@pytest.mark.parametrize("wrong", [{"side": 48}, {"side": 300}, {"train": 0}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(DataError, match="64 to 256 pixels"):
        crowded_shapes(**wrong)


def test_a_column_of_masks_is_read_from_segments(data):
    segments = data.train.columns["segments"]
    column = SegmentMasks(segments, OBJECTS)
    index = np.array([5, 2])
    expected = instance_masks(segments[index], OBJECTS)
    assert np.array_equal(column[index], expected)
    assert np.array_equal(column.rows_at(index)[:], expected)
    assert len(column) == len(segments)
    assert column.digest != column.rows_at(index).digest
