"""What YOLO is trained on.

Redmon, Divvala, Girshick & Farhadi, "You only look once: unified, real-time object
detection", 2016, https://arxiv.org/abs/1506.02640, section 2.2, equation 3: squared
errors of everything. The cell that an object's centre lies in says its class; of the
cell's boxes the one that overlaps the object most is responsible for it, and its
confidence is to be that overlap. All other confidences are to be 0.

What the paper leaves open: of boxes that do not overlap the object at all the one with
the smallest squared error of its sides and centre is responsible, and of several
objects in a cell the first one counts, both as in the authors' program. An object to be
ignored, a crowd say, is no target, and the confidences of its cell are free.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnets.metrics import Mean, Metrics
from jaxnets.models import functional
from jaxnets.models.yolo import YOLO
from jaxnets.ops import boxes as box_ops
from jaxnets.tasks.base import Task
from jaxnets.tasks.detection import (
    DECIDING,
    Deciding,
    Detections,
    Truth,
    decided,
    recalled,
    size_of,
    truth_of,
)
from jaxnets.tasks.hyper import Reads, present
from jaxnets.types import DetectionBatch, Key, Scalar, Variables

# Section 2.2: weights of the losses of coordinates, and of confidences where no object
# is.
COORDINATES, EMPTY = 5.0, 0.5


class Cells(NamedTuple):
    """What is said of the cells of a grid, or of one of them.

    Attributes:
        offset: (y, x) of the centre of each box in its cell, in [0, 1].
        root: Square roots of (height, width), as shares of the image.
        confidence: That there is an object, times the box's overlap with it.
        classes: Probability of each class, if there is an object.
    """

    offset: Float[Array, "*b boxes 2"]
    root: Float[Array, "*b boxes 2"]
    confidence: Float[Array, "*b boxes"]
    classes: Float[Array, "*b k"]


class _Targets(NamedTuple):
    """What the cells of an image are to say."""

    box: Float[Array, "s s 4"]
    offset: Float[Array, "s s 2"]
    root: Float[Array, "s s 2"]
    label: Int[Array, "s s"]
    full: Bool[Array, "s s"]  # an object's centre is in it
    free: Bool[Array, "s s"]  # an ignored one's is


def cells_of(output: Float[Array, "*b s s _"], boxes: int) -> Cells:
    """The numbers of a network, with names; x is before y and width before height.

    Args:
        output: 5 numbers a box, then one a class.
        boxes: Of each cell.
    """
    each = output[..., : 5 * boxes].reshape(*output.shape[:-1], boxes, 5)
    swap = jnp.array([1, 0])
    return Cells(
        each[..., 0:2][..., swap],
        each[..., 2:4][..., swap],
        each[..., 4],
        output[..., 5 * boxes :],
    )


def boxes_of(cells: Cells, size: tuple[int, int]) -> Float[Array, "*b s s boxes 4"]:
    """The boxes of all cells, in pixels.

    Args:
        cells: Of a grid.
        size: Height and width of the image.
    """
    rows, columns = cells.offset.shape[-4:-2]
    place = jnp.meshgrid(jnp.arange(rows), jnp.arange(columns), indexing="ij")
    cell = jnp.broadcast_to(jnp.stack(place, -1)[:, :, None], cells.offset.shape)
    said = box_ops.CellTargets(cell, cells.offset, cells.root)
    return box_ops.cell_boxes(said, size, (rows, columns))


def yolo(model: YOLO, *, deciding: Deciding = DECIDING) -> Task:
    """Equation 3, an image's sum, averaged over images.

    Its parts are metrics: `coordinates`, `confidence`, `empty`, `classes`. `evaluate`
    counts the objects that one of the detections overlaps by half, whatever its class;
    `predict` returns `Detections`, scored by confidence times class (equation 1).
    Dropout is read from `hyper.dropout`.

    Args:
        model: The network.
        deciding: Which boxes count as found.
    """
    rates = functional.rates(model)

    def init(key: Key, batch: DetectionBatch) -> Variables:
        return functional.init(model, key, batch.image)

    def loss(
        variables: Variables, batch: DetectionBatch, key: Key, hyper: Any
    ) -> tuple[Scalar, tuple[PyTree, Metrics]]:
        output, buffers = functional.forward(
            model, variables, key, batch.image, **present(hyper, rates)
        )
        cells, size = cells_of(output, model.boxes), size_of(batch)
        one = lambda cells, truth: _losses(cells, truth, size)
        parts = jax.vmap(one)(cells, truth_of(batch))
        parts["loss"] = sum(parts.values(), jnp.zeros(len(batch.mask)))
        count = jnp.sum(batch.mask, dtype=jnp.int32)
        metrics = {
            name: Mean(jnp.sum(jnp.where(batch.mask, values, 0)), count)
            for name, values in parts.items()
        }
        return metrics["loss"].total / count, (buffers, metrics)

    def evaluate(variables: Variables, batch: DetectionBatch, key: Key) -> Metrics:
        found, truth = predict(variables, batch, key), truth_of(batch)
        counted = truth.learned & batch.mask[:, None]
        return {"recall": recalled(found.boxes, found.present, truth.boxes, counted)}

    def predict(variables: Variables, batch: DetectionBatch, key: Key) -> Detections:
        del key
        output = functional.predict(model, variables, batch.image)
        cells, size = cells_of(output, model.boxes), size_of(batch)
        boxes = box_ops.clip(boxes_of(cells, size), size)
        scores = cells.confidence[..., None] * cells.classes[..., None, :]
        count = len(output), -1
        boxes, scores = (
            boxes.reshape(*count, 1, 4),
            scores.reshape(*count, model.classes),
        )
        everywhere = jnp.ones(scores.shape[:2], bool)
        return decided(boxes, jnp.clip(scores, 0, 1), everywhere, deciding)

    return Task(init, loss, evaluate, predict, reads=Reads("yolo", optional=rates))


def _losses(
    cells: Cells, truth: Truth, size: tuple[int, int]
) -> dict[str, Float[Array, ""]]:
    """The five sums of equation 3 for one image, the first two together."""
    targets = _targets(truth, size, cells.confidence.shape[:2])
    said, wanted = boxes_of(cells, size), targets.box[:, :, None]
    overlap = jax.lax.stop_gradient(box_ops.iou(said, wanted))
    apart = jnp.sum((cells.offset - targets.offset[:, :, None]) ** 2, -1)
    apart += jnp.sum((cells.root - targets.root[:, :, None]) ** 2, -1)
    centred = box_ops.to_centres(said) - box_ops.to_centres(wanted)
    nearest = jnp.argmin(jnp.sum(centred**2, -1), -1)
    best = jnp.where(jnp.any(overlap > 0, -1), jnp.argmax(overlap, -1), nearest)
    responsible = best[..., None] == jnp.arange(overlap.shape[-1])[None, None]
    responsible &= targets.full[..., None]
    empty = ~responsible & ~(targets.free & ~targets.full)[..., None]
    classes = jax.nn.one_hot(targets.label, cells.classes.shape[-1])
    wrong = jnp.sum((cells.classes - classes) ** 2, -1)
    chosen = lambda values, where: jnp.sum(jnp.where(where, values, 0))
    return {
        "coordinates": COORDINATES * chosen(apart, responsible),
        "confidence": chosen((cells.confidence - overlap) ** 2, responsible),
        "empty": EMPTY * chosen(cells.confidence**2, empty),
        "classes": chosen(wrong, targets.full),
    }


def _targets(truth: Truth, size: tuple[int, int], grid: tuple[int, ...]) -> _Targets:
    """Of the objects whose centre is in a cell, what the first one asks for."""
    rows, columns = grid
    wanted = box_ops.cell_targets(truth.boxes, size, (rows, columns))
    place = wanted.cell[:, 0] * columns + wanted.cell[:, 1]
    here = place[None] == jnp.arange(rows * columns)[:, None]
    learned = here & truth.learned[None]
    first = jnp.argmax(learned, 1)
    at = lambda values: values[first].reshape(rows, columns, *values.shape[1:])
    return _Targets(
        at(truth.boxes),
        at(wanted.offset),
        at(wanted.root),
        at(truth.label),
        jnp.any(learned, 1).reshape(rows, columns),
        jnp.any(here & truth.ignored[None], 1).reshape(rows, columns),
    )
