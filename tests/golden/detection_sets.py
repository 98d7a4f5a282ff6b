"""Random detection sets, with crowds, ties, shared edges of areas and empty images.

Corners are multiples of a quarter, so that boxes as corners and as sides are the same
numbers, and overlaps meet thresholds exactly now and then.
"""

import numpy as np


def random_set(seed):
    """Objects and detections of a few images, as lists of dictionaries."""
    random = np.random.default_rng(seed)
    images, classes = int(random.integers(1, 7)), int(random.integers(1, 5))
    side = int(random.choice([40, 100, 300]))
    truth, detections = [], []
    for image in range(images):
        own = []
        for _ in range(random.integers(0, 9)):
            box = _box(random, side)
            label = int(random.integers(classes))
            area = (box[2] - box[0]) * (box[3] - box[1])
            area = area * random.choice([1, 0.5]) if random.random() < 0.3 else area
            crowd = bool(random.random() < 0.2)
            own.append((box, label))
            truth.append(
                {
                    "image": image,
                    "box": box.tolist(),
                    "label": label,
                    "crowd": crowd,
                    "area": float(area),
                }
            )
        for _ in range(random.integers(0, 30)):
            box, label = _box(random, side), int(random.integers(classes))
            if own and random.random() < 0.8:
                box, label = own[random.integers(len(own))]
                box = box + random.integers(-8, 9, 4) / 4 * random.choice([0, 1, 2])
                box[2:] = np.maximum(box[2:], box[:2] + 1)
                if random.random() < 0.1:
                    label = int(random.integers(classes))
            score = random.integers(1, 11) / 10 if seed % 2 else random.random()
            detections.append(
                {
                    "image": image,
                    "box": box.tolist(),
                    "label": label,
                    "score": float(score),
                }
            )
    return {
        "images": images,
        "classes": classes,
        "side": side,
        "truth": truth,
        "detections": detections,
    }


def of_case(case):
    """A set of average_precision.json, whose boxes are x, y, width and height."""

    def row(entry):
        x, y, width, height = entry[2]
        return {
            "image": case["images"].index(entry[0]),
            "label": case["classes"].index(entry[1]),
            "box": [y, x, y + height, x + width],
        }

    truth = [
        {**row(t), "crowd": bool(t[3:] and t[3]), "area": t[2][2] * t[2][3]}
        for t in case["truth"]
    ]
    found = [{**row(d), "score": d[3]} for d in case["detections"]]
    return {
        "images": len(case["images"]),
        "classes": len(case["classes"]),
        "side": 128,
        "truth": truth,
        "detections": found,
    }


def _box(random, side):
    corner = random.integers(0, 4 * side - 40, 2) / 4
    sides = random.integers(4, 4 * min(side - corner.max(), 120) + 1, 2) / 4
    if random.random() < 0.1:
        sides = np.array([32.0, 32.0])  # between small and medium
    return np.concatenate([corner, corner + sides])
