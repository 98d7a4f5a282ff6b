import colorsys
import json
import math
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage

from jaxnets.ops import augment, geometry
from jaxnets.types import ImageBatch

GOLDEN = Path(__file__).parents[1] / "golden"
KEY = jax.random.key(7)
B, H, W, C, N = 24, 12, 17, 3, 2


class Scene(NamedTuple):
    image: jax.Array
    boxes: jax.Array
    masks: jax.Array
    present: jax.Array
    mask: jax.Array


def on_host(batch):
    """The batch as arrays of NumPy, whose parts are had without a program a shape."""
    return jax.tree.map(np.asarray, batch)


def scene(b=B, h=H, w=W, c=C, n=N, seed=0):
    """Images of noise, with rectangles as objects: box and mask say the same."""
    random = np.random.default_rng(seed)
    image = random.random((b, h, w, c), np.float32)
    boxes, masks = np.zeros((b, n, 4), np.float32), np.zeros((b, n, h, w), bool)
    for i in range(b):
        for j in range(n):
            y0, x0 = random.integers(0, h - 3), random.integers(0, w - 3)
            y1, x1 = random.integers(y0 + 2, h + 1), random.integers(x0 + 2, w + 1)
            boxes[i, j] = y0, x0, y1, x1
            masks[i, j, y0:y1, x0:x1] = True
    return Scene(image, boxes, masks, np.ones((b, n), bool), np.ones(b, bool))


def labelled(batch, classes=10):
    label = np.arange(len(batch.image), dtype=np.int32) % classes
    return ImageBatch(batch.image, label, batch.mask)


TRANSFORMS = {
    "padded_crop": augment.padded_crop(3),
    "crop": augment.padded_crop(0, size=(7, 9)),
    "horizontal_flip": augment.horizontal_flip(),
    "vertical_flip": augment.vertical_flip(),
    "random_resized_crop": augment.random_resized_crop((9, 8)),
    "rotation": augment.rotation(40),
    "affine": augment.affine(degrees=20, scale=(0.8, 1.2), shift=(1, 2), shear=10),
    "colour_jitter": augment.colour_jitter(
        brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2
    ),
    "cutout": augment.cutout(5, fill=0.5),
    "normalize": augment.normalize((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)),
    "chain": augment.chain(augment.padded_crop(2), augment.horizontal_flip()),
}
SIZES = {"crop": (7, 9), "random_resized_crop": (9, 8)}
IDENTITIES = {
    "padded_crop": augment.padded_crop(0),
    "horizontal_flip": augment.horizontal_flip(0.0),
    "vertical_flip": augment.vertical_flip(0.0),
    "colour_jitter": augment.colour_jitter(),
    "cutout": augment.cutout(0),
    "normalize": augment.normalize((0.0,) * 3, (1.0,) * 3),
    "chain": augment.chain(),
    "random_resized_crop": augment.random_resized_crop(
        (H, W), area=(1.0, 1.0), ratio=(W / H, W / H)
    ),
    "affine": augment.affine(),
}


EXTENTS = jax.jit(geometry.mask_extents)
RESIZED = jax.jit(geometry.resized, static_argnums=2)
FLIPPED = jax.jit(geometry.flipped, static_argnames="vertical")
COMPILED = {name: jax.jit(transform) for name, transform in TRANSFORMS.items()}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_shapes_types_and_boxes_are_in_order(name):
    batch = scene()
    new = COMPILED[name](KEY, batch)
    h, w = SIZES.get(name, (H, W))
    assert type(new) is Scene
    assert new.image.shape == (B, h, w, C)
    assert new.masks.shape == (B, N, h, w)
    for old_leaf, leaf in zip(batch, new, strict=True):
        assert old_leaf.dtype == leaf.dtype
        assert old_leaf.ndim == leaf.ndim
    boxes = np.asarray(new.boxes)
    assert (boxes >= 0).all()
    assert (boxes[..., 2] <= h).all()
    assert (boxes[..., 3] <= w).all()
    assert (boxes[..., :2] <= boxes[..., 2:]).all()
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    np.testing.assert_array_equal(new.present, area > 0)
    assert np.isfinite(new.image).all()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_same_key_same_bits_and_another_key_another_result(name):
    transform, batch = COMPILED[name], scene()
    first, second = transform(KEY, batch), transform(KEY, batch)
    np.testing.assert_array_equal(first.image, second.image)
    if name != "normalize":
        other = transform(jax.random.key(8), batch)
        assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_an_example_does_not_feel_its_neighbours(name):
    batch = scene()
    full = COMPILED[name](KEY, batch)
    others = batch._replace(image=np.full_like(batch.image, 0.25))
    others.image[0] = batch.image[0]
    np.testing.assert_array_equal(COMPILED[name](KEY, others).image[0], full.image[0])


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - {"normalize"}))
def test_examples_are_drawn_one_by_one(name):
    one = scene(b=1)
    batch = jax.tree.map(lambda leaf: np.repeat(leaf, B, axis=0), one)
    images = np.asarray(COMPILED[name](KEY, batch).image).reshape(B, -1)
    kinds = len(np.unique(images, axis=0))
    assert kinds == 2 if name.endswith("flip") else kinds >= 10


@pytest.mark.parametrize("name", IDENTITIES)
def test_identity(name):
    batch = scene()
    new = jax.jit(IDENTITIES[name])(KEY, batch)
    exact = name not in ("affine", "random_resized_crop")
    np.testing.assert_allclose(
        new.image, batch.image, rtol=0, atol=0 if exact else 1e-5
    )
    np.testing.assert_allclose(
        new.boxes, batch.boxes, rtol=0, atol=0 if exact else 1e-5
    )
    np.testing.assert_array_equal(new.masks, batch.masks)


def test_under_scan_and_vmap():
    batch = jax.tree.map(jnp.asarray, scene())
    keys = jax.random.split(KEY, 3)

    @jax.jit
    def both(keys):
        one = lambda key: TRANSFORMS["chain"](key, batch).image
        return jax.lax.map(one, keys), jax.vmap(one)(keys)

    scanned, mapped = both(keys)
    direct = np.stack([COMPILED["chain"](key, batch).image for key in keys])
    np.testing.assert_array_equal(scanned, direct)
    np.testing.assert_array_equal(mapped, direct)


def test_crop_is_the_loop():
    batch, pad, size = scene(), 3, (10, 14)
    random = np.random.default_rng(1)
    corner = np.stack(
        [
            random.integers(0, H + 2 * pad - size[0] + 1, B),
            random.integers(0, W + 2 * pad - size[1] + 1, B),
        ],
        1,
    )
    fill = (0.1, 0.2, 0.3)
    crop = lambda batch, at: geometry.cropped(batch, at, size, pad=pad, fill=fill)
    new = on_host(jax.jit(crop)(batch, corner))
    for i in range(B):
        image = np.broadcast_to(np.float32(fill), (*size, C)).copy()
        masks = np.zeros((N, *size), bool)
        for y in range(size[0]):
            for x in range(size[1]):
                from_y, from_x = y + corner[i, 0] - pad, x + corner[i, 1] - pad
                if 0 <= from_y < H and 0 <= from_x < W:
                    image[y, x] = batch.image[i, from_y, from_x]
                    masks[:, y, x] = batch.masks[i, :, from_y, from_x]
        np.testing.assert_array_equal(new.image[i], image)
        np.testing.assert_array_equal(new.masks[i], masks)
        for j in range(N):
            rows, columns = np.nonzero(masks[j])
            box = [0, 0, 0, 0]
            if len(rows):
                box = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            np.testing.assert_array_equal(new.boxes[i, j], box)
            assert bool(new.present[i, j]) == bool(len(rows))


def test_padded_crop_reaches_every_corner_equally_often():
    image = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    batch = ImageBatch(
        jnp.repeat(image, 3600, 0), jnp.zeros(3600, jnp.int32), jnp.ones(3600, bool)
    )
    images = np.asarray(jax.jit(augment.padded_crop(1))(KEY, batch).image)
    kinds, counts = np.unique(images.reshape(3600, -1), axis=0, return_counts=True)
    assert len(kinds) == 9
    assert counts.min() > 300  # 400 expected, 19 is a standard deviation
    assert counts.max() < 500


def test_a_mask_of_the_whole_image_follows_too():
    batch = scene()
    segments = np.arange(B * H * W, dtype=np.int32).reshape(B, H, W)
    whole = batch._replace(masks=segments, boxes=None, present=None)
    which = np.array([True, False] * (B // 2))
    new = FLIPPED(whole, which)
    np.testing.assert_array_equal(new.masks[0], segments[0, :, ::-1])
    np.testing.assert_array_equal(new.masks[1], segments[1])
    assert new.boxes is None


@pytest.mark.parametrize("vertical", [False, True])
def test_flip_is_numpy_and_twice_is_nothing(vertical):
    batch, which = scene(), np.arange(B) % 3 == 0
    new = on_host(FLIPPED(batch, which, vertical=vertical))
    for i in range(B):
        image, masks = batch.image[i], batch.masks[i]
        y0, x0, y1, x1 = batch.boxes[i].T
        if which[i] and vertical:
            image, masks = image[::-1], masks[:, ::-1]
            y0, y1 = H - y1, H - y0
        elif which[i]:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
            x0, x1 = W - x1, W - x0
        np.testing.assert_array_equal(new.image[i], image)
        np.testing.assert_array_equal(new.masks[i], masks)
        np.testing.assert_array_equal(new.boxes[i], np.stack([y0, x0, y1, x1], -1))
    np.testing.assert_array_equal(EXTENTS(new.masks), new.boxes)
    back = FLIPPED(new, which, vertical=vertical)
    jax.tree.map(np.testing.assert_array_equal, back, batch)


@pytest.mark.parametrize("size", [(5, 6), (12, 17), (30, 25), (4, 40)])
def test_resized_is_pillows_crop_and_bilinear(size):
    batch, random = scene(), np.random.default_rng(2)
    y0, x0 = random.integers(0, H - 3, B), random.integers(0, W - 3, B)
    y1 = y0 + [random.integers(1, H - y + 1) for y in y0]
    x1 = x0 + [random.integers(1, W - x + 1) for x in x0]
    window = np.stack([y0, x0, y1, x1], 1)
    new = on_host(RESIZED(batch, window, size))
    for i in range(B):
        a, b, c, d = (int(v) for v in window[i])
        for channel in range(C):
            plane = np.ascontiguousarray(batch.image[i, a:c, b:d, channel])
            want = Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR)
            np.testing.assert_allclose(
                new.image[i, :, :, channel], np.asarray(want), atol=2e-6
            )
        for j in range(N):
            plane = batch.masks[i, j, a:c, b:d].astype(np.uint8)
            rows = (2 * np.arange(size[0]) + 1) * plane.shape[0]
            columns = (2 * np.arange(size[1]) + 1) * plane.shape[1]
            want = plane[np.ix_(rows // (2 * size[0]), columns // (2 * size[1]))]
            np.testing.assert_array_equal(new.masks[i, j], want)
            # Pillow adds up steps: at an exact edge it takes either pixel.
            pillow = np.asarray(
                Image.fromarray(plane).resize(size[::-1], Image.Resampling.NEAREST)
            )
            edge = (rows % (2 * size[0]) == 0)[:, None] | (columns % (2 * size[1]) == 0)
            np.testing.assert_array_equal(want[~edge], pillow[~edge])


def test_resized_boxes_are_the_extent_of_their_masks():
    batch = scene()
    # Enlarging by whole numbers: no pixel is skipped and no box lies between two.
    window = np.tile([[2, 3, 10, 13]], (B, 1))
    new = RESIZED(batch, window, (24, 20))
    np.testing.assert_allclose(EXTENTS(new.masks), new.boxes, atol=1e-5)
    # At any size they differ by less than a pixel, or the mask is lost between two.
    new = RESIZED(batch, window, (5, 7))
    extents = np.asarray(EXTENTS(new.masks))
    seen = extents.any(-1)
    assert seen.sum() > 6
    assert (np.abs(extents - np.asarray(new.boxes)).max(-1) < 1)[seen].all()


def windows_of(b, h, w, area=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    def draw(key):
        return augment._random_windows(key, (b, h, w), area, ratio, 10)

    windows = jax.jit(draw)(KEY)
    y0, x0, y1, x1 = np.asarray(windows).T
    assert (y0 >= 0).all()
    assert (x0 >= 0).all()
    assert (y1 > y0).all()
    assert (x1 > x0).all()
    assert (y1 <= h).all()
    assert (x1 <= w).all()
    return y0, x0, y1 - y0, x1 - x0


def test_random_resized_crop_covers_what_the_paper_says():
    h = w = 200
    y0, x0, height, width = windows_of(5000, h, w)
    share, ratio = height * width / (h * w), width / height
    assert 0.075 < share.min() < 0.09
    assert share.max() > 0.97
    # Even below 3/4, where every shape fits.
    counts = np.histogram(share[share < 0.75], 5, (0.08, 0.75))[0]
    assert counts.max() < 1.2 * counts.min()
    assert 0.74 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.35
    small = share < 0.3
    assert abs(np.log(ratio[small]).mean()) < 0.02
    place = y0[small] / (h - height[small])
    assert abs(place.mean() - 0.5) < 0.03
    assert (place == 0).any()
    assert (place == 1).any()
    across = x0[small] / (w - width[small])
    assert np.abs(np.corrcoef(place, across)[0, 1]) < 0.1


def test_random_resized_crop_draws_what_torchvision_draws():
    golden = json.loads((GOLDEN / "crops.json").read_text())
    side = golden["side"]
    y, x, height, width = (v.astype(float) for v in windows_of(40_000, side, side))
    numbers = {
        "area": height * width / side**2,
        "log_ratio": np.log(width / height),
        "middle_y": (y + height / 2) / side,
        "middle_x": (x + width / 2) / side,
    }
    for name, deciles in golden["deciles"].items():
        mine = np.quantile(numbers[name], np.linspace(0.1, 0.9, 9))
        # Of 40,000 draws a decile's deviation is at most 0.003.
        np.testing.assert_allclose(mine, deciles, atol=0.01, err_msg=name)


def test_the_central_crop_is_the_middle():
    batch = scene()
    new = jax.jit(augment.central_crop((H - 4, W - 3)))(KEY, batch)
    np.testing.assert_array_equal(new.image, batch.image[:, 2:-2, 1:-2])
    np.testing.assert_array_equal(new.masks, batch.masks[..., 2:-2, 1:-2])
    whole = jax.jit(augment.central_crop(1.0))(KEY, batch)
    np.testing.assert_array_equal(whole.image, batch.image)


def test_a_share_of_what_is_loaded_is_the_size_that_was_asked_for():
    for share in augment.SHARES.values():
        for side in range(1, 600):
            loaded = round(side / share)
            assert augment._extent(share, loaded, loaded) == (side, side)


@pytest.mark.parametrize(("h", "w"), [(4, 40), (40, 4)])
def test_random_resized_crop_falls_back_to_the_largest_central_window(h, w):
    y0, x0, height, width = windows_of(3, h, w, area=(1.0, 1.0))
    assert (height * width == 20).all()  # 4 by 4 * 4/3, rounded
    np.testing.assert_array_equal(y0, (h - height) // 2)
    np.testing.assert_array_equal(x0, (w - width) // 2)


WARPED = jax.jit(lambda batch, matrix: geometry.warped(batch, matrix, fill=0.3))


@pytest.mark.parametrize("seed", range(3))
def test_warped_is_scipys_affine_transform(seed):
    random = np.random.default_rng(seed)
    batch = scene(seed=seed)
    linear = np.eye(2) + random.normal(0, 0.4, (B, 2, 2))
    shift = random.normal(0, 3, (B, 2)) + np.array([H / 2, W / 2])
    shift -= np.einsum("bij,j->bi", linear, [H / 2, W / 2])
    matrix = np.concatenate([linear, shift[..., None]], -1).astype(np.float32)
    new = on_host(WARPED(batch, matrix))
    half = np.array([0.5, 0.5])
    for i in range(B):
        inverse = np.linalg.inv(matrix[i, :, :2].astype(np.float64))
        offset = inverse @ (half - matrix[i, :, 2]) - half
        for channel in range(C):
            want = ndimage.affine_transform(
                np.asarray(batch.image[i, :, :, channel], np.float64),
                inverse,
                offset,
                order=1,
                mode="grid-constant",
                cval=0.3,
            )
            np.testing.assert_allclose(new.image[i, :, :, channel], want, atol=2e-4)
        for j in range(N):
            want = ndimage.affine_transform(
                np.asarray(batch.masks[i, j]).astype(np.float64),
                inverse,
                offset,
                order=0,
                mode="grid-constant",
            )
            # A centre that falls on an edge may round either way.
            assert (np.asarray(new.masks[i, j]) != (want > 0.5)).sum() <= 1


def test_quarter_turns_are_numpys():
    batch = scene(h=11, w=11)

    warped = jax.jit(geometry.warped)

    def turned(quarters):
        angle = quarters * math.pi / 2
        cos, sin = round(math.cos(angle)), round(math.sin(angle))
        linear = np.array([[cos, -sin], [sin, cos]], np.float32)
        centre = np.array([5.5, 5.5], np.float32)
        matrix = np.concatenate([linear, (centre - linear @ centre)[:, None]], 1)
        return warped(batch, np.tile(matrix[None], (B, 1, 1)))

    for quarters in range(4):
        new = turned(quarters)
        want = np.rot90(batch.image, quarters, (1, 2))  # counter-clockwise
        np.testing.assert_allclose(new.image, want, atol=1e-6)
        np.testing.assert_array_equal(
            new.masks, np.rot90(batch.masks, quarters, (2, 3))
        )
        np.testing.assert_allclose(EXTENTS(new.masks), new.boxes, atol=1e-5)


def test_rotation_goes_both_ways_up_to_its_limit():
    # One bright pixel right of the centre: where it goes tells the angle.
    image = jnp.zeros((200, 33, 33, 1)).at[:, 15:18, 28:31].set(1.0)
    batch = ImageBatch(image, jnp.zeros(200, jnp.int32), jnp.ones(200, bool))
    new = np.asarray(jax.jit(augment.rotation(30))(KEY, batch).image)[..., 0]
    axis = np.arange(33) - 16
    total = new.sum((1, 2))
    y = (new * axis[:, None]).sum((1, 2)) / total
    x = (new * axis).sum((1, 2)) / total
    angle = np.degrees(np.arctan2(-y, x))
    assert -30.5 < angle.min() < -25
    assert 25 < angle.max() < 30.5
    np.testing.assert_allclose(np.hypot(x, y), 13, atol=0.3)


WILD = jax.jit(augment.affine(degrees=25, scale=(0.8, 1.2), shift=4, shear=10))
TIGHTENED = jax.jit(geometry.tightened)
STRAIGHT = jax.jit(augment.affine(scale=(0.8, 1.2), shift=4))


@pytest.mark.parametrize("seed", range(3))
def test_affine_boxes_enclose_their_masks_and_tighten_to_them(seed):
    batch = scene(h=40, w=50, n=4, seed=seed)
    new = WILD(jax.random.key(seed), batch)
    extents = np.asarray(EXTENTS(new.masks))
    boxes = np.asarray(new.boxes)
    seen = extents.any(-1)
    assert seen.sum() > 10
    assert (boxes[..., :2] <= extents[..., :2] + 0.51)[seen].all()
    assert (boxes[..., 2:] >= extents[..., 2:] - 0.51)[seen].all()
    tight = TIGHTENED(new)
    np.testing.assert_array_equal(tight.boxes, extents)
    np.testing.assert_array_equal(tight.present, new.present & seen)
    # Without a turn, nothing is enclosed in vain.
    plain = STRAIGHT(KEY, batch)
    extents = np.asarray(EXTENTS(plain.masks))
    close = np.abs(extents - np.asarray(plain.boxes)).max(-1) <= 0.51
    assert close[extents.any(-1)].all()


def test_small_affine_maps_keep_digits_whole():
    image = jnp.zeros((50, 8, 8, 1)).at[:, 2:6, 2:6].set(1.0)
    batch = ImageBatch(image, jnp.zeros(50, jnp.int32), jnp.ones(50, bool))
    new = jax.jit(augment.affine(degrees=10, scale=(0.9, 1.1), shift=1))(KEY, batch)
    mass = np.asarray(new.image.sum((1, 2, 3)))
    assert (mass > 16 * 0.9**2 - 0.6).all()
    assert (mass < 16 * 1.1**2 + 0.6).all()


def test_cutout_is_the_loop():
    batch, size = labelled(scene(b=300)), 5
    new = np.asarray(
        jax.jit(augment.cutout(size, fill=(0.0, 2.0, 3.0)))(KEY, batch).image
    )
    centres = set()
    for before, after in zip(np.asarray(batch.image), new, strict=True):
        hole = (before != after).any(-1)
        np.testing.assert_array_equal(
            after[hole], np.tile([[0.0, 2.0, 3.0]], (hole.sum(), 1))
        )
        rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
        assert hole.sum() == len(rows) * len(columns)
        assert 3 <= len(rows) <= size
        assert len(columns) <= size
        top = rows[-1] - size + 1 if rows[0] == 0 else rows[0]
        left = columns[-1] - size + 1 if columns[0] == 0 else columns[0]
        centres.add((top + size // 2, left + size // 2))
    assert len(centres) > 140  # of 204, 300 draws
    assert min(y for y, _ in centres) == 0
    assert max(y for y, _ in centres) == H - 1
    assert {min(x for _, x in centres), max(x for _, x in centres)} == {0, W - 1}


def enhanced(image, kind, factor):
    return np.asarray(kind(Image.fromarray(image)).enhance(factor))


@pytest.mark.parametrize(
    ("argument", "kind"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_jitter_is_pillows_enhance(argument, kind):
    random = np.random.default_rng(3)
    bytes_ = random.integers(0, 256, (40, 8, 9, 3)).astype(np.uint8)
    batch = ImageBatch(
        jnp.array(bytes_, jnp.float32) / 255,
        jnp.zeros(40, jnp.int32),
        jnp.ones(40, bool),
    )
    new = (
        np.asarray(jax.jit(augment.colour_jitter(**{argument: 0.5}))(KEY, batch).image)
        * 255
    )
    best = []
    factors = np.linspace(0.5, 1.5, 201)
    for before, after in zip(bytes_, new, strict=True):
        errors = [np.abs(enhanced(before, kind, f) - after).max() for f in factors]
        best.append(factors[np.argmin(errors)])
        assert min(errors) < 2.5  # Pillow rounds the grey, the product and the sum
    assert min(best) < 0.6
    assert max(best) > 1.4


def test_hue_turns_the_chromatic_plane_of_yiq():
    batch = labelled(scene(b=20))
    middle = batch._replace(image=0.4 + 0.2 * batch.image)  # nothing is cut
    new = np.asarray(jax.jit(augment.colour_jitter(hue=0.5))(KEY, middle).image)
    turns = []
    for before, after in zip(np.asarray(middle.image), new, strict=True):
        angles = []
        for pixel, other in zip(
            before.reshape(-1, 3), after.reshape(-1, 3), strict=True
        ):
            y, i, q = colorsys.rgb_to_yiq(*(float(v) for v in pixel))
            y2, i2, q2 = colorsys.rgb_to_yiq(*(float(v) for v in other))
            assert abs(y - y2) < 2e-3  # colorsys rounds its coefficients
            if math.hypot(i, q) > 0.03:
                difference = math.atan2(q2, i2) - math.atan2(q, i)
                angles.append(math.remainder(difference, 2 * math.pi))
                assert abs(math.hypot(i, q) - math.hypot(i2, q2)) < 3e-3
        spread = np.exp(1j * np.array(angles))
        assert np.abs(spread / spread[0] - 1).max() < 0.1
        turns.append(angles[0])
    assert min(turns) < -1.5
    assert max(turns) > 1.5


def test_grey_images_have_brightness_but_no_colour():
    batch = labelled(scene(c=1))
    new = jax.jit(augment.colour_jitter(brightness=0.3, contrast=0.3))(KEY, batch)
    assert new.image.shape == batch.image.shape
    with pytest.raises(ValueError, match="need 3 channels, not 1"):
        jax.jit(augment.colour_jitter(hue=0.1))(KEY, batch)


MIXUP = jax.jit(augment.mixup(40, alpha=0.4))


def test_mixup_is_its_equation():
    batch = labelled(scene(b=40), classes=40)
    new = on_host(MIXUP(KEY, batch))
    image, target = np.asarray(batch.image), np.asarray(new.target)
    np.testing.assert_allclose(target.sum(1), 1, rtol=1e-6)
    partners = []
    for i in range(40):
        # The share and the partner are found from the result alone.
        found = []
        for j in range(40):
            direction = (image[i] - image[j]).ravel()
            length = direction @ direction
            share = (
                1.0
                if not length
                else (
                    (np.asarray(new.image[i]) - image[j]).ravel() @ direction / length
                )
            )
            guess = share * image[i] + (1 - share) * image[j]
            found.append((np.abs(guess - np.asarray(new.image[i])).max(), j, share))
        error, j, share = min(found)
        assert error < 1e-5
        partners.append(j)
        want = np.zeros(40)
        want[batch.label[i]] += share
        want[batch.label[j]] += 1 - share
        np.testing.assert_allclose(target[i], want, atol=1e-4)
        assert int(new.label[i]) == int(batch.label[i if share >= 0.5 else j])
    assert sorted(partners) == list(range(40))


def test_mixup_neither_changes_nor_uses_padding():
    batch = labelled(scene(b=40), classes=40)
    mask = np.arange(40) < 25
    image = np.where(mask.reshape(-1, 1, 1, 1), batch.image, np.float32(np.nan))
    new = on_host(MIXUP(KEY, batch._replace(image=image, mask=mask)))
    assert np.isfinite(new.image[:25]).all()
    assert np.isfinite(new.target[:25]).all()
    assert not np.array_equal(new.image[:25], image[:25])
    np.testing.assert_array_equal(new.label[25:], batch.label[25:])


def test_the_shares_of_mixup_are_beta():
    batch = labelled(scene(b=40), classes=40)  # every example is its own class
    targets = [MIXUP(jax.random.key(i), batch).target for i in range(40)]
    shares = np.stack([np.diagonal(target) for target in targets]).reshape(-1)
    mixed = shares[shares < 1]  # not with itself
    assert 0.95 < len(mixed) / len(shares) < 1
    # Var Beta(a, a) = 1 / (4 (2a + 1)); that of a uniform share would be 0.083.
    assert abs(mixed.var() - 1 / (4 * (2 * 0.4 + 1))) < 0.01
    assert abs(mixed.mean() - 0.5) < 0.03


def test_a_transform_later_in_the_chain_leaves_the_earlier_ones_alone():
    batch = labelled(scene())
    crop, flip = augment.padded_crop(2), augment.horizontal_flip()
    chains = (crop,), (crop, augment.cutout(0)), (flip, flip)

    @jax.jit
    def images(batch):
        return [augment.chain(*parts)(KEY, batch).image for parts in chains]

    short, long, twice = images(batch)
    np.testing.assert_array_equal(short, long)
    assert not np.array_equal(twice, batch.image)  # two keys


def test_a_lost_box_is_no_longer_present():
    batch = scene(b=1, n=1)
    batch = batch._replace(boxes=np.array([[[0, 0, 2, 2]]], np.float32))
    new = jax.jit(geometry.cropped, static_argnums=2)(batch, np.array([[4, 4]]), (5, 5))
    np.testing.assert_array_equal(new.boxes, 0)
    assert not bool(new.present[0, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.padded_crop(-1), "pad by -1"),
        (lambda: augment.horizontal_flip(1.5), "probability must be"),
        (lambda: augment.cutout(-2), "square of -2"),
        (lambda: augment.mixup(3, 0), "leave mixup out"),
        (lambda: augment.normalize((0.0,), (0.0,)), "positive std"),
        (lambda: augment.normalize((0.0,), (1.0, 1.0)), "one positive std"),
        (lambda: augment.normalize((0.0,), (1.0,))(KEY, scene()), "3 channels"),
        (lambda: augment.colour_jitter(hue=0.6), "twice the hue"),
        (lambda: augment.affine(scale=(0, 1)), "does not allow"),
        (lambda: augment.random_resized_crop((4, 4), area=(0.5, 0.1)), "no range"),
        (
            lambda: jax.jit(augment.padded_crop(1, size=(99, 4)))(KEY, scene()),
            "does not fit",
        ),
    ],
)
def test_what_a_caller_can_get_wrong_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("shape", [(1, 1), (5, 9), (48, 31)])
def test_what_an_experiment_may_choose_keeps_the_shape_of_every_image(shape):
    """Training must show the shape that evaluation sees, of whole images or not."""
    batch = ImageBatch(
        image=jnp.zeros((2, *shape, 3)),
        label=jnp.zeros(2, jnp.int32),
        mask=jnp.ones(2, bool),
    )
    for name, choice in augment.CHOICES.items():
        change = augment.chain(*choice(min(shape)))
        made = jax.eval_shape(change, KEY, batch)
        middle = augment.central_crop(augment.SHARES.get(name, 1.0))
        seen = jax.eval_shape(middle, KEY, batch)
        assert made.image.shape == seen.image.shape, name
        assert (made.image.shape == batch.image.shape) == (
            name not in augment.SHARES or shape == (1, 1)
        )
