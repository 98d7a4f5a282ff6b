"""Detectors: counts of parameters, and parity with torchvision's."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional, weights
from jaxnets.models.fast_rcnn import fast_rcnn_vgg16
from jaxnets.models.faster_rcnn import (
    Proposing,
    faster_rcnn_vgg16,
    fasterrcnn_resnet50_fpn,
    maskrcnn_resnet50_fpn,
    small_faster_rcnn,
    small_mask_rcnn,
)
from jaxnets.models.parts.backbone import Backbone
from jaxnets.models.parts.feature_pyramid import enlarged
from jaxnets.models.parts.norms import BatchNorm, FrozenBatchNorm
from jaxnets.models.rcnn import warped
from jaxnets.models.resnet import cifar_resnet
from jaxnets.models.yolo import small_yolo, yolo
from jaxnets.ops.boxes import clip, decode
from jaxnets.ops.masks import pasted
from jaxnets.tasks.detection import Deciding, decided
from jaxnets.tasks.regions import Sampling, two_stage
from jaxnets.types import DetectionBatch
from tests.golden.detectors import torchvision_nets as golden


def template(model, *inputs):
    """The variables of a network, shapes only."""
    init = lambda key: functional.init(model, key, *inputs)
    return jax.eval_shape(init, jax.random.key(0))


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("model", "published"),
    [
        (fasterrcnn_resnet50_fpn(), 41_755_286),
        (maskrcnn_resnet50_fpn(), 44_401_393),
        (maskrcnn_resnet50_fpn(1), 43_922_395),
        (fasterrcnn_resnet50_fpn(norm=BatchNorm), 41_808_406),
        (faster_rcnn_vgg16(), 137_078_239),
        (small_faster_rcnn(8), 1_277_178),
        (small_mask_rcnn(8), 1_368_195),
        (yolo(), 271_703_550),
        (small_yolo(8), 758_898),
    ],
    ids=lambda value: f"{value:,}" if isinstance(value, int) else "",
)
def test_parameters_are_as_many_as_published(model, published):
    side = 448 if published == 271_703_550 else 64
    assert count(template(model, jnp.zeros((1, side, side, 3))).params) == published


def test_parameters_of_the_parts_are_as_many_as_published():
    model = maskrcnn_resnet50_fpn()
    variables = template(model, jnp.zeros((1, 64, 64, 3)))
    found = {name: count(tree) for name, tree in variables.params.items()}
    assert found == {
        "backbone": 23_454_912,
        "pyramid": 3_344_384,
        "proposal_head": 593_935,
        "box_head": 13_895_680,
        "predictor": 466_375,
        "mask_head": 2_360_320 + 285_787,
    }
    assert count(variables.buffers) == 2 * 53_120  # scales, biases; means, variances
    fast = fast_rcnn_vgg16()
    image, regions = jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, 1, 4))
    assert count(template(fast, image, regions).params) == 134_690_729


def test_yolo_maps_the_papers_image_to_its_grid():
    model, image = yolo(), jnp.zeros((1, 448, 448, 3))
    variables = template(model, image)
    said = jax.eval_shape(lambda v: functional.predict(model, v, image), variables)
    assert said.shape == (1, 7, 7, 30)


@functools.cache
def reference():
    return np.load(golden.FILE, allow_pickle=False)


@functools.cache
def parity():
    """The Mask R-CNN with the golden weights: its variables, and images."""
    few = Proposing(best=(golden.BEST,) * 2, most=(golden.MOST,) * 2)
    model = maskrcnn_resnet50_fpn(golden.CLASSES, proposing=few)
    image = golden.canvas(golden.pictures())
    shapes = template(model, image)
    wanted = weights.torch_shapes(model, shapes)
    state = {name: golden.weight(name, shape) for name, shape in wanted.items()}
    variables = weights.from_torch(model, shapes, state)
    return model, variables, image


def truth(image):
    masks = golden.canvas(
        [golden.masks(i).transpose(1, 2, 0) for i in range(len(image))]
    )
    some = np.ones(np.shape(golden.LABELS), bool)
    boxes = np.array(golden.BOXES, np.float32)
    label = np.array(golden.LABELS, np.int32)
    rows = np.ones(len(image), bool)
    drawn = masks.transpose(0, 3, 1, 2)
    return DetectionBatch(image, boxes, label, some, ~some, rows, drawn)


@pytest.mark.one_python
def test_losses_are_torchvisions():
    model, variables, image = parity()
    task = two_stage(model, sampling=Sampling(anchors=20_000, regions=1_000))
    loss = jax.jit(lambda v, b: task.loss(v, b, jax.random.key(0), None)[1][1])
    metrics = loss(variables, truth(image))
    names = {
        "objectness": "loss_objectness",
        "proposal_boxes": "loss_rpn_box_reg",
        "classes": "loss_classifier",
        "boxes": "loss_box_reg",
        "masks": "loss_mask",
    }
    for ours, theirs in names.items():
        expected = reference()[f"maskrcnn_resnet50_fpn {theirs}"]
        np.testing.assert_allclose(metrics[ours].compute(), expected, rtol=2e-5)


@pytest.mark.one_python
def test_boxes_scores_and_masks_are_torchvisions():
    model, variables, image = parity()
    size = jnp.array(golden.SIZES, jnp.float32)

    @jax.jit
    def found(variables):
        said = functional.predict(model, variables, image, None, size)
        boxes = decode(
            said.offsets[:, :, 1:],
            said.regions.boxes[:, :, None],
            weights=(10, 10, 5, 5),
        )
        scores = jax.nn.softmax(said.logits)[..., 1:]
        rule = Deciding(most=golden.FOUND)
        boxes = jax.vmap(clip)(boxes, size)
        made = decided(boxes, scores, said.proposals.present, rule)
        pixels = image.shape[1:3]
        masks = functional.method(
            model, variables, "masks", said.maps, made.boxes, pixels
        )
        return made, jax.nn.sigmoid(masks)

    made, masks = found(variables)
    assert made.present.all()
    few = np.arange(golden.MASKS)
    for name in golden.NAMES:  # both: masks come after boxes and change none
        for i, pixels in enumerate(golden.SIZES):
            expected = lambda what, i=i, name=name: reference()[f"{name} {i} {what}"]
            np.testing.assert_array_equal(made.label[i], expected("label"))
            np.testing.assert_allclose(made.scores[i], expected("scores"), atol=1e-4)
            # Of 128 pixels; torch's own float32 is 3e-4 away.
            np.testing.assert_allclose(made.boxes[i], expected("boxes"), atol=1e-3)
            if f"{name} {i} masks" in reference():
                own = masks[i, few, :, :, 1 + made.label[i, few]]
                drawn = pasted(own, made.boxes[i, few], pixels, whole_pixels=True)
                np.testing.assert_allclose(drawn, expected("masks"), atol=1e-4)


def test_frozen_batch_norm_is_batch_norm_that_has_stopped():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 8))
    norm, frozen = BatchNorm(), FrozenBatchNorm()
    given = norm.init(jax.random.key(1), x, train=False)
    noise = jax.random.normal(jax.random.key(2), (4, 8))
    values = dict(zip(("scale", "bias", "mean"), noise, strict=False))
    values["var"] = jnp.exp(noise[3])
    learned = {name: values[name] for name in given["params"]}
    seen = {name: values[name] for name in given["batch_stats"]}
    expected = norm.apply({"params": learned, "batch_stats": seen}, x, train=False)
    for train in True, False:
        got = frozen.apply({"batch_stats": values}, x, train=train)
        np.testing.assert_array_equal(got, expected)
    assert "params" not in frozen.init(jax.random.key(0), x)


def test_a_backbone_is_the_network_up_to_its_last_layer():
    network, image = cifar_resnet(5, 1), jnp.ones((1, 16, 16, 3))
    model = Backbone(network, ("conv2_1", "conv3_1"))
    variables = functional.init(model, jax.random.key(0), image)
    assert set(variables.params["network"]) == {"conv1", "conv2_1", "conv3_1"}
    whole = functional.init(network, jax.random.key(1), image)
    inside = lambda tree: {
        "network": {name: tree[name] for name in variables.params["network"]}
    }
    given = variables._replace(
        params=inside(whole.params),
        buffers={"batch_stats": inside(whole.buffers["batch_stats"])},
    )
    named = functional.features(network, whole, image)
    for name, got in zip(
        model.layers, functional.predict(model, given, image), strict=True
    ):
        np.testing.assert_allclose(got, named[name], rtol=1e-6)
    with pytest.raises(ValueError, match="has no layer 'conv9_9'"):
        functional.init(Backbone(network, ("conv9_9",)), jax.random.key(0), image)


def test_maps_are_enlarged_by_their_nearest_cells():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    rows = [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5]]
    expected = np.array([rows[0], rows[0], rows[2], rows[2]])
    np.testing.assert_array_equal(enlarged(x, (4, 6))[0, :, :, 0], expected)
    np.testing.assert_array_equal(enlarged(x, (3, 3))[0, :, 0, 0], [0, 0, 3])


def test_a_region_is_warped_with_what_is_around_it():
    image = jnp.arange(64.0).reshape(1, 8, 8, 1)
    whole = jnp.array([[[2.0, 2.0, 6.0, 6.0]]])
    (crop,) = warped(image, whole, 4, 0)[0]
    np.testing.assert_allclose(crop[..., 0], image[0, 2:6, 2:6, 0])
    (crop,) = warped(image, whole, 8, 2)[0]
    inner = slice(1, -1)  # samples at the border repeat it
    np.testing.assert_allclose(crop[inner, inner, 0], image[0, inner, inner, 0])
    with pytest.raises(ValueError, match="no room for twice 2"):
        warped(image, whole, 4, 2)
