"""How long does average precision take, beside pycocotools? Seconds and their ratio.

    uv run --with pycocotools benchmarks/detection_scores.py

Side by side in one process, on the same sets of random boxes: `jaxnets.scores` from its
records, and pycocotools from annotations that are loaded. Reading of files is not
timed on either side. Both compute COCO's twelve numbers, which must be equal. Only the
ratio means something on a shared machine.
"""

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jaxnets.scores.coco_json import annotations_of, results_of
from jaxnets.scores.detection import average_precision, summary
from jaxnets.scores.objects import ImageDetections, ImageTruth

SIDE = 640


def records(
    images: int, classes: int, detections: int, objects: int
) -> tuple[list[ImageTruth], list[ImageDetections]]:
    """Random objects, and detections most of which are near one of them."""
    random = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(images):
        count = int(random.poisson(objects))
        corner = random.integers(0, SIDE - 200, (count, 2))
        sides = random.integers(8, 200, (count, 2))
        boxes = np.concatenate([corner, corner + sides], axis=1).astype(np.float64)
        labels = random.integers(0, classes, count)
        ignore = random.random(count) < 0.01
        truth.append(ImageTruth(boxes, labels, ignore))
        near = random.integers(0, max(count, 1), detections)
        guess = np.tile([[0.0, 0.0, 50.0, 50.0]], (detections, 1))
        named = random.integers(0, classes, detections)
        if count:
            guess = boxes[near] + np.rint(random.normal(0, 6, (detections, 4)))
            named = np.where(random.random(detections) < 0.7, labels[near], named)
        guess[:, 2:] = np.maximum(guess[:, 2:], guess[:, :2] + 1)
        found.append(ImageDetections(guess, random.random(detections), named))
    return truth, found


def quiet(compute: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a function that prints, and the seconds it took."""
    with contextlib.redirect_stdout(io.StringIO()):
        begin = time.perf_counter()
        made = compute()
        return made, time.perf_counter() - begin


def theirs(truth: list[ImageTruth], found: list[ImageDetections], classes: int) -> Any:
    """A function that evaluates with pycocotools, of data that are loaded."""
    names = [str(c) for c in range(classes)]
    coco = COCO()
    coco.dataset = annotations_of(truth, names, [(SIDE, SIDE)] * len(truth))
    coco.createIndex()
    loaded = coco.loadRes(results_of(found))

    def evaluate() -> np.ndarray:
        evaluation = COCOeval(coco, loaded, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        return evaluation.stats

    return evaluate


def main() -> None:
    """Prints the seconds of both and their ratio; they must agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--detections", type=int, default=100, help="of each image")
    parser.add_argument("--objects", type=int, default=7, help="mean of each image")
    flags = parser.parse_args()
    truth, found = records(flags.images, flags.classes, flags.detections, flags.objects)
    other, _ = quiet(lambda: theirs(truth, found, flags.classes))
    ours = lambda: summary(average_precision(truth, found, flags.classes))
    have, seconds = quiet(ours)
    expected, long = quiet(other)
    values = [-1 if value is None else value for value in have.values()]
    apart = np.abs(np.array(values) - expected).max()
    print(f"{'':14}{'seconds':>10}{'AP':>10}{'AR':>10}")
    print(f"{'jaxnets':14}{seconds:10.2f}{values[0]:10.4f}{values[8]:10.4f}")
    print(f"{'pycocotools':14}{long:10.2f}{expected[0]:10.4f}{expected[8]:10.4f}")
    print(
        f"ratio {seconds / long:.3f}, largest difference of twelve numbers {apart:.1e}"
    )
    if apart > 1e-6:
        raise SystemExit("the numbers differ")


if __name__ == "__main__":
    main()
