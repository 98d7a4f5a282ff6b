from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.fast_rcnn import FastRCNN
from jaxnets.models.faster_rcnn import (
    Anchors,
    FasterRCNN,
    Pooling,
    Proposals,
    Proposing,
    RegionOutput,
    Regions,
    proposed,
)
from jaxnets.models.parts.backbone import Backbone
from jaxnets.models.parts.feature_pyramid import FeaturePyramid
from jaxnets.models.parts.norms import GroupNorm
from jaxnets.models.parts.region_heads import BoxHead, MaskHead
from jaxnets.models.parts.residual import BasicBlock, ResidualNetwork
from jaxnets.models.rcnn import RCNN
from jaxnets.ops.boxes import encode, iou, pairwise
from jaxnets.tasks.detection import Deciding, decided, recalled, truth_of
from jaxnets.tasks.regions import (
    Sampling,
    _drawn,
    second_stage,
    two_stage,
    windows,
)
from jaxnets.testing.tasks import check_task
from jaxnets.types import DetectionBatch

SIDE, CLASSES = 16, 3
FEW = Sampling(anchors=16, regions=8)
RULE = Deciding(most=4, candidates=24)


class Hyper(NamedTuple):
    unused: float = 0.0


def batch(*, count=4, seed=0):
    draws = np.random.default_rng(seed)
    low = draws.uniform(0, 8, (count, 3, 2))
    boxes = np.concatenate([low, low + draws.uniform(3, 8, (count, 3, 2))], -1)
    present = draws.random((count, 3)) < 0.7
    present[0] = False  # an image without objects
    present[1] = True
    line = np.arange(SIDE) + 0.5
    inside = lambda low, high: (line >= low[..., None]) & (line < high[..., None])
    rows, columns = (inside(boxes[..., i], boxes[..., i + 2]) for i in (0, 1))
    masks = rows[..., :, None] & columns[..., None, :] & present[..., None, None]
    return DetectionBatch(
        jnp.asarray(draws.normal(size=(count, SIDE, SIDE, 3)), jnp.float32),
        jnp.asarray(boxes * present[..., None], jnp.float32),
        jnp.asarray(draws.integers(0, CLASSES, (count, 3)), jnp.int32),
        jnp.asarray(present),
        jnp.asarray(draws.random((count, 3)) < 0.2),
        jnp.ones(count, bool),
        jnp.asarray(masks),
    )


def backbone(*layers):
    small = {"stem": 1, "stem_features": 8, "norm": GroupNorm}
    network = ResidualNetwork(2, BasicBlock, (1, 1), widths=(8, 16), **small)
    return Backbone(network, layers)


def two_stages(*, mask):
    return FasterRCNN(
        CLASSES,
        backbone("conv2_1", "conv3_1"),
        FeaturePyramid(8, extra=False, norm=GroupNorm),
        BoxHead(16),
        MaskHead(CLASSES, layers=1, features=8) if mask else None,
        Anchors(((4,), (8,)), (0.5, 1, 2), offset=0.5, rounded=False),
        Proposing((32, 32), (16, 16)),
        Pooling(box_side=3, mask_side=3, canonical_size=64),
    )


def second_stages(kind):
    propose = windows((4, 8), (1,), 4)
    if kind == "fast":
        model = FastRCNN(CLASSES, backbone("conv3_1"), BoxHead(16), side=2)
    else:
        model = RCNN(CLASSES, backbone("conv3_1"), side=8, context=1)
    return second_stage(model, propose, sampling=FEW, deciding=RULE)


@pytest.mark.parametrize("kind", ["mask", "fast", "rcnn"])
def test_the_contract(kind):
    if kind == "mask":  # and all of Faster R-CNN
        task = two_stage(two_stages(mask=True), sampling=FEW, deciding=RULE)
    else:
        task = second_stages(kind)
    check_task(task, Hyper(), batch())


def test_masks_are_needed_where_they_are_learned():
    task, rows = two_stage(two_stages(mask=True)), batch()._replace(masks=None)
    key = jax.random.key(0)
    variables = jax.eval_shape(task.init, key, rows)
    with pytest.raises(ValueError, match="batch has no masks"):
        jax.eval_shape(lambda v: task.loss(v, rows, key, None), variables)


def test_an_image_without_objects_is_background():
    rows = batch()
    nothing = jnp.zeros_like(rows.present)
    task = two_stage(two_stages(mask=True), sampling=FEW, deciding=RULE)
    key = jax.random.key(0)
    variables = jax.jit(task.init)(key, rows)
    grad = jax.jit(jax.value_and_grad(task.loss, has_aux=True))
    (value, (_, metrics)), grads = grad(
        variables._replace(buffers={}), rows._replace(present=nothing), key, None
    )
    assert np.isfinite(value)
    assert value > 0
    for part in "proposal_boxes", "boxes", "masks":
        assert metrics[part].compute() == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads.params))


def test_the_regions_drawn_are_objects_and_then_background():
    rows = batch(count=6, seed=2)
    truth = truth_of(rows)
    propose = windows((4, 8), (1,), 2)
    rule = Sampling(regions=12, objects=0.5)
    draw = jax.jit(
        lambda mask: _drawn(jax.random.key(0), propose(rows), truth, mask, rule)
    )
    drawn = draw(rows.mask)
    assert drawn.masked == 6
    overlaps = jax.vmap(lambda a, b: pairwise(iou, a, b))(drawn.boxes, truth.boxes)
    known = drawn.targets
    for i in range(6):
        best = np.where(truth.learned[i], overlaps[i], 0)
        valid, positive = np.asarray(known.valid[i]), np.asarray(known.positive[i])
        assert (np.diff(positive.astype(int)) <= 0).all()  # first
        assert (best.max(1)[valid & positive] >= 0.5).all()
        assert (best.max(1)[valid & ~positive] < 0.5).all()
        own = np.where(positive, 1 + rows.label[i][best.argmax(1)], 0)
        np.testing.assert_array_equal(known.label[i], own)
        assert positive.any() == bool(truth.learned[i].any())  # true boxes are drawn
    assert known.valid.all(1).any()
    padded = draw(jnp.zeros_like(rows.mask))
    assert not padded.targets.valid.any()


def test_what_lies_in_a_crowd_is_no_background():
    rows = jax.tree.map(lambda x: x[:1], batch())
    crowd = rows._replace(
        boxes=jnp.array([[[0.0, 0, 16, 16]]]),
        label=jnp.zeros((1, 1), jnp.int32),
        present=jnp.ones((1, 1), bool),
        ignore=jnp.ones((1, 1), bool),
    )
    propose = windows((4, 8), (1,), 4)
    drawn = jax.jit(
        lambda rows: _drawn(
            jax.random.key(0), propose(rows), truth_of(rows), rows.mask, FEW
        )
    )
    assert not drawn(crowd).targets.valid.any()
    counted = drawn(crowd._replace(ignore=~crowd.ignore)).targets
    assert counted.valid.any()
    assert counted.positive.any()


def test_proposals_are_the_best_anchors_without_near_duplicates():
    anchors = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 5], [8, 8, 12, 12], [0, 0, 40, 4]])
    logits = jnp.array([[1.0, 2, 0, 3]])
    wanted = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 13, 13], [0, 0, 16, 4]])
    offsets = encode(wanted, anchors)[None]
    rule = Proposing((4, 4), (8, 3), overlap=0.7)
    best = jax.jit(proposed, static_argnames=("rule", "train"))
    given = [(logits, offsets)], [anchors], jnp.array([[12.0, 16.0]])
    made = best(*given, rule=rule, train=False)
    # The last is cut to 12 rows; the first overlaps the second by 0.8.
    expected = [[0, 0, 12, 4], [0, 0, 4, 5], [9, 9, 12, 13]]
    np.testing.assert_allclose(made.boxes[0], expected, atol=1e-5)
    np.testing.assert_array_equal(made.logits[0], [3, 2, 0])
    assert made.present.all()
    made = best(*given, rule=rule, train=True)
    assert made.present[0].tolist() == [True] * 3 + [False]


def test_a_box_is_decided_once_for_each_class():
    boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 5], [8, 8, 12, 12], [3, 3, 3, 3]])
    scores = jnp.array([[0.9, 0.2], [0.8, 0.3], [0.04, 0.6], [0.9, 0.9]])
    present = jnp.array([[True] * 4])
    decide = jax.jit(decided, static_argnames="rule")
    made = decide(boxes[None, :, None], scores[None], present, rule=Deciding(most=5))
    np.testing.assert_allclose(made.scores[0], [0.9, 0.6, 0.3, 0, 0])
    assert made.label[0].tolist() == [0, 1, 1, 0, 0]
    assert made.present[0].tolist() == [True, True, True, False, False]
    np.testing.assert_array_equal(made.boxes[0, :3], boxes[jnp.array([0, 2, 1])])
    none = decide(boxes[None, :, None], scores[None], ~present, rule=Deciding(most=5))
    assert not none.present.any()


def test_objects_that_a_proposal_overlaps_by_half_are_recalled():
    boxes = jnp.array([[[0.0, 0, 4, 4], [8, 8, 12, 12]]] * 2)
    objects = jnp.array(
        [[[0.0, 0, 4, 5], [8, 8, 12, 20]], [[0, 0, 4, 4], [0, 0, 1, 1]]]
    )
    present = jnp.array([[True, True], [False, True]])
    found = recalled(boxes, present, objects, jnp.ones((2, 2), bool))
    assert (found.total, found.weight) == (1, 4)
    counted = jnp.array([[True, False], [False, False]])
    assert recalled(boxes, present, objects, counted).compute() == 1


def test_windows_cover_the_image():
    rows = batch(count=2)
    made = windows((4, 8), (1, 4), 8)(rows)
    assert made.boxes.shape == (2, 2 * 2 * 4, 4)
    np.testing.assert_array_equal(made.boxes[1, 0], [2, 2, 6, 6])
    assert made.boxes.min() == 0
    assert made.boxes.max() == SIDE
    assert isinstance(made, Proposals)
    assert made.present.all()


def test_chosen_regions_are_what_the_heads_look_at():
    model, rows = two_stages(mask=True), batch(count=2)
    key, chosen = jax.random.key(0), jnp.array([[[0.0, 0, 8, 8], [4, 4, 12, 16]]] * 2)
    choose = lambda proposals: Regions(chosen, 1, proposals.logits)

    @jax.jit
    def looked(image):
        variables = functional.init(model, key, image)
        output, _ = functional.forward(model, variables, key, image, choose)
        where = output.maps, chosen, (SIDE, SIDE)
        return variables, output, functional.method(model, variables, "masks", *where)

    variables, output, masks = looked(rows.image)
    assert isinstance(output, RegionOutput)
    assert output.logits.shape == (2, 2, 1 + CLASSES)
    assert output.mask_logits.shape == (2, 1, 6, 6, 1 + CLASSES)
    np.testing.assert_allclose(masks[:, :1], output.mask_logits, rtol=1e-5, atol=1e-6)
    bare, where = two_stages(mask=False), (output.maps, chosen, (SIDE, SIDE))
    with pytest.raises(ValueError, match="no mask_head"):
        functional.method(bare, variables, "masks", *where)
