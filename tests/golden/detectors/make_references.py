"""Makes references.npz: torchvision's operators for detection on random boxes.

Run it with an interpreter that has torchvision with its compiled operators:

    python tests/golden/detectors/make_references.py

Boxes are stored as [y0, x0, y1, x1] and images with channels last, as in jaxnets.
Everything is computed in float64, except for anchors, which torchvision rounds in
float32.
"""

from pathlib import Path

import numpy as np
import torch
import torchvision
from torchvision.models.detection import _utils, anchor_utils, roi_heads
from torchvision.ops import boxes as box_ops
from torchvision.ops import roi_align, roi_pool

FILE = Path(__file__).with_name("references.npz")
SIDE, SCALE = 64, 0.25


def turned(boxes):
    """[y0, x0, y1, x1] from [x0, y0, x1, y1], or the reverse; offsets alike."""
    return boxes[..., [1, 0, 3, 2]]


def random_boxes(rng, count, side, longest):
    corner = rng.uniform(-0.1 * side, side, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(2, longest, (count, 2))], -1)
    return torch.from_numpy(boxes.round(2))  # [y0, x0, y1, x1]


def overlaps(rng):
    a, b = random_boxes(rng, 9, 40, 30), random_boxes(rng, 7, 40, 30)
    names = ("box_iou", "generalized_box_iou", "distance_box_iou")
    found = {n: getattr(box_ops, n)(turned(a), turned(b)) for n in names}
    coder = _utils.BoxCoder((10.0, 9.0, 5.0, 4.0))  # dx, dy, dw, dh
    encoded = coder.encode_single(turned(a[:7]), turned(b))
    return {
        "first": a,
        "second": b,
        **found,
        "encoded": turned(encoded),
        "decoded": turned(coder.decode_single(encoded * 3, turned(b))),
        "clipped": turned(box_ops.clip_boxes_to_image(turned(a), (30, 37))),
    }


def suppression(rng):
    boxes = random_boxes(rng, 60, 40, 24)
    scores = torch.from_numpy(rng.permutation(60) / 60)
    classes = torch.from_numpy(rng.integers(0, 3, 60))
    kept = {f"kept_{t}": box_ops.nms(turned(boxes), scores, t) for t in (0.3, 0.5, 0.7)}
    by_class = box_ops.batched_nms(turned(boxes), scores, classes, 0.3)
    given = {"boxes": boxes, "scores": scores, "classes": classes}
    return {**given, **kept, "by_class": by_class}


def regions(rng):
    maps = torch.from_numpy(rng.normal(size=(2, 3, 15, 17)))
    boxes, image = random_boxes(rng, 12, SIDE, 40), rng.integers(0, 2, 12)
    flat = torch.cat([torch.from_numpy(image)[:, None], turned(boxes)], 1)
    found = {"maps": maps.permute(0, 2, 3, 1), "boxes": boxes, "image": image}
    for name, call in (
        ("align", lambda x: roi_align(x, flat, (3, 4), SCALE, 2, aligned=True)),
        ("align_old", lambda x: roi_align(x, flat, (3, 4), SCALE, 2, aligned=False)),
        ("adaptive", lambda x: roi_align(x, flat, (3, 4), SCALE, -1, aligned=True)),
        ("pool", lambda x: roi_pool(x, flat, (3, 4), SCALE)),
    ):
        x = maps.clone().requires_grad_()
        bins = call(x).permute(0, 2, 3, 1)
        weights = torch.cos(torch.arange(bins.numel(), dtype=bins.dtype))
        (bins.reshape(-1) * weights).sum().backward()
        found[name] = bins.detach()
        found[f"{name}_gradient"] = x.grad.permute(0, 2, 3, 1)
    return found


def pasting(rng):
    boxes = random_boxes(rng, 5, 40, 30)
    masks = torch.from_numpy(rng.uniform(size=(5, 6, 6)))
    pasted = roi_heads.paste_masks_in_image(masks[:, None], turned(boxes), (40, 44))
    return {"boxes": boxes, "masks": masks, "pasted": pasted[:, 0].float()}


def anchors():
    generator = anchor_utils.AnchorGenerator(
        ((8, 16, 27), (32, 45, 64)), ((0.5, 1.0, 2.0),) * 2
    )
    images = anchor_utils.ImageList(torch.zeros(1, 3, 24, 33), [(24, 33)])
    maps = [torch.zeros(1, 1, 6, 8), torch.zeros(1, 1, 3, 4)]
    return {"anchors": turned(generator(images, maps)[0])}


def main():
    rng = np.random.default_rng(0)
    parts = {
        "overlaps": overlaps(rng),
        "suppression": suppression(rng),
        "regions": regions(rng),
        "pasting": pasting(rng),
        "anchors": anchors(),
    }
    arrays = {
        f"{part}/{name}": np.asarray(value)
        for part, values in parts.items()
        for name, value in values.items()
    }
    np.savez_compressed(FILE, **arrays)
    print(torchvision.__version__, FILE.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
