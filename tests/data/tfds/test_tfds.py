import gzip
import hashlib
import http.server
import io
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow_datasets as tfds
from jaxtyping import Array
from PIL import Image
from tensorboardX.record_writer import RecordWriter

from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.base import ordered
from jaxnets.data.feeds.prefetch import closed, prefetched
from jaxnets.data.pictures import channel_statistics
from jaxnets.data.store import records
from jaxnets.data.tfds import (
    catalogue,
    connection,
    library,
    originals,
    plans,
    preparing,
)
from jaxnets.data.tfds import sets as data
from jaxnets.data.tfds.originals import Examples, Original

FASHION = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist
needs_fashion = pytest.mark.skipif(
    not FASHION.is_dir(), reason="the package dataset-fashion-mnist is not installed"
)
FEW = {"train": 300, "test": 100}


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """No test may reach a network, or a data set of whoever runs it."""

    def refused(*args, **kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setenv("JAXNETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "default"))


# --- builders of our own, registered as those of the catalogue are ---


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Pictures of 6 x 5 pixels with two labels."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(6, 5, 3)),
                    "label": tfds.features.ClassLabel(names=["cat", "dog", "owl"]),
                    "coarse": tfds.features.ClassLabel(num_classes=2),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        raise NotImplementedError

    def _generate_examples(self):
        raise NotImplementedError


class TinyScenes(TinyPictures):
    """Pictures of any size with captions and boxes."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = tuple(
        tfds.core.BuilderConfig(name=name, version="1.0.0")
        for name in ("first", "second")
    )

    def _info(self):
        thing = {
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(names=["ball", "box"]),
            "is_crowd": np.bool_,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "image/id": np.int64,
                    "objects": tfds.features.Sequence(thing),
                    "captions": tfds.features.Sequence(
                        {"text": tfds.features.Text(), "id": np.int64}
                    ),
                }
            ),
        )


class TinyReviews(TinyPictures):
    """Sentences with a label."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "text": tfds.features.Text(),
                    "label": tfds.features.ClassLabel(names=["bad", "good"]),
                }
            ),
        )


def pixels(split, i):
    name = f"{split} {i}".encode()
    block = hashlib.shake_128(name).digest(90)
    return np.frombuffer(block, np.uint8).reshape(6, 5, 3)


def tiny(counts, label=lambda split, i: i % 3, image=None):
    def examples(split):
        for i in range(counts[split]):
            picture = image(split, i) if image else None
            yield (
                i,
                {
                    "image": picture or Image.fromarray(pixels(split, i)),
                    "label": label(split, i),
                    "coarse": i % 2,
                },
            )

    return Examples({split: examples(split) for split in counts}, {})


def prepare_from(name, examples, root):
    """The folder of a set that the registered builder writes from these examples."""
    reference = catalogue.parsed(name)
    ours = library.with_reader(
        library.registered(reference), lambda downloads: examples
    )
    return preparing._run(library.built(ours, reference, root), reference, root, None)


@pytest.fixture(scope="module")
def pictures_dir(tmp_path_factory):
    """Tiny pictures, prepared once; tests that change them copy first."""
    root = tmp_path_factory.mktemp("tfds")
    prepare_from("tiny_pictures", tiny(FEW), root)
    return root


def copied(folder, to):
    import shutil

    shutil.copytree(folder, to, ignore=shutil.ignore_patterns(".jaxnets"))
    return to


def rows(dataset):
    """Every example as bytes, with its label, over all splits."""
    return sorted(
        (image.tobytes(), int(label))
        for split in dataset.splits.values()
        for image, label in zip(
            split.columns["image"][np.arange(len(split))],
            split.columns["label"],
            strict=True,
        )
    )


# --- the real Fashion-MNIST, offline, without TensorFlow ---


@pytest.fixture(scope="module")
def fashion():
    if not FASHION.is_dir():
        pytest.skip("the package dataset-fashion-mnist is not installed")
    return {
        (split, kind): originals.idx(FASHION / f"{prefix}-{kind}-ubyte.gz")
        for split, prefix in (("train", "train"), ("test", "t10k"))
        for kind in ("images-idx3", "labels-idx1")
    }


def check_fashion(dataset, fashion, counts):
    images = {s: fashion[s, "images-idx3"][:n] for s, n in counts.items()}
    labels = {s: fashion[s, "labels-idx1"][:n] for s, n in counts.items()}
    expected = sorted(
        (image.tobytes(), int(label))
        for split in counts
        for image, label in zip(images[split], labels[split], strict=True)
    )
    assert rows(dataset) == expected
    assert dataset.classes[0] == "T-shirt/top"
    assert dataset.classes[9] == "Ankle boot"
    assert len(dataset.test) == counts["test"]
    per_class = np.bincount(labels["train"], minlength=10)
    held = np.bincount(dataset.validation.columns["label"], minlength=10)
    np.testing.assert_array_equal(held, np.round(per_class * 0.1))
    mean, std = channel_statistics(dataset.train.columns["image"])
    np.testing.assert_allclose(dataset.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(dataset.std, std, rtol=1e-12)


@needs_fashion
def test_the_registered_fashion_mnist_is_prepared_without_tensorflow(tmp_path, fashion):
    assert "tensorflow" not in sys.modules
    counts = {"train": 3000, "test": 500}
    paths = {path.name: path for path in FASHION.glob("*.gz")}
    whole = originals.original("fashion_mnist", None).read(paths)
    few = {s: itertools.islice(e, counts[s]) for s, e in whole.splits.items()}
    folder = prepare_from("fashion_mnist", Examples(few, {}), tmp_path)
    assert folder == tmp_path / "fashion_mnist" / "3.0.1"
    check_fashion(
        data.tfds_dataset("fashion_mnist", data_dir=tmp_path), fashion, counts
    )
    # The unmodified calls of TFDS read it too.
    source = tfds.data_source("fashion_mnist", split="test", data_dir=tmp_path)
    assert len(source) == 500
    assert source[0]["image"].shape == (28, 28, 1)
    assert "tensorflow" not in sys.modules


@pytest.mark.campaign
@needs_fashion
def test_all_of_fashion_mnist_from_the_files_of_the_package(tmp_path, fashion):
    counts = {"train": 60_000, "test": 10_000}
    dataset = data.tfds_dataset("fashion_mnist", data_dir=tmp_path, manual_dir=FASHION)
    assert {s: len(v) for s, v in dataset.splits.items()} == {
        "train": 54_000,
        "validation": 6_000,
        "test": 10_000,
    }
    check_fashion(dataset, fashion, counts)


@needs_fashion
def test_the_files_of_the_package_are_those_that_tfds_verifies():
    infos = tfds.builder_cls("fashion_mnist").url_infos
    assert len(originals.SAME_CONTENT) == 4
    for url in originals.original("fashion_mnist", None).urls:
        name = url.rsplit("/", 1)[1]
        content = (FASHION / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert digest == originals.SAME_CONTENT[name]
        when = 1504176606 if name.startswith("train") else 1504176627
        start = b"\x1f\x8b\x08\x08" + when.to_bytes(4, "little") + b"\x00\x03"
        published = start + name.removesuffix(".gz").encode() + b"\0" + content[10:]
        assert hashlib.sha256(published).hexdigest() == infos[url].checksum


# --- labelled pictures ---


def test_splits_labels_and_statistics(pictures_dir):
    dataset = data.tfds_dataset("tiny_pictures", data_dir=pictures_dir)
    assert dataset.classes == ("cat", "dog", "owl")
    assert {s: len(v) for s, v in dataset.splits.items()} == {
        "train": 270,
        "validation": 30,
        "test": 100,
    }
    assert np.bincount(dataset.validation.columns["label"]).tolist() == [10] * 3
    expected = sorted(
        (pixels(split, i).tobytes(), i % 3) for split in FEW for i in range(FEW[split])
    )
    assert rows(dataset) == expected
    mean, std = channel_statistics(dataset.train.columns["image"])
    np.testing.assert_allclose(dataset.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(dataset.std, std, rtol=1e-12)


def test_the_default_folder_is_that_of_tfds(pictures_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(pictures_dir))
    assert len(data.tfds_dataset("tiny_pictures").test) == 100


def test_another_label_can_be_chosen(pictures_dir):
    dataset = data.tfds_dataset("tiny_pictures", data_dir=pictures_dir, label="coarse")
    assert np.bincount(dataset.test.columns["label"]).tolist() == [50, 50]
    with pytest.raises(DataError, match=r"`colour` is not one of .*coarse"):
        data.tfds_dataset("tiny_pictures", data_dir=pictures_dir, label="colour")


def test_pictures_are_cut_to_a_square_and_scaled(pictures_dir):
    dataset = data.tfds_dataset("tiny_pictures", data_dir=pictures_dir, size=5)
    images = dataset.test.columns["image"]
    assert images.shape == (100, 5, 5, 3)
    (expected,) = {
        Image.fromarray(pixels("test", i))
        .resize((5, 5), Image.Resampling.BILINEAR, (0, 0.5, 5, 5.5))
        .tobytes()
        for i in [7]
    }
    assert expected in {image.tobytes() for image in images}


class Pictures(NamedTuple):
    image: Array
    label: Array
    mask: Array


def test_streamed_pictures_are_the_decoded_ones(pictures_dir):
    whole = data.tfds_dataset("tiny_pictures", data_dir=pictures_dir)
    late = data.tfds_dataset("tiny_pictures", data_dir=pictures_dir, keep="streamed")
    index = np.random.default_rng(0).permutation(270)
    got = late.train.columns["image"][index]
    np.testing.assert_array_equal(got, whole.train.columns["image"][index])
    assert (late.mean, late.std) == (whole.mean, whole.std)
    assert late.digest == whole.digest  # a run may go on with the other
    column = late.test.columns["image"]
    assert column[3].shape == (6, 5, 3)
    assert column[2:4].shape == (2, 6, 5, 3)
    feed = prefetched(ordered(late.test, Pictures, batch_size=32), workers=3)
    plain = ordered(whole.test, Pictures, batch_size=32)
    for a, b in zip(feed, plain, strict=True):
        np.testing.assert_array_equal(a.mask, b.mask)
        real = np.asarray(a.mask)  # what stands in padding rows is nobody's business
        np.testing.assert_array_equal(a.image[real], b.image[real])
        np.testing.assert_array_equal(a.label[real], b.label[real])
    closed(feed)


def test_a_second_start_needs_neither_tfds_nor_jax(pictures_dir):
    first = data.tfds_dataset("tiny_pictures", data_dir=pictures_dir)
    program = f"""
import sys
from jaxnets.data.tfds.sets import tfds_dataset
dataset = tfds_dataset("tiny_pictures", data_dir={str(pictures_dir)!r})
assert "tensorflow_datasets" not in sys.modules
assert "jax" not in sys.modules
print(dataset.digest)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.split()[-1] == first.digest


def test_a_set_that_was_prepared_again_is_decoded_again(pictures_dir, tmp_path):
    root = copied(pictures_dir, tmp_path / "tfds")
    before = data.tfds_dataset("tiny_pictures", data_dir=root)
    folder = root / "tiny_pictures" / "1.2.0"
    old = sorted(os.listdir(folder / ".jaxnets"))
    assert len(old) == 2  # pictures, and what is said of them
    shutil.move(folder / ".jaxnets", tmp_path / "kept")
    shutil.rmtree(folder)
    counts = {"train": 60, "test": 10}
    prepare_from("tiny_pictures", tiny(counts, lambda s, i: 2 - i % 3), root)
    shutil.move(tmp_path / "kept", folder / ".jaxnets")
    after = data.tfds_dataset("tiny_pictures", data_dir=root)
    assert len(before.test) == 100
    assert len(after.test) == 10
    new = os.listdir(folder / ".jaxnets")
    assert len(new) == 2
    assert not set(old) & set(new)


def damage(path):
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)


def test_a_damaged_cache_is_decoded_again(pictures_dir, tmp_path):
    root = copied(pictures_dir, tmp_path / "tfds")
    before = data.tfds_dataset("tiny_pictures", data_dir=root)
    (path,) = root.glob("**/train.label.npy")
    damage(path)
    with pytest.warns(UserWarning, match=r"train.label.npy does not have its SHA-256"):
        after = data.tfds_dataset("tiny_pictures", data_dir=root)
    assert after.digest == before.digest
    (path,) = root.glob("**/pixels.npy")
    damage(path)
    said = r"pixels of train, \d+ are damaged; it is decoded again"
    with pytest.warns(UserWarning, match=said):
        after = data.tfds_dataset("tiny_pictures", data_dir=root)
    pixels = after.train.columns["image"]
    np.testing.assert_array_equal(pixels, before.train.columns["image"])


def test_labels_that_are_out_of_range_stop_the_load(tmp_path):
    wrong = tiny({"train": 30, "test": 6}, lambda s, i: -1 if i == 4 else i % 3)
    prepare_from("tiny_pictures", wrong, tmp_path)
    with pytest.raises(DataError, match=r"label: the value -1 .*range 0 to 2"):
        data.tfds_dataset("tiny_pictures", data_dir=tmp_path)


def test_bad_pictures_are_named_and_counted(tmp_path):
    good = io.BytesIO()
    Image.fromarray(pixels("x", 0)).save(good, "png")
    bad = {
        3: good.getvalue()[:60],  # cut off
        8: b"not a picture",
        9: good.getvalue().replace(b"IDAT", b"IDAX"),
    }
    large = io.BytesIO()
    Image.new("RGB", (7, 7)).save(large, "png")
    bad[11] = large.getvalue()
    examples = tiny(
        {"train": 20, "test": 4},
        image=lambda s, i: io.BytesIO(bad[i]) if s == "train" and i in bad else None,
    )
    prepare_from("tiny_pictures", examples, tmp_path)
    said = r"tiny_pictures, train, \d+: the image cannot be decoded .*\(4 images cannot"
    for keep in "kept", "streamed":
        with pytest.raises(DataError, match=said):
            data.tfds_dataset("tiny_pictures", data_dir=tmp_path, keep=keep)


def as_tfrecord(folder):
    """Rewrites a prepared set in the format that TFDS uses by default."""
    builder = tfds.builder_from_directory(folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    for split in builder.info.splits:
        name = f"tiny_pictures-{split}.%s-00000-of-00001"
        writer = RecordWriter(str(folder / (name % "tfrecord")))
        for record in builder.as_data_source(split, deserialize_method=raw):
            writer.write(record)
        writer.close()
        (folder / (name % "array_record")).unlink()
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))


def test_sets_stored_as_tfrecord_are_read_without_tensorflow(pictures_dir, tmp_path):
    root = copied(pictures_dir, tmp_path / "tfds")
    folder = root / "tiny_pictures" / "1.2.0"
    as_tfrecord(folder)
    got = data.tfds_dataset("tiny_pictures", data_dir=root)
    assert (
        got.digest == data.tfds_dataset("tiny_pictures", data_dir=pictures_dir).digest
    )
    path = folder / "tiny_pictures-test.tfrecord-00000-of-00001"
    whole = path.read_bytes()
    for damaged in (whole[:-5], whole + b"?", b"\xff" * 8 + whole[8:], b""):
        path.write_bytes(damaged)
        with pytest.raises((DataError, ValueError), match=r"damaged|empty"):
            data.tfds_dataset("tiny_pictures", data_dir=root)


# --- which split is what ---


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"train": 100}, {"train": 81, "validation": 9, "test": 10}),
        ({"train": 100, "test": 7}, {"train": 90, "validation": 10, "test": 7}),
        ({"train": 100, "validation": 7}, {"train": 90, "validation": 10, "test": 7}),
        (
            {"train": 100, "validation": 8, "test": 7},
            {"train": 100, "validation": 8, "test": 7},
        ),
    ],
)
def test_splits_are_carved_where_the_source_has_none(counts, expected):
    strata = {s: np.zeros(n, np.int32) for s, n in counts.items()}
    parts = records.arranged(strata, "a set")
    assert {part: len(rows) for part, (_, rows) in parts.items()} == expected
    taken = [(s, int(row)) for s, rows in parts.values() for row in rows]
    assert len(set(taken)) == len(taken) == sum(counts.values())
    again = records.arranged(strata, "a set")
    for part in parts:
        np.testing.assert_array_equal(again[part][1], parts[part][1])


def test_a_test_split_without_labels_does_not_count_as_one():
    strata = {
        "train": np.arange(100, dtype=np.int32) % 2,
        "validation": np.zeros(8, np.int32),
        "test": np.full(7, -1, np.int32),
    }
    parts = records.arranged(strata, "a set")
    assert parts["test"][0] == "validation"
    with pytest.raises(DataError, match="no split `train` with labels"):
        records.arranged({"test": strata["validation"]}, "a set")


# --- captions, boxes, text ---


def scenes(split, n):
    for i in range(n):
        boxes = [(0.0, 0.25, 0.5, 1.0), (0.1, 0.1, 0.2, 0.2)][: i % 3]
        yield (
            i,
            {
                "image": Image.fromarray(np.full((20 + i, 30, 3), 7 * i, np.uint8)),
                "image/id": 100 * (split == "test") + i,
                "objects": [
                    {"bbox": tfds.features.BBox(*b), "label": k, "is_crowd": k == 1}
                    for k, b in enumerate(boxes)
                ],
                "captions": [
                    {"text": f"scene {i}, said {k} times: é", "id": 5 * i + k}
                    for k in range(1 + i % 2)
                ],
            },
        )


@pytest.fixture(scope="module")
def scenes_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    made = Examples({"train": scenes("train", 30), "test": scenes("test", 6)}, {})
    prepare_from("tiny_scenes/first", made, root)
    return root


@pytest.mark.parametrize("keep", ["kept", "streamed"])
def test_captions(scenes_dir, keep):
    got = data.tfds_captions("tiny_scenes", data_dir=scenes_dir, size=16, keep=keep)
    assert {s: len(v) for s, v in got.splits.items()} == {
        "train": 27,
        "validation": 3,
        "test": 6,
    }
    for split in got.splits.values():
        images = split.columns["image"][np.arange(len(split))]
        captions = split.columns["captions"][np.arange(len(split))]
        for image, said, name in zip(images, captions, split.ids, strict=True):
            i = int(name) % 100
            assert abs(int(image[8, 8, 0]) - 7 * i) <= 2  # JPEG
            want = tuple(f"scene {i}, said {k} times: é" for k in range(1 + i % 2))
            assert said == want


def test_boxes(scenes_dir):
    got = data.tfds_boxes("tiny_scenes/first", data_dir=scenes_dir, size=40)
    assert got.classes == ("ball", "box")
    columns = got.test.columns
    assert columns["boxes"].shape == (6, 2, 4)
    for row, name in enumerate(got.test.ids):
        count = int(name) % 100 % 3
        assert columns["present"][row].tolist() == [k < count for k in range(2)]
        assert columns["ignore"][row].tolist() == [False, count == 2]
        if count:
            np.testing.assert_allclose(columns["boxes"][row, 0], [0, 10, 20, 40])
            assert columns["label"][row, 0] == 0
    assert columns["image"].shape == (6, 40, 40, 3)


def test_boxes_follow_images_that_are_padded(scenes_dir):
    got = data.tfds_boxes("tiny_scenes/first", data_dir=scenes_dir, size=40, fit="pad")
    other = data.tfds_boxes("tiny_scenes/first", data_dir=scenes_dir, size=40)
    assert set(other.test.ids) == set(got.test.ids)
    moved = 0
    for row, (image, boxes) in enumerate(
        zip(got.test.columns["image"], got.test.columns["boxes"], strict=True)
    ):
        rows, columns = np.nonzero(image.max(-1) > 0)
        if not len(rows) or not got.test.columns["present"][row, 0]:
            continue
        y0, x0, y1, x1 = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        stretched = other.test.columns["boxes"][row, 0] / 40
        scale = np.array([y1 - y0, x1 - x0] * 2)
        np.testing.assert_allclose(
            boxes[0], stretched * scale + [y0, x0] * 2, atol=1e-3
        )
        moved += (y1 - y0, x1 - x0) != (40, 40)
    assert moved
    assert not got.test.columns["boxes"][~got.test.columns["present"]].any()


def test_boxes_that_are_not_in_order_stop_the_load():
    features = tfds.builder_cls("tiny_scenes")(data_dir="/nowhere").info.features
    plan = plans.boxed(40)("scenes", dict(features.items()))
    record = {
        "image/id": 7,
        "objects": {
            "bbox": [[0.5, 0.1, 0.2, 0.3]],
            "label": [1],
            "is_crowd": [False],
        },
    }
    with pytest.raises(
        DataError, match=r"scenes, train: box 0 of example 0 .*in order"
    ):
        plan.pack({"train": [plan.annotate(record)]})
    record["objects"]["bbox"] = [[0.1, 0.1, np.nan, 0.3]]
    with pytest.raises(DataError, match="box 0"):
        plan.pack({"train": [plan.annotate(record)]})


def test_text_with_labels(tmp_path):
    def reviews(split):
        for i in range(20):
            yield i, {"text": f"{split} {i} = naïve", "label": i % 2}

    made = Examples({split: reviews(split) for split in ("train", "test")}, {})
    prepare_from("tiny_reviews", made, tmp_path)
    got = data.tfds_text("tiny_reviews", data_dir=tmp_path)
    everything = [
        (text, int(label))
        for split in got.splits.values()
        for text, label in zip(
            split.columns["text"][np.arange(len(split))],
            split.columns["label"],
            strict=True,
        )
    ]
    assert sorted(everything) == sorted(
        (f"{split} {i} = naïve", i % 2)
        for split in ("train", "test")
        for i in range(20)
    )
    assert len(got.validation) == 2
    with pytest.raises(DataError, match="0 features of type Image"):
        data.tfds_dataset("tiny_reviews", data_dir=tmp_path)


def test_a_split_without_labels_is_left_out_and_named(tmp_path, capsys):
    def reviews(split):
        for i in range(20):
            yield i, {"text": f"{split} {i}", "label": -1 if split == "test" else i % 2}

    made = Examples({split: reviews(split) for split in ("train", "test")}, {})
    prepare_from("tiny_reviews", made, tmp_path)
    for _ in range(2):  # prepared, and read from the cache
        got = data.tfds_text("tiny_reviews", data_dir=tmp_path)
        assert "split test has no labels, so it is left out" in capsys.readouterr().out
        rows = got.test.columns["text"][np.arange(len(got.test))]
        assert all(text.startswith("train") for text in rows)


def test_shakespeare_from_a_file(tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("abcdefghij" * 10)
    original = originals.original("tiny_shakespeare", None)
    made = original.read({"input.txt": path})
    prepare_from("tiny_shakespeare", made, tmp_path)
    got = data.tfds_text("tiny_shakespeare", data_dir=tmp_path)
    texts = [split.columns["text"][0] for split in got.splits.values()]
    assert [len(text) for text in texts] == [90, 5, 5]


# --- finding what is there ---


def prepared(folder):
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "features.json").write_text("{}")
    return folder


def test_the_newest_version_is_found(tmp_path):
    for version in ("3.0.1", "10.0.0", "9.0.0", "incomplete.XY_11.0.0"):
        prepared(tmp_path / "mnist" / version)
    (tmp_path / "mnist" / "12.0.0").mkdir()  # cut off
    find = lambda name: catalogue.find(catalogue.parsed(name), tmp_path)
    assert find("mnist") == tmp_path / "mnist" / "10.0.0"
    assert find("mnist:9.0.0") == tmp_path / "mnist" / "9.0.0"
    assert find("mnist:8.0.0") is None
    assert find("cifar10") is None


def test_a_variant_is_never_taken_for_another(tmp_path):
    find = lambda name: catalogue.find(catalogue.parsed(name), tmp_path)
    small = prepared(tmp_path / "imagenette" / "160px-v2" / "1.0.0")
    assert find("imagenette/160px-v2") == small
    assert find("imagenette/320px-v2") is None
    assert find("imagenette") == small  # the only one, and no other is the default
    config = tmp_path / "imagenette" / ".config" / "metadata.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"defaultConfigName": "full-size-v2"}))
    assert find("imagenette") is None
    whole = prepared(tmp_path / "imagenette" / "full-size-v2" / "1.0.0")
    assert find("imagenette") == whole
    config.unlink()
    with pytest.raises(
        DataError, match="name one of imagenette/160px-v2, imagenette/f"
    ):
        find("imagenette")


@pytest.mark.parametrize(
    "name", ["../etc", "a/../../b", "/root", "a b", "", "CIFAR10", "a/b/c", "a:1"]
)
def test_names_cannot_leave_the_folder(name, tmp_path):
    with pytest.raises(DataError, match="nor a name of a TFDS set"):
        preparing.prepare(name, tmp_path)


def test_a_typing_error_gets_a_suggestion(tmp_path):
    with pytest.raises(DataError, match=r"did you mean .*imagenette"):
        data.tfds_dataset("imagenet", data_dir=tmp_path)


# --- before a download ---


def test_offline_the_error_does_not_wait_for_an_answer(tmp_path, monkeypatch):
    over, asked = threading.Event(), threading.Event()

    def never_answers(*args, **kwargs):
        asked.set()
        over.wait()  # until the error is there, however long that takes
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", never_answers)
    assert connection.SECONDS == 3
    with pytest.raises(DataError) as info:
        data.tfds_dataset("cifar10", data_dir=tmp_path)
    assert asked.is_set()
    over.set()
    message = str(info.value)
    assert "digits (labelled images), glyphs (labelled images), shapes (cap" in message
    command = f"uv run python -m jaxnets.data prepare cifar10 --data-dir {tmp_path}"
    assert command in message
    assert "cifar-10-binary.tar.gz" in message
    assert "--manual-dir" in message
    assert not list(tmp_path.iterdir())


def test_the_connection_test_knows_an_open_port_and_a_proxy(monkeypatch):
    asked = []

    class Answer:
        def close(self):
            pass

    def answers(address, timeout):
        asked.append(address)
        return Answer()

    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(socket, "create_connection", answers)
    assert connection.connected("http://somewhere.example/a/b.gz")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    assert connection.connected("http://somewhere.example/a/b.gz")
    assert asked == [("somewhere.example", 80), ("proxy.example", 3128)]


def test_what_needs_tensorflow_is_refused_before_the_network_is_asked(
    tmp_path, monkeypatch
):
    def asked(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(preparing, "connected", asked)
    find_spec = preparing.importlib.util.find_spec
    absent = lambda name: None if name == "tensorflow" else find_spec(name)
    monkeypatch.setattr(preparing.importlib.util, "find_spec", absent)
    with pytest.raises(DataError, match="needs TensorFlow to prepare") as info:
        data.tfds_boxes("voc", data_dir=tmp_path)
    message = str(info.value)
    assert "uv sync --extra tf" in message
    assert "jaxnets[tf]" in message
    assert "digits (labelled images), glyphs (labelled images), shapes (cap" in message
    assert "cifar10" in message


def test_a_manual_file_with_another_digest_is_refused(tmp_path):
    manual = tmp_path / "manual"
    manual.mkdir()
    (manual / "cifar-10-binary.tar.gz").write_bytes(b"something else")
    with pytest.raises(DataError, match="is not the file that TFDS knows: its SHA-256"):
        preparing.prepare("cifar10", tmp_path / "data", manual)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"published\n" * 10
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def site(monkeypatch):
    monkeypatch.undo()  # this test may reach this machine
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/published.txt"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("digest", ["right", "wrong", "unknown"])
def test_downloads_carry_digests(tmp_path, monkeypatch, site, digest):
    content = b"published\n" * 10
    right = hashlib.sha256(content).hexdigest()
    known = type(next(iter(tfds.builder_cls("mnist").url_infos.values())))
    checksum = right if digest == "right" else "0" * 64
    infos = {site: known(size=100, checksum=checksum, filename="published.txt")}
    builder = tfds.builder_cls("tiny_reviews")
    monkeypatch.setattr(
        builder, "url_infos", {} if digest == "unknown" else infos, raising=False
    )

    def read(paths):
        text = paths["published.txt"].read_text()
        both = {"text": text, "label": 1}
        return Examples({s: iter([(s, both)]) for s in ("train", "test")}, {})

    reader = lambda name, config: Original((site,), read)
    monkeypatch.setattr(originals, "original", reader)
    monkeypatch.setattr(originals, "NAMES", ("tiny_reviews",))
    if digest == "right":
        folder = preparing.prepare("tiny_reviews", tmp_path)
        source = tfds.builder_from_directory(folder).as_data_source("test")
        assert source[0]["text"] == content
        return
    wanted = "wrong checksum" if digest == "wrong" else "Missing checksums"
    with pytest.raises(DataError, match=wanted):
        preparing.prepare("tiny_reviews", tmp_path)
    assert not list(tmp_path.glob("tiny_reviews/*"))


# --- the authors' files ---


def test_idx_files_must_be_as_long_as_they_say(tmp_path):
    path = tmp_path / "a.gz"
    head = b"\0\0\x08\x02" + (3).to_bytes(4, "big") + (2).to_bytes(4, "big")
    path.write_bytes(gzip.compress(head + bytes(range(6))))
    np.testing.assert_array_equal(originals.idx(path), np.arange(6).reshape(3, 2))
    for content in (head + bytes(5), head + bytes(7), head[:9], b"", b"\0\0\x09\x01"):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match=r"idx|header"):
            originals.idx(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        originals.idx(path)


def tar_of(path, members):
    import tarfile

    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_cifar_archives(tmp_path):
    block = lambda seed, labels: (
        bytes(labels) + hashlib.shake_128(b"%d" % seed).digest(3072)
    )
    folder = "cifar-10-batches-bin"
    members = {
        f"{folder}/data_batch_{k}.bin": block(k, [k]) + block(9, [9])
        for k in range(1, 6)
    }
    members[f"{folder}/test_batch.bin"] = block(0, [7])
    members[f"{folder}/batches.meta.txt"] = b"\n".join(b"c%d" % i for i in range(10))
    original = originals.original("cifar10", None)
    path = tar_of(tmp_path / "cifar-10-binary.tar.gz", members)
    made = original.read({path.name: path})
    train = list(made.splits["train"])
    assert [key for key, _ in train] == list(range(10))
    assert train[2][1]["label"] == 2
    assert train[2][1]["id"] == "train_00002"
    planes = np.frombuffer(block(2, []), np.uint8).reshape(3, 32, 32)
    image = np.asarray(train[2][1]["image"])
    np.testing.assert_array_equal(image[4, 5], planes[:, 4, 5])
    assert made.classes == {"label": [f"c{i}" for i in range(10)]}
    prepare_from("cifar10", original.read({path.name: path}), tmp_path)
    builder = tfds.builder("cifar10", data_dir=tmp_path)
    assert builder.info.features["label"].names == [f"c{i}" for i in range(10)]
    assert len(builder.as_data_source("train")) == 10
    del members[f"{folder}/test_batch.bin"]
    tar_of(path, members)
    with pytest.raises(DataError, match=r"test_batch\.bin"):
        original.read({path.name: path})


def test_cifar100_has_two_labels(tmp_path):
    folder = "cifar-100-binary"
    row = bytes([3, 42]) + bytes(3072)
    members = {
        f"{folder}/train.bin": row * 2,
        f"{folder}/test.bin": row,
        f"{folder}/coarse_label_names.txt": b"a\nb\n",
        f"{folder}/fine_label_names.txt": b"c\nd\n",
    }
    path = tar_of(tmp_path / "cifar-100-binary.tar.gz", members)
    made = originals.original("cifar100", None).read({path.name: path})
    ((_, first), _) = made.splits["train"]
    assert (first["coarse_label"], first["label"]) == (3, 42)
    assert made.classes["coarse_label"] == ["a", "b"]


def test_svhn_matrices(tmp_path):
    from scipy.io import savemat

    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4)).astype(np.uint8)
    for split in ("train", "test"):
        labels = np.array([[1], [10], [3], [9]], np.uint8)
        savemat(tmp_path / f"{split}_32x32.mat", {"X": images, "y": labels})
    paths = {p.name: p for p in tmp_path.glob("*.mat")}
    made = originals.original("svhn_cropped", None).read(paths)
    test = [example for _, example in made.splits["test"]]
    assert [example["label"] for example in test] == [1, 0, 3, 9]
    np.testing.assert_array_equal(np.asarray(test[2]["image"]), images[..., 2])
    assert test[2]["id"] == "test_000002"


def test_imagenette_archives(tmp_path):
    original = originals.original(["imagenette", "160px-v2"][0], "160px-v2")
    assert original.urls[0].endswith("/imagenette2-160.tgz")
    picture = io.BytesIO()
    Image.new("RGB", (20, 30), (200, 10, 10)).save(picture, "jpeg")
    members = {
        "imagenette2-160/train/n01440764/a.JPEG": picture.getvalue(),
        "imagenette2-160/train/n03888257/b.JPEG": picture.getvalue(),
        "imagenette2-160/val/n03888257/c.JPEG": picture.getvalue(),
        "imagenette2-160/noisy.csv": b"x",
    }
    path = tar_of(tmp_path / "imagenette2-160.tgz", members)
    made = original.read({path.name: path})
    prepare_from("imagenette/160px-v2", made, tmp_path)
    source = tfds.builder("imagenette/160px-v2", data_dir=tmp_path).as_data_source()
    assert {split: len(rows) for split, rows in source.items()} == {
        "train": 2,
        "validation": 1,
    }
    assert source["validation"][0]["label"] == 9
    assert source["validation"][0]["image"].shape == (30, 20, 3)


def test_every_address_of_an_original_has_a_digest():
    for name in originals.NAMES:
        builder = tfds.builder_cls(name)
        for config in [None, *(config.name for config in builder.BUILDER_CONFIGS)]:
            for url in originals.original(name, config).urls:
                assert re.fullmatch(r"[0-9a-f]{64}", builder.url_infos[url].checksum)
