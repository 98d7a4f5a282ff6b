"""Overlaps and offsets of boxes; values of torchvision's and detectron2's own tests."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.ops import boxes as ops

REFERENCES = Path(__file__).parents[1] / "golden/detectors/references.npz"
OVERLAPS = (ops.iou, ops.giou, ops.diou, ops.dice, ops.ioa)
# As [x0, y0, x1, y1] these are the boxes of torchvision's tests; all are symmetric.
SQUARES = [[0, 0, 100, 100], [0, 0, 50, 50], [200, 200, 300, 300], [0, 0, 25, 25]]
LONG = [
    [185.5758, 285.3538, 851.4551, 1193.5110],
    [188.7374, 285.1472, 851.0669, 1192.4984],
    [197.9812, 279.2440, 849.2019, 1189.4746],
]


def boxes(rows):
    return jnp.asarray(rows, jnp.float32)


area, to_centres, from_centres = map(
    jax.jit, (ops.area, ops.to_centres, ops.from_centres)
)
valid = jax.jit(ops.valid, static_argnames="smallest_side")
clip = jax.jit(ops.clip, static_argnames="size")
encode, decode = (
    jax.jit(function, static_argnames="weights")
    for function in (ops.encode, ops.decode)
)
cells, cell_boxes = (
    jax.jit(function, static_argnames=("size", "grid"))
    for function in (ops.cell_targets, ops.cell_boxes)
)


@jax.jit
def compiled(first, second):
    return {f.__name__: ops.pairwise(f, first, second) for f in OVERLAPS}


def matrices(first, second):
    """All overlaps, from one program whatever the number of boxes."""
    padded = (
        jnp.asarray(np.pad(x, ((0, 20 - len(x)), (0, 0)))) for x in (first, second)
    )
    found = compiled(*padded)
    return {
        name: np.asarray(x)[: len(first), : len(second)] for name, x in found.items()
    }


def random_boxes(seed, count):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (count, 2))
    rows = np.concatenate([corner, corner + rng.uniform(1, 30, (count, 2))], -1)
    return boxes(rows)


@pytest.fixture(scope="module")
def torch():
    file = np.load(REFERENCES, allow_pickle=False)
    return {k.removeprefix("overlaps/"): file[k] for k in file.files if "overlaps" in k}


def test_overlaps_of_squares_have_known_values():
    found = matrices(boxes(SQUARES), boxes(SQUARES[:3]))
    iou = [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 1], [0.0625, 0.25, 0]]
    np.testing.assert_allclose(found["iou"], iou, atol=1e-6)
    giou = [
        [1, 0.25, -0.7778],
        [0.25, 1, -0.8611],
        [-0.7778, -0.8611, 1],
        [0.0625, 0.25, -0.8819],
    ]
    np.testing.assert_allclose(found["giou"], giou, atol=1e-4)
    diou = [
        [1, 0.1875, -0.4444],
        [0.1875, 1, -0.5625],
        [-0.4444, -0.5625, 1],
        [-0.0781, 0.1875, -0.6267],
    ]
    np.testing.assert_allclose(found["diou"], diou, atol=1e-4)


def test_overlaps_of_long_boxes_have_known_values():
    iou = matrices(boxes(LONG), boxes(LONG))["iou"]
    np.testing.assert_allclose(iou[0], [1, 0.9933, 0.9673], atol=1e-4)
    np.testing.assert_allclose(iou[1, 2], 0.9737, atol=1e-4)
    areas = [604723.0806, 600965.4666, 592761.0085]
    np.testing.assert_allclose(area(boxes(LONG)), areas, rtol=1e-6)


def test_the_loss_of_giou_has_known_values():
    others = [[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0, 1, 1, 2], [1, 1, 2, 2]]
    loss = 1 - matrices(boxes([[0, 0, 1, 1]]), boxes(others))["giou"]
    np.testing.assert_allclose(loss, [[0, 0.75, 1, 1.5]], atol=1e-6)


def test_a_unit_box_against_its_parts_has_known_overlaps():
    parts = [
        [0, 0, 0.5, 1],
        [0, 0, 1, 0.5],
        [0, 0, 0.5, 0.5],
        [0.5, 0.5, 1, 1],
        [0.5, 0.5, 1.5, 1.5],
    ]
    found = matrices(boxes([[0, 0, 1, 1]]), boxes(parts))
    iou = [0.5, 0.5, 0.25, 0.25, 0.25 / 1.75]
    np.testing.assert_allclose(found["iou"][0], iou, rtol=1e-6)
    np.testing.assert_allclose(found["ioa"][0], [0.5, 0.5] + [0.25] * 3, rtol=1e-6)
    dice = 2 * np.array(iou) / (1 + np.array(iou))
    np.testing.assert_allclose(found["dice"][0], dice, rtol=1e-6)


def test_the_mean_dice_is_not_the_dice_of_the_mean_overlap():
    parts = boxes([[0, 0, 9, 10], [0, 0, 1, 10]])
    found = matrices(parts, boxes([[0, 0, 10, 10]]))
    np.testing.assert_allclose(found["iou"].mean(), 0.5, rtol=1e-6)
    np.testing.assert_allclose(found["dice"].mean(), 0.564593, rtol=1e-6)


def test_overlaps_offsets_and_cuts_are_torchvision_s(torch):
    first, second = boxes(torch["first"]), boxes(torch["second"])
    found = matrices(first, second)
    for ours, theirs in (
        ("iou", "box_iou"),
        ("giou", "generalized_box_iou"),
        ("diou", "distance_box_iou"),
    ):
        np.testing.assert_allclose(found[ours], torch[theirs], atol=2e-6)
    weights = (9, 10, 4, 5)  # torchvision's are dx, dy, dw, dh
    encoded = encode(first[:7], second, weights=weights)
    np.testing.assert_allclose(encoded, torch["encoded"], rtol=1e-5, atol=1e-5)
    decoded = decode(3 * encoded, second, weights=weights)
    np.testing.assert_allclose(decoded, torch["decoded"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(clip(first, size=(30, 37)), torch["clipped"], rtol=1e-6)


def test_overlaps_are_symmetric_and_do_not_depend_on_place_and_unit():
    first, second = random_boxes(0, 20), random_boxes(1, 20)
    found, turned = matrices(first, second), matrices(second, first)
    moved = matrices(4 * first + 16, 4 * second + 16)
    for name, values in found.items():
        np.testing.assert_allclose(moved[name], values, atol=2e-6)
        if name != "ioa":
            np.testing.assert_allclose(turned[name].T, values, atol=1e-6)
    for name in ("giou", "diou"):
        assert np.all(found[name] > -1)
        assert np.all(found[name] <= found["iou"] + 1e-6)


def test_empty_boxes_and_nan_have_no_overlap_and_a_finite_gradient():
    odd = boxes(
        [
            [0, 0, 0, 0],
            [5, 5, 5, 9],
            [8, 8, 2, 2],
            [0, np.nan, 4, 4],
            [0, 0, np.inf, 4],
            [1e-10, 0, 2e-10, 1e-10],
        ]
    )
    whole = boxes([[0, 0, 10, 10], [0, 0, 0, 0]])

    def total(first, second):
        return sum(ops.pairwise(f, first, second).sum() for f in OVERLAPS)

    found = matrices(odd, whole)
    for name in ("iou", "dice", "ioa"):
        np.testing.assert_allclose(found[name], np.zeros((6, 2)), atol=1e-20)
    for name in ("giou", "diou"):
        assert np.isfinite(found[name]).all()
        np.testing.assert_array_equal(found[name][3:5], np.zeros((2, 2)))
        assert found[name][0, 1] == 0  # two empty boxes at one place
    for slope in jax.jit(jax.grad(total, (0, 1)))(odd, whole):
        assert np.isfinite(slope).all()


def test_offsets_have_known_values():
    box, anchor = boxes([[30, 20, 50, 60]]), boxes([[16, 16, 48, 48]])
    offsets = [[0.25, 0.25, -0.4700036, 0.2231436]]
    np.testing.assert_allclose(encode(box, anchor), offsets, rtol=1e-6)
    weighted = encode(box, anchor, weights=(10, 10, 5, 5))
    np.testing.assert_allclose(weighted, [[2.5, 2.5, -2.3500181, 1.1157178]], rtol=1e-6)


def test_offsets_lead_back_and_a_side_grows_62_5_times_at_most():
    found, anchors = random_boxes(2, 50), random_boxes(3, 50)
    again = decode(encode(found, anchors), anchors)
    np.testing.assert_allclose(again, found, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ops.LARGEST_STRETCH, 4.135166556742356, rtol=1e-15)
    huge = decode(boxes([[0, 0, 5, 90]]), boxes([[0, 0, 2, 4]]))
    np.testing.assert_allclose(huge, [[-61.5, -123, 63.5, 127]], rtol=1e-5)
    by_class = decode(jnp.zeros((50, 3, 4)), anchors[:, None])
    np.testing.assert_allclose(by_class[:, 2], anchors, rtol=1e-5, atol=1e-5)


def test_offsets_of_padding_are_0_and_have_a_gradient_of_0():
    rows, present = boxes([[0, 0, 0, 0], [1, 2, 3, 5]]), np.array([False, True])
    anchors = boxes([[3, 3, 3, 3], [0, 0, 4, 4]])

    @jax.jit
    def total(rows, anchors):
        return ops.encode(rows, anchors, present=jnp.asarray(present)).sum()

    slopes = jax.grad(total, (0, 1))(rows, anchors)
    np.testing.assert_allclose(total(rows, anchors), np.log(3 / 8) + 0.375, rtol=1e-5)
    for slope in slopes:
        np.testing.assert_array_equal(slope[0], np.zeros(4))
        assert np.isfinite(slope).all()


def test_boxes_are_cut_to_the_image_and_what_is_left_is_valid_or_not():
    rows = boxes([[-3, 2, 5, 30], [12, 3, 14, 9], [4, 4, 4.5, 8], [np.nan, 0, 3, 3]])
    cut = clip(rows, size=(10, 20))
    np.testing.assert_array_equal(cut[:2], [[0, 2, 5, 20], [10, 3, 10, 9]])
    traced = jax.jit(ops.clip)(rows, jnp.array([10.0, 20.0]))
    np.testing.assert_array_equal(traced, cut)
    np.testing.assert_array_equal(valid(cut), [True, False, True, False])
    one = valid(cut, smallest_side=0.5)
    np.testing.assert_array_equal(one, [True, False, True, False])
    assert not valid(cut, smallest_side=1)[2]
    form = [[2.5, 11, 5, 18]]
    np.testing.assert_array_equal(to_centres(cut[:1]), form)
    np.testing.assert_array_equal(from_centres(boxes(form)), cut[:1])


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (1 / 9, [0.01125, 0.0555556, 0.4444444, 1.9444444]),
        (1, [0.00125, 0.0061728, 0.125, 1.5]),
        (0, [0.05, 1 / 9, 0.5, 2]),
    ],
)
def test_smooth_l1_has_known_values(beta, expected):
    found = ops.smooth_l1(jnp.array([0.05, -1 / 9, 0.5, -2]), beta=beta)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_negative_beta_is_refused():
    with pytest.raises(ValueError, match="beta of smooth L1 must be 0 or more"):
        ops.smooth_l1(jnp.zeros(1), beta=-1)


def test_the_cell_of_yolo_has_known_values_and_leads_back():
    rows = boxes([[120, 100, 300, 220], [384, 0, 448, 128], [440, 440, 456, 456]])
    found = cells(rows, size=(448, 448), grid=(7, 7))
    np.testing.assert_array_equal(found.cell, [[3, 2], [6, 1], [6, 6]])
    np.testing.assert_allclose(found.offset[0], [0.28125, 0.5], atol=1e-5)
    np.testing.assert_allclose(found.root[0], [0.6338657, 0.5175492], rtol=1e-6)
    np.testing.assert_allclose(found.offset[1:], [[0.5, 0], [1, 1]], atol=1e-5)
    again = cell_boxes(found, size=(448, 448), grid=(7, 7))
    np.testing.assert_allclose(again, rows, rtol=1e-5, atol=1e-3)
    wide = cells(boxes([[10, 10, 20, 20]]), size=(32, 64), grid=(2, 8))
    np.testing.assert_array_equal(wide.cell, [[0, 1]])
