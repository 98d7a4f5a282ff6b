import dataclasses

import numpy as np
import pytest

from jaxnets.data.dataset import (
    DataError,
    Dataset,
    Feature,
    Split,
    carved,
    check_rows,
    checked,
)
from jaxnets.data.named import labelled_images
from jaxnets.data.pictures import (
    CONSTANT,
    channel_statistics,
    constant_channels,
    histogram,
    moments,
)

pytestmark = pytest.mark.host

LABEL = Feature((), "int32", 0, 9)
BOX = Feature((None, 4), "float32", 0, 32)


def dataset(labels=(0, 1, 2), **changes):
    labels = np.asarray(labels)
    image = np.zeros((len(labels), 2, 2, 1), np.uint8)
    one = Split({"image": image, "label": labels})
    features = {"image": Feature((2, 2, 1), "uint8", 0, 255), "label": LABEL}
    fine = Split({"image": np.zeros((3, 2, 2, 1), np.uint8), "label": np.arange(3)})
    whole = Dataset("toy", features, train=one, validation=fine, test=fine)
    return dataclasses.replace(whole, **changes)


def test_good_data_is_returned_as_it_is():
    good = dataset()
    assert checked(good, batch_size=3) is good


class OnDisk:
    """A column that is not in memory, and says what it holds."""

    def __init__(self, digest):
        self.digest = digest

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return np.zeros((3, 2))[index]


def test_the_digest_of_a_split_is_of_every_column():
    label = np.arange(3)

    def digest(**columns):
        return Split({"image": OnDisk("a"), "label": label, **columns}).digest

    rows = Split({"image": OnDisk("a"), "label": label}).take(np.array([0, 2, 1]))
    others = {digest(), digest(image=OnDisk("b")), digest(label=label + 1), rows.digest}
    assert len(others) == 4
    assert digest() == digest(image=OnDisk("a"))


def test_a_column_in_memory_has_the_digest_that_it_has_elsewhere():
    pixels = np.zeros((3, 2))
    known = {"image": (pixels, "a")}
    there = Split({"image": OnDisk("a")})
    assert Split({"image": pixels}, known=known).digest == there.digest
    other = Split({"image": pixels + 1}, known=known)  # of another array: not believed
    assert other.digest == Split({"image": pixels + 1}).digest != there.digest


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 10, 2], "train, label: the value 10 of example 1 .* range 0 to 9"),
        ([0, 1, -1], "the value -1 of example 2"),
        ([0.0, 1.5, 2.0], "1.5 of example 1 is not a whole number"),
        ([0.0, np.nan, 2.0], "nan of example 1 is not a number"),
        ([0.0, np.inf, 2.0], "inf of example 1 is not a number"),
        ([2**40, 1, 2], "1099511627776 of example 0"),
        ([[0], [1], [2]], "shape"),
    ],
)
def test_bad_labels_are_named(labels, words):
    with pytest.raises(DataError, match=words):
        checked(dataset(labels))


def test_the_number_of_bad_examples_is_told():
    with pytest.raises(DataError, match="2 of 4 examples"):
        checked(dataset([0, 10, 11, 1]))


def test_text_is_no_label():
    with pytest.raises(DataError, match="holds <U1, expected int32"):
        checked(dataset(["a", "b", "c"]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 33.0])
def test_bad_boxes_are_named(value):
    boxes = np.zeros((4, 2, 4), np.float32)
    boxes[2, 1, 3] = value
    with pytest.raises(DataError, match=r"example 2 at \(1, 3\)"):
        check_rows(boxes, BOX, "toy")


def test_rows_may_be_called_by_what_the_source_calls_them():
    with pytest.raises(DataError, match="example 77"):
        check_rows(np.array([0, 99]), LABEL, "toy", index=[5, 77])


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="toy, validation: there is no example"):
        checked(dataset(validation=dataset([]).train))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(DataError, match="batch of 4 does not fit into 3"):
        checked(dataset(), batch_size=4)


def test_columns_of_different_length_are_refused():
    torn = Split({"image": np.zeros((2, 2, 2, 1), np.uint8), "label": np.arange(3)})
    with pytest.raises(DataError, match="differ in length"):
        checked(dataset(train=torn))


def test_a_column_nobody_described_is_refused():
    odd = Split({"label": np.arange(3)})
    with pytest.raises(DataError, match="has columns"):
        checked(dataset(train=odd))


@pytest.mark.parametrize(
    ("train", "test"), [(["a", "a", "b"], None), (["a", "b", "c"], ["x", "c", "y"])]
)
def test_ids_that_repeat_are_refused(train, test):
    whole = dataset()
    changes = {"train": dataclasses.replace(whole.train, ids=train)}
    if test:
        changes["test"] = dataclasses.replace(whole.test, ids=test)
    with pytest.raises(DataError, match="there twice"):
        checked(dataset(**changes))


def test_carving_is_stratified_disjoint_and_fixed():
    labels = np.repeat(np.arange(5), 40)
    keep, hold = carved(labels, 0.1, salt="toy")
    assert sorted([*keep, *hold]) == list(range(200))
    np.testing.assert_array_equal(np.bincount(labels[hold]), 4)
    np.testing.assert_array_equal(carved(labels, 0.1, salt="toy")[1], hold)
    assert list(carved(labels, 0.1, salt="other")[1]) != list(hold)
    assert not np.array_equal(hold % 40, np.tile(hold[:4] % 40, 5))


def test_the_digest_tells_data_apart():
    one = dataset()
    assert one.digest == dataset().digest
    assert one.digest != dataset([0, 1, 3]).digest
    image = np.zeros((3, 2, 2, 1), np.uint8)
    image[2, 1, 1, 0] = 1
    other = Split({"image": image, "label": np.arange(3)})
    assert one.digest != dataclasses.replace(one, test=other).digest


def test_the_statistics_are_exact():
    images = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(std, images.std((0, 1, 2)) / 255, rtol=1e-12)


@pytest.mark.parametrize("name", ["shapes", "dates", "corpus"])
def test_generated_sets_of_another_kind_say_what_they_are(name):
    with pytest.raises(DataError, match=rf"{name} is .*, not labelled images"):
        labelled_images(name)


def test_a_channel_that_never_varies_gets_a_deviation_that_is_harmless():
    images = np.random.default_rng(0).integers(0, 256, (5000, 4, 4, 3), dtype=np.uint8)
    images[..., 1] = 77
    mean, std = channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)))
    assert mean[1] == 77 / 255
    assert std[1] == CONSTANT == 1
    deviation = (images / 255).std((0, 1, 2))
    np.testing.assert_allclose(np.delete(std, 1), np.delete(deviation, 1))
    halves = histogram(images[:9]) + histogram(images[9:])
    assert moments(halves) == (mean, std)
    images[0, 0, 0, 1] = 78  # varies, if only just
    assert 0 < channel_statistics(images)[1][1] < 1e-4
    assert constant_channels(dataset(std=(0.2, 0.3))) == ""
    note = constant_channels(dataset(std=std))
    assert "of 3 image channels, 1 (counted from 0) never varies" in note
