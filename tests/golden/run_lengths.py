"""Makes run_lengths.json: polygons and masks as pycocotools draws and compares them.

Run it with an interpreter that has pycocotools: `python tests/golden/run_lengths.py`.
"""

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

SIZE = (24, 30)


def main():
    random = np.random.default_rng(0)
    grid = random.integers(-15, 165, (6, 12)) / 5  # corners on the finer grid
    free = random.uniform(-3, 33, (6, 12))
    polygons = [[*map(float, p.round(3))] for p in (*grid, *free)]
    polygons += [[2, 2, 12, 2, 12, 12, 2, 12], [2, 2, 12, 2, 7, 12]]
    polygons += [[2.5, 2.5, 12.5, 2.5, 12.5, 12.5, 2.5, 12.5], [3, 3, 3, 3, 3, 3]]
    drawn = [coco.frPyObjects([p], *SIZE)[0] for p in polygons]
    crowd = [i % 3 == 0 for i in range(len(drawn))]
    shared = coco.iou(drawn, drawn, crowd)
    value = {
        "size": SIZE,
        "polygons": polygons,
        "strings": [mask["counts"].decode() for mask in drawn],
        "areas": coco.area(drawn).tolist(),
        "boxes": coco.toBbox(drawn).tolist(),
        "crowd": crowd,
        "iou": np.nan_to_num(shared).tolist(),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(value) + "\n")


if __name__ == "__main__":
    main()
