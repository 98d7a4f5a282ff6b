"""RoIPool and RoIAlign: torchvision's and detectron2's values, affine maps."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops import roi

REFERENCES = Path(__file__).parents[1] / "golden/detectors/references.npz"
SQUARES = (jnp.arange(64.0).reshape(8, 8, 1) ** 2) / 10
# [x0, y0, x1, y1] as published; values in the order of rows.
PUBLISHED = [
    [0, 0, 16, 16],
    [3.2, 5.6, 20.4, 30.8],
    [-4, -4, 6, 6],
    [28, 28, 40, 40],
    [10, 10, 10.5, 10.5],
]
OLD = [
    [11.35, 15.35, 65.75, 76.15],
    [71.00875, 82.51275, 263.81875, 286.15875],
    [0, 0.10625, 6.8, 8.13125],
    [99.225, 0, 0, 0],
    [62.475, 64.975, 83.875, 86.775],
]
ALIGNED = [
    [3.65, 5.85, 43.65, 52.25],
    [50.15375, 59.714, 220.28375, 240.68],
    [0, 0.01875, 1.2, 2.6625],
    [390.225, 0, 0, 0],
    [33.617188, 33.851562, 35.820312, 36.060938],
]
POOLED = [
    [32.4, 40, 115.6, 129.6],
    [122.5, 136.9, 348.1, 372.1],
    [0, 0.4, 25.6, 32.4],
    [396.9, 0, 0, 0],
    [72.9] * 4,
]

align = partial(
    jax.jit, static_argnums=2, static_argnames=("scale", "ratio", "aligned")
)(roi.roi_align)
pool = partial(jax.jit, static_argnums=2, static_argnames="scale")(roi.roi_pool)


def boxes(rows):
    return jnp.asarray(rows, jnp.float32)


def published():
    return boxes(PUBLISHED)[:, jnp.array([1, 0, 3, 2])]


@pytest.fixture(scope="module")
def torch():
    file = np.load(REFERENCES, allow_pickle=False)
    return {k.removeprefix("regions/"): file[k] for k in file.files if "regions" in k}


def test_published_boxes_have_known_values():
    found = align(SQUARES, published(), (2, 2), scale=0.25, aligned=False)
    np.testing.assert_allclose(found.reshape(5, 4), OLD, rtol=1e-4, atol=1e-5)
    found = align(SQUARES, published(), (2, 2), scale=0.25)
    np.testing.assert_allclose(found.reshape(5, 4), ALIGNED, rtol=1e-4, atol=1e-5)
    found = pool(SQUARES, published(), (2, 2), scale=0.25)
    np.testing.assert_allclose(found.reshape(5, 4), POOLED, rtol=1e-5)


def test_as_many_samples_as_pixels_have_known_values():
    found = align(
        SQUARES, published()[1:2], (2, 2), scale=0.25, ratio=None, aligned=False
    )
    expected = [72.166944, 83.667611, 257.397257, 279.470549]
    np.testing.assert_allclose(found.reshape(4), expected, rtol=1e-5)


@pytest.mark.parametrize(("aligned", "first"), [(False, 7.5), (True, 4.5)])
def test_values_are_detectron2_s(aligned, first):
    features = jnp.arange(25.0).reshape(5, 5, 1)
    found = align(
        features, boxes([[1, 1, 3, 3]]), (4, 4), scale=1, ratio=1, aligned=aligned
    )
    steps = 2.5 * np.arange(4)[:, None] + 0.5 * np.arange(4)
    np.testing.assert_allclose(found[0, ..., 0], first + steps, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("align", roi.roi_align, {}),
        ("align_old", roi.roi_align, {"aligned": False}),
        ("adaptive", roi.roi_align, {"ratio": None}),
        ("pool", roi.roi_pool, {}),
    ],
)
def test_bins_and_gradients_are_torchvision_s(torch, name, function, options):
    rows, image = boxes(torch["boxes"]), jnp.asarray(torch["image"], jnp.int32)

    @jax.jit
    def both(maps):
        bins, pull = jax.vjp(
            lambda x: function(x, rows, (3, 4), scale=0.25, image=image, **options),
            maps,
        )
        return bins, pull(jnp.cos(jnp.arange(float(bins.size))).reshape(bins.shape))

    bins, (slope,) = both(jnp.asarray(torch["maps"], jnp.float32))
    np.testing.assert_allclose(bins, torch[name], atol=1e-5)
    np.testing.assert_allclose(slope, torch[f"{name}_gradient"], atol=2e-5)


@pytest.mark.parametrize("ratio", [1, None])
def test_an_affine_map_is_read_exactly(ratio):
    y, x = np.mgrid[:12, :15]
    features = np.stack([3 * y - 2 * x + 5, x], -1).astype(np.float32)
    rows = np.random.default_rng(0).uniform(0.5, 6, (20, 4))
    rows[:, 2:] += 5, 8
    found = align(
        jnp.asarray(features), boxes(2 * rows), (3, 4), scale=0.5, ratio=ratio
    )
    step = (np.arange(3) + 0.5) / 3, (np.arange(4) + 0.5) / 4
    y, x = (
        rows[:, i, None] + step[i] * (rows[:, i + 2] - rows[:, i])[:, None] - 0.5
        for i in (0, 1)
    )
    exact = 3 * y[:, :, None] - 2 * x[:, None, :] + 5
    np.testing.assert_allclose(found[..., 0], exact, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_finite_differences():
    rows = boxes([[1.3, 2.1, 6.4, 9.2], [-1, 3.2, 4, 11]])
    features = jax.random.normal(jax.random.key(0), (6, 7, 2))

    @jax.jit
    def value(features, rows):
        bins = roi.roi_align(features, rows, (2, 3), scale=0.7)
        return (bins**2).sum()

    slopes = jax.jit(jax.grad(value, (0, 1)))(features, rows)
    for i, at in ((0, (3, 4, 1)), (0, (0, 3, 0)), (1, (0, 2)), (1, (1, 1))):
        ends = []
        for sign in (1, -1):
            inputs = [features, rows]
            inputs[i] = inputs[i].at[at].add(sign * 1e-2)
            ends.append(float(value(*inputs)))
        difference = (ends[0] - ends[1]) / 2e-2
        np.testing.assert_allclose(slopes[i][at], difference, rtol=2e-2, atol=2e-3)


def test_bins_move_with_the_map():
    features = np.zeros((20, 20, 2), np.float32)
    features[2:14, 3:15] = np.random.default_rng(0).normal(size=(12, 12, 2))
    moved = np.roll(features, (4, 5), (0, 1))
    rows = np.random.default_rng(1).uniform(6, 20, (6, 4))
    rows[:, 2:] += 4
    moved_rows = rows + np.array([8, 10, 8, 10])
    for function in (align, pool):
        here = function(jnp.asarray(features), boxes(rows), (2, 3), scale=0.5)
        there = function(jnp.asarray(moved), boxes(moved_rows), (2, 3), scale=0.5)
        np.testing.assert_allclose(here, there, atol=1e-5)


def test_padding_and_nan_boxes_are_finite():
    odd = [
        [0, 0, 0, 0],
        [3, 3, 3, 3],
        [5, 5, 2, 2],
        [np.nan, 0, 3, 3],
        [1, 1, 1e9, 1e9],
    ]
    rows = boxes(odd)
    for function in (align, pool):
        assert np.isfinite(function(SQUARES, rows, (2, 2), scale=0.25)).all()


def test_levels_are_those_of_the_paper():
    side = np.array([0, 16, 32, 56, 111.99, 112, 224, 448, 640])
    rows = boxes(np.stack([0 * side, 0 * side, side / 2, side * 2], -1))
    found = jax.jit(roi.fpn_level)(rows)
    np.testing.assert_array_equal(found, [2, 2, 2, 2, 2, 3, 4, 5, 5])


def test_each_box_is_read_on_the_map_of_its_level():
    rows = boxes([[0, 0, 8, 8], [3, 4, 20, 25], [1, 2, 30, 30]])
    keys = jax.random.split(jax.random.key(0), 2)
    maps = [
        jax.random.normal(keys[0], (16, 16, 3)),
        jax.random.normal(keys[1], (8, 8, 3)),
    ]

    @jax.jit
    def both(maps):
        levels = jnp.array([0, 1, 1])
        scales = (0.5, 0.25)
        apart = [
            roi.roi_align(features, rows, (2, 2), scale=scale)
            for features, scale in zip(maps, scales, strict=True)
        ]
        found = roi.pyramid_roi_align(maps, rows, (2, 2), scales=scales, levels=levels)
        return found, apart

    found, (first, second) = both(maps)
    np.testing.assert_allclose(found[0], first[0], atol=1e-6)
    np.testing.assert_allclose(found[1:], second[1:], atol=1e-6)
    with pytest.raises(ValueError, match="1 scales for 2 maps"):
        roi.pyramid_roi_align(
            maps, rows, (2, 2), scales=(1,), levels=jnp.zeros(3, jnp.int32)
        )


@pytest.mark.parametrize("function", [roi.roi_align, roi.roi_pool])
def test_a_batch_of_images_is_a_list_of_boxes_with_their_image(torch, function):
    maps = jnp.asarray(torch["maps"], jnp.float32)
    rows = boxes(torch["boxes"]).reshape(2, 6, 4)
    call = lambda x, b: function(x, b, (2, 3), scale=0.25)
    batch = jax.jit(jax.vmap(call))(maps, rows)
    flat = jax.jit(lambda x, b, i: function(x, b, (2, 3), scale=0.25, image=i))(
        maps, rows.reshape(12, 4), jnp.repeat(jnp.arange(2), 6)
    )
    np.testing.assert_allclose(batch.reshape(flat.shape), flat, atol=1e-5)


def test_features_of_several_images_need_the_image_of_each_box():
    maps, rows = jnp.zeros((2, 4, 4, 1)), jnp.zeros((3, 4))
    for function in (roi.roi_align, roi.roi_pool):
        with pytest.raises(ValueError, match=r"must be \[h, w, c\]: give the image"):
            function(maps, rows, (2, 2), scale=1)
        with pytest.raises(ValueError, match=r"must be \[b, h, w, c\]"):
            function(maps[0], rows, (2, 2), scale=1, image=jnp.zeros(3, jnp.int32))


def test_torchvision_s_number_for_adapting_is_refused():
    with pytest.raises(ValueError, match="ratio must be 1 or more, or None to adapt"):
        roi.roi_align(SQUARES, published(), (2, 2), scale=1, ratio=-1)
