import io
import json
import struct
import warnings
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageFile

from jaxnets import files
from jaxnets.data.dataset import DataError, Dataset, Split, checked
from jaxnets.data.files.caption_folders import captioned_folder
from jaxnets.data.files.class_folders import image_folder
from jaxnets.data.files.coco import coco_folder
from jaxnets.data.files.folder import KINDS, folder, kind_of
from jaxnets.data.files.formats import SUFFIXES
from jaxnets.data.files.images import decode
from jaxnets.data.files.loading import Survey
from jaxnets.data.files.objects import picture_size
from jaxnets.data.files.outlines import Outline, outline, rasterized
from jaxnets.data.files.problems import DataWarning, FileError
from jaxnets.data.files.reading import inside, read
from jaxnets.data.files.sentences import sentence_pairs, text_files
from jaxnets.data.files.voc import voc_folder
from jaxnets.data.files.xml_trees import parsed
from jaxnets.data.pictures import ImageSpec, Placement
from tests.data import damage

pytestmark = pytest.mark.host


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


def put(root, name, content):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def tree(root, count=10, splits=("",), classes=("cat", "dog")):
    """A sound tree; returns its pixels by name."""
    made = {}
    for s, split in enumerate(splits):
        for k, label in enumerate(classes):
            for i in range(count):
                name = f"{split}/{label}/{i:03}.png".lstrip("/")
                made[name] = damage.picture(1000 * s + 100 * k + i, 6, 7)
                put(root, name, png(made[name]))
    return made


def every(dataset):
    return [identity for split in dataset.splits.values() for identity in split.ids]


# --- decoding -------------------------------------------------------------------------


def test_every_mode_becomes_the_colours_a_person_sees():
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    colour = damage.picture(0, 6, 8)
    clear = np.dstack([colour, np.where(grey > 100, 255, 0).astype(np.uint8)])
    cases = {
        "L": (Image.fromarray(grey), np.dstack([grey] * 3)),
        "RGB": (Image.fromarray(colour), colour),
        "1": (
            Image.fromarray(grey > 100),
            np.dstack([np.where(grey > 100, 255, 0)] * 3),
        ),
        "RGBA": (
            Image.fromarray(clear),
            np.where((grey > 100)[..., None], colour, 255),
        ),
        "I;16": (
            Image.fromarray(grey.astype(np.uint16) * 257 + 100),
            np.dstack([grey] * 3),
        ),
    }
    palette = Image.fromarray(colour).quantize(16)
    cases["P"] = palette, np.asarray(palette.convert("RGB"))
    for mode, (image, want) in cases.items():
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        made = decode(buffer.getvalue())
        assert made.pixels.dtype == np.uint8
        assert made.original == (6, 8)
        np.testing.assert_array_equal(made.pixels, want, err_msg=mode)
        one = decode(buffer.getvalue(), ImageSpec(channels=1)).pixels
        luma = np.asarray(want, np.float64) @ [0.299, 0.587, 0.114]
        np.testing.assert_allclose(one[..., 0], luma, atol=1, err_msg=mode)


def test_a_transparent_palette_and_grey_get_the_background():
    grey = np.full((4, 5), 40, np.uint8)
    grey[:2] = 9
    image = Image.fromarray(grey).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "GIF", transparency=int(np.asarray(image)[0, 0]))
    pixels = decode(buffer.getvalue(), ImageSpec(background=77)).pixels
    assert (pixels[:2] == 77).all()
    assert (pixels[2:] == 40).all()
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey * 0 + 255)])
    buffer = io.BytesIO()
    both.save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue()).pixels[..., 0], grey)


def test_cmyk_jpegs_are_converted():
    colour = np.full((16, 16, 3), (200, 60, 30), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colour).convert("CMYK").save(buffer, "JPEG", quality=95)
    assert np.abs(decode(buffer.getvalue()).pixels.astype(int) - colour).max() < 12


def test_an_exif_tag_turns_the_image_unless_told_otherwise():
    colour = damage.picture(0, 6, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    content = png(colour, exif=exif)
    np.testing.assert_array_equal(decode(content).pixels, np.rot90(colour, -1))
    stored = decode(content, ImageSpec(oriented=False))
    np.testing.assert_array_equal(stored.pixels, colour)


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(20, 40), (40, 20), (30, 30)])
def test_what_is_resized_is_where_the_placement_says(fit, shape):
    # One bright block in the middle right: its centre of mass is followed.
    y, x = shape[0] * 0.5, shape[1] * 0.6
    array = np.zeros((*shape, 3), np.uint8)
    array[int(y) - 3 : int(y) + 3, int(x) - 3 : int(x) + 3] = 255
    made = decode(png(array), ImageSpec((24, 32), fit=fit))
    assert made.pixels.shape == (24, 32, 3)
    place = made.placement
    mass = made.pixels[..., 0].astype(float)
    row = (mass.sum(1) @ (np.arange(24) + 0.5)) / mass.sum()
    column = (mass.sum(0) @ (np.arange(32) + 0.5)) / mass.sum()
    assert abs(row - (int(y) * place.scale_y + place.shift_y)) < 0.2
    assert abs(column - (int(x) * place.scale_x + place.shift_x)) < 0.2
    if fit != "stretch":
        assert abs(place.scale_x / place.scale_y - 1) < 0.07
    if fit == "pad":
        corners = np.array([[0, 0], shape]) * [place.scale_y, place.scale_x]
        corners += [place.shift_y, place.shift_x]
        assert (corners >= -1e-9).all()
        assert (corners[1] <= (24, 32)).all()


def test_an_image_of_the_right_size_is_kept_to_the_bit():
    colour = damage.picture(0, 24, 32)
    for fit in ("crop", "stretch", "pad"):
        made = decode(png(colour), ImageSpec((24, 32), fit=fit))
        np.testing.assert_array_equal(made.pixels, colour)
        assert made.placement == Placement(1, 1, 0, 0)


def lying_png(width, height, rows=b""):
    def part(kind, body):
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + part(b"IEND", b"")


def test_headers_are_compared_with_the_file_before_anything_is_allocated(monkeypatch):
    def never(*_):
        raise AssertionError("pixels were allocated")

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    for width, height, message in [
        (2**31 - 1, 2**31 - 1, "Unsupported|claims|exceeds|could be"),
        (32768, 32768, "limit is|exceeds|could be"),
        (40000, 4, "a side is 1 to 32768"),
        (8000, 8000, "bytes cannot hold"),
        (0, 10, "claims|cannot be decoded"),
    ]:
        with pytest.raises(FileError, match=message):
            decode(lying_png(width, height))
    with pytest.raises(FileError, match="the limit is 100"):
        decode(png(damage.picture(0, 11, 10)), ImageSpec(limit=100))


@pytest.mark.parametrize("side", [8192 + 128, 10_000, 15_000])
def test_an_image_of_too_many_pixels_is_told_to_shrink(tmp_path, side):
    content = lying_png(side, side, bytes(90_000))  # Pillow warns, or refuses it
    message = r"claims [\d x]+ pixels; the limit is 67108864: shrink it, for example"
    with pytest.raises(FileError, match=message):
        decode(content)
    put(tmp_path, "1.png", content)
    if side > 14_000:
        with pytest.raises(
            FileError, match=r"1\.png claims 225000000 pixels; the limit"
        ):
            picture_size(tmp_path, "1.png", oriented=False)


def test_a_bomb_of_zeros_within_its_own_bound_still_meets_the_limit():
    content = lying_png(20000, 20000, bytes(20000 * 3 * 5))
    with pytest.raises(FileError, match=r"exceeds|limit|cannot hold"):
        decode(content)


def test_animations_several_pages_32_bits_and_lab_are_refused():
    frames = [Image.fromarray(damage.picture(i)).quantize(8) for i in range(3)]
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        buffer = io.BytesIO()
        rows = [f.convert("RGB") for f in frames] if kind != "GIF" else frames
        rows[0].save(buffer, kind, save_all=True, append_images=rows[1:])
        with pytest.raises(FileError, match="holds 3 images"):
            decode(buffer.getvalue())
    buffer = io.BytesIO()
    Image.fromarray(np.ones((4, 4), np.float32)).save(buffer, "TIFF")
    with pytest.raises(FileError, match="32-bit"):
        decode(buffer.getvalue())
    buffer = io.BytesIO()
    Image.new("LAB", (4, 4)).save(buffer, "TIFF")
    with pytest.raises(FileError, match="Lab"):
        decode(buffer.getvalue())


def test_the_checksum_of_every_part_of_a_png_is_verified():
    # Not compressed, so that a decoder which skips the checksum would not notice.
    good = png(damage.picture(0), compress_level=0)
    at = good.index(b"IDAT") + 200
    with pytest.raises(FileError, match=r"wrong checksum in the PNG's part b'IDAT'"):
        decode(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])


def test_what_a_decoder_only_warns_of_is_an_error_also_in_threads(
    tmp_path, monkeypatch
):
    tree(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # they have 42
    survey = Survey()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image_folder(tmp_path, survey=survey)
    assert len(survey.problems) == 20
    assert "claims 42 pixels; the limit is 40" in survey.problems[0].what


def test_a_switch_that_lets_truncated_images_through_is_noticed(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(FileError, match="LOAD_TRUNCATED_IMAGES"):
        decode(png(damage.picture(0)))


# --- the campaign of damaged images ---------------------------------------------------


def verdicts(kind, count):
    """How often damage was caught, changed nothing, or would come in unseen."""
    found = Counter()
    for i in range(count):
        good = damage.encoded(kind, i)
        how = damage.KINDS[i % len(damage.KINDS)]
        bad = damage.damaged(good, kind, how, i)
        assert bad != good
        want = decode(good).pixels
        try:
            have = decode(bad).pixels
        except FileError:
            found["caught"] += 1
        else:
            same = have.shape == want.shape and (have == want).all()
            found["identical" if same else "unseen"] += 1
    return found


# Without digests: what the formats themselves can prove. Measured, of 250.
MOST_UNSEEN = {"png": 0, "jpeg": 70, "webp": 80, "bmp": 90, "gif": 40, "tiff": 65}


@pytest.mark.parametrize("kind", damage.FORMATS)
def test_damage_is_caught_as_far_as_the_format_can_prove_it(kind):
    found = verdicts(kind, 48)
    assert found.total() == 48
    assert found["unseen"] <= MOST_UNSEEN[kind] / 250 * 48 + 6 * (kind != "png")


@pytest.mark.campaign
@pytest.mark.parametrize("kind", damage.FORMATS)
def test_250_damaged_images_of_each_format(kind, record_property):
    found = verdicts(kind, 250)
    record_property("verdicts", dict(found))
    print(kind, dict(found))
    assert found.total() == 250
    assert found["unseen"] <= MOST_UNSEEN[kind]


def damaged_folder(root, count):
    """Good and damaged images of all formats; returns the names of the damaged."""
    bad = []
    for kind in damage.FORMATS:
        for i in range(count):
            content = damage.encoded(kind, i)
            name = f"class{i % 3}/{kind}{i:03}.{kind}"
            put(root, name, content)
            put(root, f"class{i % 3}/good-{kind}{i:03}.{kind}", content)
            bad.append(name)
    (root / "class0" / ".DS_Store").write_bytes(b"junk")
    names = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.*"))
    lines = [f"{files.sha256(root / name)}  {name}\n" for name in names]
    (root / "SHA256SUMS").write_text("".join(lines))
    for kind in damage.FORMATS:
        for i in range(count):
            path = root / f"class{i % 3}" / f"{kind}{i:03}.{kind}"
            how = damage.KINDS[i % len(damage.KINDS)]
            path.write_bytes(damage.damaged(path.read_bytes(), kind, how, i))
    return bad


def nothing_unseen(root, count):
    bad = damaged_folder(root, count)
    survey = Survey()
    dataset = image_folder(root, survey=survey)
    assert sorted(p.where for p in survey.problems) == sorted(bad)
    ids = every(dataset)
    assert len(ids) == count * len(damage.FORMATS)
    assert not set(ids) & set(bad)
    for split in dataset.splits.values():
        for row, identity in zip(split.columns["image"], split.ids, strict=True):
            want = decode((root / identity).read_bytes()).pixels
            np.testing.assert_array_equal(row, want)
    return Counter(p.what.split(":")[0] for p in survey.problems)


def test_with_digests_no_damage_comes_in_unseen(tmp_path):
    nothing_unseen(tmp_path, 12)


@pytest.mark.campaign
def test_with_digests_none_of_1500_damaged_images_comes_in_unseen(tmp_path):
    print(dict(nothing_unseen(tmp_path, 250)))


# --- class/name.png -------------------------------------------------------------------


def test_a_tree_becomes_its_pixels_and_labels(tmp_path):
    made = tree(tmp_path, count=20, classes=("bird", "cat", "dog"))
    dataset = checked(image_folder(tmp_path, held_out=0.1))
    assert dataset.classes == ("bird", "cat", "dog")
    sizes = {name: len(split) for name, split in dataset.splits.items()}
    assert sizes == {"train": 48, "validation": 6, "test": 6}
    assert sorted(every(dataset)) == sorted(made)
    for split in dataset.splits.values():
        rows = zip(
            split.columns["image"], split.columns["label"], split.ids, strict=True
        )
        for image, label, identity in rows:
            np.testing.assert_array_equal(image, made[identity])
            assert dataset.classes[label] == identity.split("/")[0]
        if len(split) == 6:  # stratified
            assert Counter(np.asarray(split.columns["label"]).tolist()) == {
                0: 2,
                1: 2,
                2: 2,
            }
    train = np.stack([made[i] for i in dataset.train.ids]) / 255
    np.testing.assert_allclose(dataset.mean, train.mean((0, 1, 2)))
    again = image_folder(tmp_path, held_out=0.1)
    assert again.digest == dataset.digest


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        (("train", "val", "test"), (20, 20, 20)),
        (("train", "test"), (18, 2, 20)),
        (("training", "validation"), (18, 20, 2)),
        (("train",), (16, 2, 2)),
    ],
)
def test_splits_of_the_source_are_kept_and_others_carved(tmp_path, splits, sizes):
    made = tree(tmp_path, splits=splits)
    dataset = image_folder(tmp_path)
    assert tuple(len(split) for split in dataset.splits.values()) == sizes
    assert sorted(every(dataset)) == sorted(made)
    if "test" in splits:
        assert all(i.startswith("test/") for i in dataset.test.ids)


def test_sizes_channels_and_nested_folders(tmp_path):
    tree(tmp_path)
    put(tmp_path, "cat/more/large.png", png(damage.picture(5, 30, 50)))
    with pytest.raises(DataError, match=r"of 2 shapes, .* from 6 x 7 .* to 30 x 50"):
        image_folder(tmp_path)
    with pytest.raises(DataError, match="--size 6 brings all to one shape"):
        image_folder(tmp_path, skip_bad=True)  # would leave a shape out, not a bad file
    dataset = image_folder(tmp_path, size=(8, 9), channels=1)
    assert dataset.features["image"].shape == (8, 9, 1)
    assert "cat/more/large.png" in every(dataset)


def test_a_bad_image_stops_by_default_and_may_be_left_out_with_a_count(tmp_path):
    made = tree(tmp_path)
    bad = ["cat/003.png", "dog/000.png", "dog/001.png"]
    put(tmp_path, bad[0], png(made[bad[0]])[:-20])
    put(tmp_path, bad[1], b"")
    put(tmp_path, bad[2], b"GIF89a what")
    with pytest.raises(DataError) as caught:
        image_folder(tmp_path)
    text = str(caught.value)
    assert f"{tmp_path.name}: 3 problems, 17 good examples" in text
    for name in bad:
        assert f"{name}: " in text
    assert "cut off" in text
    assert "is empty" in text
    with pytest.warns(DataWarning, match="3 problems, 17 examples left"):
        dataset = image_folder(tmp_path, skip_bad=True)
    assert sorted(every(dataset)) == sorted(set(made) - set(bad))
    for split in dataset.splits.values():
        for image, identity in zip(split.columns["image"], split.ids, strict=True):
            np.testing.assert_array_equal(image, made[identity])


def test_if_nothing_good_is_left_skipping_does_not_help(tmp_path):
    for label in ("a", "b"):
        put(tmp_path, f"{label}/x.png", b"junk")
    with pytest.raises(DataError, match="2 problems, 0 good"):
        image_folder(tmp_path, skip_bad=True)


def test_nothing_outside_the_folder_is_read(tmp_path):
    outside = put(tmp_path, "outside/secret.png", png(damage.picture(1, 6, 7)))
    root = tmp_path / "root"
    tree(root)
    (root / "cat" / "link.png").symlink_to(outside)
    (root / "dog" / "inner.png").symlink_to(root / "dog" / "000.png")
    (root / "fish").symlink_to(outside.parent)
    (root / "cat" / "deeper").symlink_to(root / "dog")
    survey = Survey()
    dataset = image_folder(root, survey=survey)
    assert {p.where: p.what for p in survey.problems} == {
        "cat/link.png": "is a link that leads out of the folder",
        "fish": "is a link to a folder",
        "cat/deeper": "is a link to a folder",
    }
    assert "dog/inner.png" in every(dataset)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..", "", ".", "a\0b"])
def test_names_that_may_lead_outside_are_refused(tmp_path, name):
    with pytest.raises(FileError, match="lead out"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["a\\b", "c:x", "a\nb", "a/..b/c..d"])
def test_odd_names_that_stay_inside_are_plain_names(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


def test_a_link_to_a_folder_of_nearly_the_same_name_leads_out(tmp_path):
    for name in ("photos", "photos2"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos2" / "a.png").touch()
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "photos2")
    with pytest.raises(FileError, match="leads out"):
        inside(tmp_path / "photos", "link/a.png")


def test_names_that_no_system_takes_are_refused(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("9" * 400, "a/" * 200 + "b", "half \ud800", "circle"):
        with pytest.raises(FileError) as caught:
            read(inside(tmp_path, name))
        assert "FileError" in repr(caught.value)


def test_a_file_that_never_ends_is_not_opened(tmp_path):
    tree(tmp_path)
    __import__("os").mkfifo(tmp_path / "cat" / "pipe.png")
    survey = Survey()
    image_folder(tmp_path, survey=survey)
    assert [str(p) for p in survey.problems] == ["cat/pipe.png: is not a regular file"]


def test_the_filters_of_warnings_come_back(tmp_path):
    tree(tmp_path)
    before = list(warnings.filters)
    image_folder(tmp_path)
    assert warnings.filters == before


# --- captions -------------------------------------------------------------------------


def captioned(root, rows, header="image,caption", name="captions.csv"):
    for i in range(12):
        put(root, f"images/{i}.png", png(damage.picture(i, 6, 7)))
    put(root, name, "\n".join([header, *rows]) + "\n")


def test_captions_from_csv(tmp_path):
    rows = [f'{i}.png,"a dog, number {i}"' for i in range(12)]
    captioned(tmp_path, [*rows, "3.png,another"])
    dataset = checked(captioned_folder(tmp_path, held_out=0.25))
    found = {}
    for split in dataset.splits.values():
        captions = split.columns["captions"][np.arange(len(split))]
        pictures = split.columns["image"]
        for identity, texts, image in zip(split.ids, captions, pictures, strict=True):
            found[identity] = texts
            want = damage.picture(int(identity[:-4]), 6, 7)
            np.testing.assert_array_equal(image, want)
    assert found["3.png"] == ("a dog, number 3", "another")
    assert len(found) == 12
    assert [len(s) for s in dataset.splits.values()] == [6, 3, 3]


@pytest.mark.parametrize("form", ["list", "mapping", "split column"])
def test_captions_from_json_and_a_split_column(tmp_path, form):
    captioned(tmp_path, [])
    if form == "split column":
        parts = ["train"] * 6 + ["val"] * 4 + ["test"] * 2
        rows = [f"{i}.png,{part},text {i}" for i, part in enumerate(parts)]
        put(tmp_path, "captions.csv", "\n".join(["file_name,split,caption", *rows]))
    else:
        value = {f"{i}.png": [f"text {i}", "more"] for i in range(12)}
        if form == "list":
            value = [{"image": k, "captions": v} for k, v in value.items()]
        (tmp_path / "captions.csv").unlink()
        put(tmp_path, "c.json", json.dumps(value))
    dataset = captioned_folder(tmp_path, held_out=0.25)
    sizes = [len(s) for s in dataset.splits.values()]
    assert sizes == ([6, 4, 2] if form == "split column" else [6, 3, 3])
    split = dataset.test
    (texts, *_) = split.columns["captions"][np.arange(1)]
    assert texts[0] == f"text {split.ids[0][:-4]}"


# --- COCO -----------------------------------------------------------------------------


def compressed(runs):
    """COCO's string of run lengths; written here independently of the reader."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            low, value = value & 31, value >> 5
            more = value != (-1 if low & 16 else 0)
            text += chr(48 + low + 32 * more)
            if not more:
                break
    return text


def coco(
    root, count=10, name="annotations/instances_train2017.json", folder="train2017"
):
    """Rectangles as polygons and run lengths, whose boxes are known."""
    random = np.random.default_rng(0)
    value = {
        "images": [],
        "annotations": [],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    for i in range(count):
        h, w = 20 + i, 30
        file = f"{i:03}.png"
        put(root, f"{folder}/{file}", png(damage.picture(i, h, w)))
        value["images"].append({"id": i, "file_name": file, "height": h, "width": w})
        for k in range(1 + i % 3):
            y0, x0 = int(random.integers(0, h - 8)), int(random.integers(0, w - 8))
            y1, x1 = y0 + int(random.integers(2, 8)), x0 + int(random.integers(2, 8))
            mask = np.zeros((h, w), bool)
            mask[y0:y1, x0:x1] = True
            runs = run_lengths(mask)
            shapes = [
                [[x0, y0, x1, y0, x1, y1, x0, y1]],
                {"size": [h, w], "counts": runs},
                {"size": [h, w], "counts": compressed(runs)},
            ]
            value["annotations"].append(
                {
                    "id": 100 * i + k,
                    "image_id": i,
                    "category_id": (7, 3)[k % 2],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": int(k == 2),
                    "segmentation": shapes[k],
                    "area": 1,
                }
            )
    put(root, name, json.dumps(value))
    return value


def run_lengths(mask):
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def test_coco_boxes_labels_and_masks(tmp_path):
    value = coco(tmp_path)
    dataset = checked(coco_folder(tmp_path, size=(40, 60), masks=True, held_out=0.2))
    assert dataset.classes == ("dog", "cat")  # by id
    assert [len(s) for s in dataset.splits.values()] == [6, 2, 2]
    by_image = {}
    for row in value["annotations"]:
        by_image.setdefault(row["image_id"], []).append(row)
    for split in dataset.splits.values():
        masks = split.columns["masks"][np.arange(len(split))]
        for i, identity in enumerate(split.ids):
            number = int(identity.split()[1])
            h = 20 + number
            present = split.columns["present"][i]
            assert present.sum() == len(by_image[number])
            for j, row in enumerate(by_image[number]):
                x, y, w_, h_ = row["bbox"]
                want = np.array([y * 40 / h, x * 2, (y + h_) * 40 / h, (x + w_) * 2])
                box = split.columns["boxes"][i, j]
                np.testing.assert_allclose(box, want, rtol=1e-5)
                label = dataset.classes[split.columns["label"][i, j]]
                assert label == {7: "cat", 3: "dog"}[row["category_id"]]
                assert split.columns["ignore"][i, j] == (j == 2)
                rows, columns = np.nonzero(masks[i, j])
                extent = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
                assert np.abs(extent - want).max() <= 0.51
            assert not masks[i, ~present].any()
            assert not split.columns["boxes"][i, ~present].any()


def test_coco_masks_without_resizing_are_exact(tmp_path):
    for i in range(6):
        put(tmp_path, f"{i}.png", png(damage.picture(i, 20, 30)))
    random = np.random.default_rng(3)
    mask = random.random((20, 30)) < 0.3
    runs = run_lengths(mask)
    for counts in (runs, compressed(runs)):
        made = outline({"size": [20, 30], "counts": counts}, (20, 30))
        have = rasterized(made, Placement(1, 1, 0, 0), (20, 30))
        np.testing.assert_array_equal(have, mask)
    half = rasterized(made, Placement(2, 2, 0, 0), (40, 60))
    np.testing.assert_array_equal(half, mask.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("seed", range(5))
def test_polygons_are_the_points_inside_by_winding_angle(seed):
    random = np.random.default_rng(seed)
    # A star-shaped polygon: inside is decided by the angle it makes around a point.
    angles = np.sort(random.uniform(0, 2 * np.pi, 9))
    radius = random.uniform(4, 11, 9)
    x, y = 15 + radius * np.cos(angles), 12 + radius * np.sin(angles)
    flat = tuple(np.stack([x, y], 1).reshape(-1).tolist())
    have = rasterized(Outline((24, 30), (flat,)), Placement(1, 1, 0, 0), (24, 30))
    for row in range(24):
        for column in range(30):
            z = (x - column - 0.5) + 1j * (y - row - 0.5)
            turns = np.angle(np.roll(z, -1) / z).sum() / (2 * np.pi)
            assert have[row, column] == (round(turns) != 0)


def test_coco_captions(tmp_path):
    value = coco(tmp_path)
    rows = [
        {"id": 10 * i + k, "image_id": i, "caption": f"image {i}, caption {k}"}
        for i in range(10)
        for k in range(2)
    ]
    caption_file = {"images": value["images"], "annotations": rows}
    put(tmp_path, "annotations/captions_train2017.json", json.dumps(caption_file))
    dataset = coco_folder(tmp_path, task="captions", size=(8, 8), held_out=0.2)
    (texts,) = dataset.test.columns["captions"][np.arange(1)]
    number = dataset.test.ids[0].split()[1]
    assert texts == (f"image {number}, caption 0", f"image {number}, caption 1")


def test_an_image_with_a_bad_annotation_is_left_out_whole(tmp_path):
    value = coco(tmp_path)
    changes = {
        (1, "bbox"): [1, 1, float("inf"), 5],
        (2, "bbox"): [25, 1, 9, 5],
        (4, "category_id"): 99,
        (5, "iscrowd"): 2,
        (6, "bbox"): [1, 1, 0, 5],
        (7, "segmentation"): {"size": [27, 30], "counts": [3, 4]},
        (8, "segmentation"): [[1, 1, 2, 2]],
        (9, "bbox"): [1, 1, 5],
    }
    for (image, key), new in changes.items():
        row = next(r for r in value["annotations"] if r["image_id"] == image)
        row[key] = new if not (key == "bbox" and image == 1) else [1, 1, 1e400, 5]
    text = json.dumps(value).replace("Infinity", "1e400")
    put(tmp_path, "annotations/instances_train2017.json", text)
    survey = Survey()
    dataset = coco_folder(tmp_path, size=(8, 8), survey=survey)
    assert len(survey.problems) == len(changes)
    words = ["finite", "inside", "category 99", "iscrowd 2", "empty", "add up"]
    for problem, word in zip(survey.problems, [*words, "three", "four"], strict=True):
        assert word in problem.what, problem
        assert "annotation" in problem.where
    assert sorted(i.split()[1] for i in every(dataset)) == ["0", "3"]


# --- VOC ------------------------------------------------------------------------------


def voc_xml(name, h, w, things, extra=""):
    rows = "".join(
        f"<object><name>{label}</name><difficult>{hard}</difficult><bndbox>"
        f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
        "</bndbox></object>"
        for label, hard, (x0, y0, x1, y1) in things
    )
    return (
        f"{extra}<annotation><filename>{name}</filename><size><width>{w}</width>"
        f"<height>{h}</height><depth>3</depth></size>{rows}</annotation>"
    )


def voc(root, count=10, lists=True):
    for i in range(count):
        put(root, f"JPEGImages/{i:03}.png", png(damage.picture(i, 20, 30)))
        things = [("dog", 0, (1, 1, 30, 20)), ("cat", 1, (3 + i, 2, 6 + i, 9))]
        put(root, f"Annotations/{i:03}.xml", voc_xml(f"{i:03}.png", 20, 30, things))
    if lists:
        put(root, "ImageSets/Main/train.txt", "".join(f"{i:03}\n" for i in range(6)))
        put(root, "ImageSets/Main/val.txt", "006\n007 1\n")
        put(root, "ImageSets/Main/test.txt", "008\n009\n")


def test_voc_counts_pixels_from_one_and_includes_the_last(tmp_path):
    voc(tmp_path)
    dataset = checked(voc_folder(tmp_path))
    assert [len(s) for s in dataset.splits.values()] == [6, 2, 2]
    assert dataset.classes == ("cat", "dog")
    boxes = dataset.test.columns["boxes"]
    np.testing.assert_array_equal(boxes[0, 0], [0, 0, 20, 30])
    np.testing.assert_array_equal(boxes[0, 1], [1, 10, 9, 14])
    np.testing.assert_array_equal(dataset.test.columns["label"][0], [1, 0])
    np.testing.assert_array_equal(dataset.test.columns["ignore"][0], [False, True])
    half = voc_folder(tmp_path, size=(10, 15)).test.columns["boxes"]
    np.testing.assert_allclose(half, boxes / 2)


HOSTILE_XML = {
    "entities": '<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;">]>',
    "outside": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
    "definition": '<!DOCTYPE a SYSTEM "http://example.org/a.dtd">',
    "parameter": '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
}


@pytest.mark.parametrize("name", HOSTILE_XML)
def test_xml_that_declares_anything_is_refused(tmp_path, name):
    voc(tmp_path, lists=False)
    xml = voc_xml("003.png", 20, 30, [("dog", 0, (1, 1, 30, 20))], HOSTILE_XML[name])
    put(tmp_path, "Annotations/003.xml", xml.replace("<name>dog", "<name>&b;"))
    with pytest.raises(DataError, match=r"003.xml: declares a document type"):
        voc_folder(tmp_path)


def test_xml_too_deep_cut_off_or_strangely_encoded_is_refused():
    for content, message in [
        (b"<a>" * 30 + b"</a>" * 30, "deeper than 20"),
        (b"<a><b></a>", "is not XML"),
        (b"<a>", "is not XML"),
        (b"", "is not XML"),
        (b"<?xml version='1.0' encoding='what'?><a/>", "is not XML"),
        (b"<a>&undefined;</a>", "is not XML"),
        (b"\xff\xfe<a/>", "is not XML"),
    ]:
        with pytest.raises(FileError, match=message):
            parsed(content)
    assert parsed("<a>é<b/></a>".encode()).text == "é"


# --- text -----------------------------------------------------------------------------


def test_text_files_hold_out_the_end(tmp_path):
    words = [f"paragraph {i}\nof two lines" for i in range(40)]
    put(tmp_path, "book.txt", "\ufeff" + "\r\n\r\n".join(words) + "\n\n\n")
    dataset = text_files(tmp_path, held_out=0.1)
    assert [len(s) for s in dataset.splits.values()] == [32, 4, 4]
    rows = [
        text.replace("\r\n", "\n")
        for split in (dataset.train, dataset.validation, dataset.test)
        for text in split.columns["text"][np.arange(len(split))]
    ]
    assert rows == words
    assert dataset.test.ids[0] == "book.txt:36"
    alone = text_files(tmp_path / "book.txt", held_out=0.1)
    assert alone.test.columns["text"].digest == dataset.test.columns["text"].digest


@pytest.mark.parametrize(
    "text", ["one line " * 40, "o" * 9 + "\n\n" + "t" * 9, "one\n\ntwo\n\nthree"]
)
def test_a_text_of_few_paragraphs_has_three_splits_and_all_characters(tmp_path, text):
    put(tmp_path, "a.txt", text)
    dataset = text_files(tmp_path / "a.txt")
    parts = [list(split.columns["text"][:]) for split in dataset.splits.values()]
    assert all(parts)
    between = "\n\n" if text.count("\n\n") == 2 else ""
    assert between.join(piece for part in parts for piece in part) == text


def test_sentence_pairs_keep_a_sentence_in_one_split(tmp_path):
    lines = [f"hello {i // 3}\tsalut {i}\tsource {i}" for i in range(3000)]
    put(tmp_path, "pairs.tsv", "\n".join(lines))
    dataset = sentence_pairs(tmp_path, held_out=0.1)
    sources = {
        name: set(split.columns["source"][np.arange(len(split))])
        for name, split in dataset.splits.items()
    }
    assert not sources["train"] & sources["test"]
    assert not sources["train"] & sources["validation"]
    assert sum(len(s) for s in dataset.splits.values()) == 3000
    assert 200 < len(dataset.test) < 400
    assert 200 < len(dataset.validation) < 400
    split = dataset.test
    (target,) = split.columns["target"][np.arange(1)]
    line = int(split.ids[0].split("line ")[1])
    assert target == f"salut {line - 1}"


# --- 12 broken data sets --------------------------------------------------------------


def broken(root):
    """Name, folder, loader, and what the message must say, of one broken set each."""
    good = png(damage.picture(0, 6, 7))

    def at(name):
        (root / name).mkdir()
        return root / name

    place = at("empty")
    yield place, folder, "looks like no data set"
    place = at("no images")
    put(place, "a/notes.txt", "x")
    yield place, image_folder, "a/notes.txt: is not called"
    place = at("class without image")
    tree(place)
    (place / "eel").mkdir()
    yield place, image_folder, "eel: is empty"
    place = at("class only in test")
    tree(place, splits=("train", "test"))
    put(place, "test/emu/0.png", good)
    yield place, image_folder, "emu: this class is in another split"
    place = at("two validations")
    tree(place, splits=("train", "val", "valid"))
    yield place, image_folder, "second folder of one split"
    place = at("image beside classes")
    tree(place)
    put(place, "0.png", good)
    yield place, image_folder, "0.png: lies outside any class"
    place = at("too few to carve")
    tree(place, count=2)
    yield place, image_folder, "there is no example in it"
    place = at("sums that miss a file")
    tree(place)
    put(place, "SHA256SUMS", f"{files.sha256(place / 'cat/000.png')}  cat/000.png\n")
    yield place, image_folder, "cat/001.png: is not listed in SHA256SUMS"
    place = at("captions of missing images")
    captioned(place, ["0.png,a dog", "99.png,a cat", "../x.png,evil", "1.png,"])
    yield place, captioned_folder, "99.png: cannot be read"
    place = at("header without caption")
    captioned(place, ["0.png,a dog"], header="image,words")
    yield place, captioned_folder, "without `image` and `caption`"
    place = at("open quote")
    captioned(place, ['0.png,"a dog', "1.png,a cat"])
    yield place, captioned_folder, "is no CSV"
    place = at("row of one")
    captioned(place, ["0.png,a dog", "1.png"])
    yield place, captioned_folder, "has 1 fields, not 2"
    place = at("json twice")
    put(place, "c.json", '{"a.png": ["x"], "a.png": ["y"]}')
    yield place, captioned_folder, "gives the key 'a.png' twice"
    place = at("json nan")
    put(place, "c.json", '[{"image": "a.png", "caption": NaN}]')
    yield place, captioned_folder, "holds NaN"
    place = at("json deep")
    put(place, "c.json", "[" * 200_000)
    yield place, captioned_folder, "is not JSON"
    place = at("coco without image")
    coco(place)
    (place / "train2017" / "003.png").unlink()
    yield place, coco_folder, "003.png: cannot be read"
    place = at("coco of another size")
    coco(place)
    put(place, "train2017/003.png", good)
    yield place, coco_folder, "has 6 x 7 pixels, its annotation says 23 x 30"
    place = at("coco that leads outside")
    value = coco(place)
    value["images"][2]["file_name"] = "../../secret.png"
    put(place, "annotations/instances_train2017.json", json.dumps(value))
    yield place, coco_folder, "may lead out of the folder"
    place = at("coco twice")
    value = coco(place)
    value["images"][2]["id"] = 1
    value["annotations"][0]["id"] = 100
    put(place, "annotations/instances_train2017.json", json.dumps(value))
    yield place, coco_folder, "has an id that is there twice"
    place = at("coco of huge numbers")
    value = coco(place)
    value["annotations"][0]["bbox"][0] = 10**400
    value["annotations"][1]["segmentation"][0][0] = 10**400
    value["images"][2]["height"] = 10**400
    put(place, "annotations/instances_train2017.json", json.dumps(value))
    yield place, coco_folder, "hundreds of digits"
    place = at("voc box outside")
    voc(place)
    put(
        place,
        "Annotations/002.xml",
        voc_xml("002.png", 20, 30, [("a", 0, (1, 1, 40, 9))]),
    )
    yield place, voc_folder, "object 0: box .* is not inside the image"
    place = at("voc turned over")
    voc(place)
    put(
        place,
        "Annotations/002.xml",
        voc_xml("002.png", 20, 30, [("a", 0, (9, 9, 3, 3))]),
    )
    yield place, voc_folder, "empty or turned over"
    place = at("voc nan")
    voc(place)
    xml = voc_xml("002.png", 20, 30, [("a", 0, ("nan", 1, 3, 3))])
    put(place, "Annotations/002.xml", xml)
    yield place, voc_folder, "is not finite"
    place = at("voc in two splits")
    voc(place)
    put(place, "ImageSets/Main/test.txt", "008\n001\n")
    yield place, voc_folder, "001 is already in train"
    place = at("pairs without a tab")
    put(place, "p.tsv", "\n".join([*["a\tb"] * 40, "alone", "\tempty"]))
    yield place, sentence_pairs, "line 41: is not `source TAB target`"
    place = at("text of bytes")
    put(place, "t.txt", b"good\n\nbad \xff\xfe")
    yield place, text_files, "t.txt: is not UTF-8: byte 10"


def test_broken_data_sets_are_stopped_and_say_why(tmp_path):
    count = 0
    for place, load, message in broken(tmp_path):
        options = {"size": (8, 8)} if load in (coco_folder, voc_folder) else {}
        with pytest.raises(DataError, match=message) as caught:
            load(place, **options)
        assert not isinstance(caught.value, FileError), place
        count += 1
    assert count == 26  # the issue asks for 12


def mangled(content, random):
    """A text file after an accident: bytes changed, lost, doubled, or out of place."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        at, length = int(random.integers(len(data))), int(random.integers(1, 40))
        accident = random.integers(6)
        if accident == 0:
            data[at] ^= 1 << int(random.integers(8))
        elif accident == 1:
            del data[at : at + length]
        elif accident == 2:
            data[at:at] = data[at : at + length]
        elif accident == 3:
            data[at : at + 1] = random.choice(STRANGE)
        elif accident == 4:
            del data[max(1, at) :]
        else:
            data[at : at + length] = bytes(random.permutation(data[at : at + length]))
        data = data or bytearray(b"x")
    return bytes(data)


STRANGE = [
    *[b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'""', b"9" * 400, b"0.5"],
    *[b"\0", b"\xff", b'"', b"<", b"&#0;", b"\\ud800", b"../", b"true", b"\r", b"\t"],
]


LINES = [f"{i}\tb" for i in range(99)]
TOKENS = [f"{i}.png#0\ta" for i in range(12)]
LOADERS = {
    "lists": "voc",
    "boxes": "yolo",
    "karpathy": "captions",
    "tokens": "captions",
}


def yolo(root):
    for i in range(10):
        put(root, f"images/{i}.png", png(damage.picture(i, 6, 7)))
        put(root, f"labels/{i}.txt", "0 0.5 0.5 0.2 0.2\n1 .1 .1 .4 .1 .4 .4")
    put(root, "data.yaml", "nc: 2\nnames:\n  0: cat\n  1: 'dog'\ntrain: images # all\n")


def karpathy(root):
    captioned(root, [])
    (root / "captions.csv").unlink()
    rows = [
        {"filename": f"{i}.png", "split": "train", "sentences": [{"raw": "a cat"}]}
        for i in range(12)
    ]
    put(root, "dataset.json", json.dumps({"images": rows}))


def accidents(root, count):
    """Loads sets whose lists were mangled; nothing but a DataError may come out."""
    made = {
        "coco": (lambda r: coco(r), "annotations/instances_train2017.json"),
        "captions": (
            lambda r: captioned(r, [f"{i}.png,a" for i in range(12)]),
            "captions.csv",
        ),
        "voc": (voc, "Annotations/003.xml"),
        "lists": (voc, "ImageSets/Main/val.txt"),
        "yolo": (yolo, "data.yaml"),
        "boxes": (yolo, "labels/3.txt"),
        "karpathy": (karpathy, "dataset.json"),
        "tokens": (
            lambda r: captioned(r, TOKENS[1:], TOKENS[0], "c.token"),
            "c.token",
        ),
        "pairs": (lambda r: put(r, "p.tsv", "\n".join(LINES)), "p.tsv"),
        "text": (lambda r: put(r, "t.txt", "some\n\ntext\n\n" * 9), "t.txt"),
        "images": (tree, "SHA256SUMS"),
    }
    found = Counter()
    random = np.random.default_rng(0)
    for kind, (make, name) in made.items():
        place = root / kind
        make(place)
        if name == "SHA256SUMS":
            paths = sorted(
                p.relative_to(place).as_posix() for p in place.rglob("*.png")
            )
            put(
                place, name, "".join(f"{files.sha256(place / p)}  {p}\n" for p in paths)
            )
        good = (place / name).read_bytes()
        loader = LOADERS.get(kind, kind)
        load = KINDS[loader]
        options = {"size": (4, 4)} if loader in ("coco", "voc", "yolo") else {}
        options |= {"masks": True} if kind == "coco" else {}
        sound = Survey()
        load(place, survey=sound, **options)
        assert sound.problems == [], kind
        for _ in range(count):
            put(place, name, mangled(good, random))
            survey = Survey()
            try:
                dataset = load(place, survey=survey, **options)
                checked(dataset)
                if kind == "coco":
                    dataset.train.columns["masks"][np.arange(len(dataset.train))]
                found[kind, "reported" if survey.problems else "harmless"] += 1
            except DataError:
                found[kind, "refused"] += 1
    return found


@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_accidents_to_lists_and_annotations_never_crash(tmp_path):
    assert accidents(tmp_path, 8).total() == 11 * 8


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore::jaxnets.data.files.problems.DataWarning")
def test_300_accidents_to_each_kind_of_list_never_crash(tmp_path):
    found = accidents(tmp_path, 300)
    print(dict(found))
    assert found.total() == 11 * 300
    assert found["images", "harmless"] < 60  # line ends; the rest is a digest or a name


def test_kinds_are_told_by_their_looks(tmp_path):
    tree(tmp_path / "images")
    captioned(tmp_path / "captions", ["0.png,a dog"])
    coco(tmp_path / "coco")
    voc(tmp_path / "voc")
    put(tmp_path, "text/a.txt", "x")
    put(tmp_path, "pairs/a.tsv", "x\ty")
    put(tmp_path, "labels/a.csv", "text,label\nx,y")
    for kind in ("images", "captions", "coco", "voc", "text", "pairs", "labels"):
        assert kind_of(tmp_path / kind) == kind
    assert kind_of(tmp_path / "text" / "a.txt") == "text"
    assert kind_of(tmp_path / "pairs" / "a.tsv") == "pairs"
    put(tmp_path, "plain.tsv", "a good film\t1\na bad film\t0\n" * 10)
    assert kind_of(tmp_path / "plain.tsv") == "labels"
    put(tmp_path, "books/a/1.txt", "x")
    put(tmp_path, "more/train/a.tsv", "x\ty")
    put(tmp_path, "films/train/a.csv", "text,label\nx,y")
    for name, kind in {"books": "text", "more": "pairs", "films": "labels"}.items():
        assert kind_of(tmp_path / name) == kind
    for name in ("book.md", "book"):
        with pytest.raises(DataError, match="by --kind text, pairs or labels"):
            kind_of(put(tmp_path, name, "x"))
    put(tmp_path, "books/b/c/1.png", "x")
    assert kind_of(tmp_path / "books") == "images"
    for missing in ("nowhere", "coco/train2017/000.png"):
        with pytest.raises(DataError, match=r"is not a folder|is a file"):
            kind_of(tmp_path / missing)
    assert isinstance(folder(tmp_path / "images"), Dataset)


def test_columns_of_text_can_be_taken_and_hashed(tmp_path):
    put(tmp_path, "a.txt", "\n\n".join(str(i) for i in range(60)))
    split = text_files(tmp_path).train
    part = split.take(np.array([3, 1]))
    assert isinstance(part, Split)
    assert part.columns["text"][np.arange(2)].tolist() == ["3", "1"]
    assert SUFFIXES[0] == ".png"
