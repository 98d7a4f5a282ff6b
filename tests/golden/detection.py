"""Makes detection.json: random sets as pycocotools and tidecv score them.

Also writes the scores of the small cases of average_precision.json again.

Run it from the root with an interpreter that has pycocotools and tidecv:
`PYTHONPATH=. python tests/golden/detection.py`. `coco_numbers` also serves the test
that compares live where pycocotools can be imported.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.golden.detection_sets import of_case, random_set

COUNT = 200


def sides(box):
    y0, x0, y1, x1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def polygon(box):
    y0, x0, y1, x1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def coco_numbers(value, of):
    """The twelve numbers and the precisions of a set; `of` is "bbox" or "segm"."""
    size = [3 * value["side"]] * 2
    row = lambda r: {"image_id": r["image"] + 1, "category_id": r["label"] + 1}
    drawn = lambda r: coco_masks.frPyObjects([polygon(r["box"])], *size)[0]
    annotations, results = [], []
    for i, r in enumerate(value["truth"], 1):
        more = {"bbox": sides(r["box"]), "area": r["area"], "iscrowd": int(r["crowd"])}
        if of == "segm":
            more["segmentation"] = drawn(r)
        annotations.append({"id": i, **row(r), **more})
    for r in value["detections"]:
        form = ("segmentation", drawn(r)) if of == "segm" else ("bbox", sides(r["box"]))
        results.append({**row(r), "score": r["score"], form[0]: form[1]})
    images = [
        {"id": i + 1, "height": size[0], "width": size[1]}
        for i in range(value["images"])
    ]
    categories = [{"id": c + 1, "name": str(c)} for c in range(value["classes"])]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        coco.createIndex()
        found = coco.loadRes(results) if results else COCO()
        if not results:
            found.dataset = {**coco.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(coco, found, of)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats.tolist(), evaluation.eval


def tide_numbers(value):
    """Counts of the kinds of errors and the average precision that each costs.

    Without crowds: tidecv 1.0.1 calls a detection of a crowd an error, too.
    """
    drawing = ("cv2", "matplotlib", "matplotlib.pyplot", "matplotlib.lines", "pandas")
    stubs = {name: mock.MagicMock() for name in (*drawing, "seaborn")}
    with mock.patch.dict(sys.modules, stubs):
        from tidecv import TIDE, Data

        truth, found = Data("truth"), Data("found")
        for image in range(value["images"]):
            truth.add_image(image, str(image))
            found.add_image(image, str(image))
        for r in value["truth"]:
            if not r["crowd"]:
                truth.add_ground_truth(r["image"], r["label"], sides(r["box"]))
        for r in value["detections"]:
            found.add_detection(r["image"], r["label"], r["score"], sides(r["box"]))
        tide = TIDE()
        run = tide.evaluate(truth, found, mode=TIDE.BOX)
        names = {e.short_name: e for e in TIDE._error_types}
        counts = run.count_errors()
        gains = run.fix_main_errors()
        return {
            "ap": run.ap / 100,
            "counts": {name: counts[e] for name, e in names.items()},
            "gains": {name: gains[e] / 100 for name, e in names.items()},
        }


def main():
    every = [random_set(seed) for seed in range(COUNT)]
    boxes = [np.round(coco_numbers(value, "bbox")[0], 13).tolist() for value in every]
    masks = [
        np.round(coco_numbers(value, "segm")[0], 13).tolist() for value in every[::10]
    ]
    # Sets without ties, whose classes all have an object: others are averaged in
    # another way there.
    tide = {}
    for seed in range(0, COUNT, 2):
        labels = {r["label"] for r in every[seed]["truth"] if not r["crowd"]}
        if len(labels) == every[seed]["classes"] and every[seed]["detections"]:
            tide[seed] = tide_numbers(every[seed])
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps({"boxes": boxes, "masks": masks, "tide": tide}) + "\n")
    path = Path(__file__).with_name("average_precision.json")
    small = json.loads(path.read_text())
    for case in small["cases"].values():
        case["stats"] = coco_numbers(of_case(case), "bbox")[0]
    path.write_text(json.dumps(small) + "\n")


if __name__ == "__main__":
    main()
