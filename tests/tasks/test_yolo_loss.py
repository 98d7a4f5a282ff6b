from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.models.parts.norms import GroupNorm
from jaxnets.models.yolo import YOLO
from jaxnets.tasks.detection import Deciding
from jaxnets.tasks.yolo import COORDINATES, EMPTY, boxes_of, cells_of, yolo
from jaxnets.testing.tasks import check_task
from jaxnets.types import DetectionBatch, Variables

SIDE, GRID, BOXES, CLASSES = 16, 4, 2, 3


class Hyper(NamedTuple):
    dropout: float = 0.0


def network(**options):
    layers = (("3", 8), ("pool", 0), ("3/2", 8))
    defaults = {"layers": layers, "hidden": None, "norm": GroupNorm}
    return YOLO(CLASSES, boxes=BOXES, **{**defaults, **options})


def batch(*, count=4, seed=0):
    draws = np.random.default_rng(seed)
    low = draws.uniform(0, 9, (count, 3, 2))
    boxes = np.concatenate([low, low + draws.uniform(2, 7, (count, 3, 2))], -1)
    present = draws.random((count, 3)) < 0.7
    present[0] = False  # an image without objects
    ignore = draws.random((count, 3)) < 0.2
    return DetectionBatch(
        jnp.asarray(draws.normal(size=(count, SIDE, SIDE, 3)), jnp.float32),
        jnp.asarray(boxes * present[..., None], jnp.float32),
        jnp.asarray(draws.integers(0, CLASSES, (count, 3)), jnp.int32),
        jnp.asarray(present),
        jnp.asarray(ignore),
        jnp.ones(count, bool),
    )


def test_the_contract():
    hidden = network(hidden=8, norm=None)
    for model, hyper in ((network(), Hyper()), (hidden, Hyper(0.2))):
        check_task(yolo(model), hyper, batch())


def iou(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = np.prod(np.maximum(sides, 0))
    area = lambda box: np.prod(box[2:] - box[:2])
    return shared / (area(a) + area(b) - shared)


def by_hand(output, rows, i):
    """Equation 3 for one image, with loops."""
    numbers = np.asarray(output[i], np.float64)
    cell, total = SIDE / GRID, 0.0
    objects, free = {}, set()
    for k in range(3):
        if not rows.present[i, k]:
            continue
        box = np.asarray(rows.boxes[i, k], np.float64)
        place = tuple(((box[:2] + box[2:]) / 2 // cell).astype(int))
        if rows.ignore[i, k]:
            free.add(place)
        else:
            objects.setdefault(place, (box, int(rows.label[i, k])))
    for row in range(GRID):
        for column in range(GRID):
            said = numbers[row, column]
            each = said[: 5 * BOXES].reshape(BOXES, 5)
            if (row, column) not in objects:
                if (row, column) not in free:
                    total += EMPTY * np.sum(each[:, 4] ** 2)
                continue
            box, label = objects[row, column]
            centre, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
            found = []
            for x, y, w, h, _ in each:
                middle = np.array([row + y, column + x]) * cell
                half = np.array([h, w]) ** 2 * SIDE / 2
                made = np.concatenate([middle - half, middle + half])
                apart = np.sum((middle - centre) ** 2) + np.sum((2 * half - sides) ** 2)
                found.append((iou(made, box), apart))
            best = max(range(BOXES), key=lambda j: (found[j][0], -found[j][1]))
            x, y, w, h, confidence = each[best]
            offset = centre / cell - (row, column)
            root = np.sqrt(sides / SIDE)
            total += COORDINATES * np.sum((np.array([y, x]) - offset) ** 2)
            total += COORDINATES * np.sum((np.array([h, w]) - root) ** 2)
            total += (confidence - found[best][0]) ** 2
            total += EMPTY * np.sum(np.delete(each[:, 4], best) ** 2)
            wanted = np.eye(CLASSES)[label]
            total += np.sum((said[5 * BOXES :] - wanted) ** 2)
    return total


def test_the_loss_is_that_of_a_loop(monkeypatch):
    from jaxnets.models import functional

    rows = batch(count=20, seed=3)
    draws = np.random.default_rng(5)
    shape = (20, GRID, GRID, 5 * BOXES + CLASSES)
    output = jnp.asarray(draws.uniform(0, 1, shape), jnp.float32)
    # Far from every object: what decides then is the distance.
    output = output.at[::3, ..., : 5 * BOXES].mul(0.01)
    monkeypatch.setattr(functional, "forward", lambda *_, **__: (output, {}))
    task = yolo(network())
    loss, none = jax.jit(task.loss), Variables({}, {})
    value, (_, metrics) = loss(none, rows, jax.random.key(0), None)
    expected = np.mean([by_hand(output, rows, i) for i in range(20)])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    parts = sum(metrics[n].compute() for n in metrics if n != "loss")
    np.testing.assert_allclose(parts, value, rtol=1e-6)


def perfect(rows):
    """What a network would have to say of each image, box 1 of 2 being wrong."""
    made = np.zeros((len(rows.mask), GRID, GRID, 5 * BOXES + CLASSES), np.float32)
    for i, k in np.argwhere(np.asarray(rows.present & ~rows.ignore)):
        box = np.asarray(rows.boxes[i, k])
        centre, sides = (
            (box[:2] + box[2:]) / 2 / SIDE * GRID,
            (box[2:] - box[:2]) / SIDE,
        )
        row, column = cell = np.floor(centre).astype(int)
        y, x = centre - cell
        made[i, row, column] = 0
        made[i, row, column, 5:10] = (x, y, *np.sqrt(sides[::-1]), 1)
        made[i, row, column, 10 + int(rows.label[i, k])] = 1
    return jnp.asarray(made)


def test_what_is_perfect_costs_nothing_and_is_found(monkeypatch):
    from jaxnets.models import functional

    rows = batch(count=6)
    only_first = jnp.arange(3)[None] == 0  # two in a cell cannot both be said
    rows = rows._replace(present=rows.present & only_first)
    output = perfect(rows)
    monkeypatch.setattr(functional, "forward", lambda *_, **__: (output, {}))
    monkeypatch.setattr(functional, "predict", lambda *_, **__: output)
    task = yolo(network(), deciding=Deciding(most=4))
    none, key = Variables({}, {}), jax.random.key(0)
    assert jax.jit(task.loss)(none, rows, key, None)[0] < 1e-9
    found = jax.jit(task.predict)(none, rows, key)
    wanted = np.asarray(rows.present & ~rows.ignore)
    np.testing.assert_array_equal(found.present[:, 0], wanted[:, 0])
    assert not found.present[:, 1:].any()
    real = wanted[:, 0]
    np.testing.assert_allclose(found.boxes[real, 0], rows.boxes[real, 0], atol=1e-4)
    np.testing.assert_array_equal(found.label[real, 0], rows.label[real, 0])
    np.testing.assert_allclose(found.scores[real, 0], 1)
    assert jax.jit(task.evaluate)(none, rows, key)["recall"].compute() == 1


def test_the_first_of_two_objects_in_a_cell_is_learned():
    from jaxnets.tasks.detection import truth_of
    from jaxnets.tasks.yolo import _targets

    boxes = jnp.array([[[0.0, 0, 3, 3], [1, 1, 3, 3]]])
    rows = DetectionBatch(
        jnp.zeros((1, SIDE, SIDE, 3)),
        boxes,
        jnp.array([[2, 1]]),
        jnp.ones((1, 2), bool),
        jnp.zeros((1, 2), bool),
        jnp.ones(1, bool),
    )
    truth = jax.tree.map(lambda x: x[0], truth_of(rows))
    targets = _targets(truth, (SIDE, SIDE), (GRID, GRID))
    assert targets.label[0, 0] == 2
    np.testing.assert_array_equal(targets.box[0, 0], boxes[0, 0])
    assert targets.full.sum() == 1


def test_the_papers_cell():
    # Facts for S = 7, 448 pixels, the box x 100 to 220, y 120 to 300.
    output = np.zeros((7, 7, 5 + 1), np.float32)
    output[3, 2, :5] = (0.5, 0.28125, 0.5175492, 0.6338657, 1)
    boxes = boxes_of(cells_of(jnp.asarray(output), 1), (448, 448))
    np.testing.assert_allclose(boxes[3, 2, 0], [120, 100, 300, 220], rtol=1e-5)
