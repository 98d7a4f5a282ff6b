"""Makes torchvision_nets.npz: what torchvision's detectors find, and what they lose.

Needs torch and torchvision with its compiled operators, which the tests do not:

    PYTHONPATH=. python tests/golden/detectors/torchvision_nets.py

Faster and Mask R-CNN (ResNet-50, pyramid) with weights by the rule of
`tests/golden/networks/fill.py`, scaled so that scores are spread: no two of an image
are closer than 1e-3, so that rounding flips no choice. Computed in float64, so that the
differences that the tests see are this side's own. Two images of different size, of a
side that torchvision's own resizing leaves alone. Training losses are of the images on
squares, and of all anchors and all regions: nothing is left to chance.
"""

from pathlib import Path

import numpy as np

from tests.golden.networks.fill import fill, images

FILE = Path(__file__).with_suffix(".npz")
NAMES = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn")
CLASSES = 10  # without the background
SIZES = ((96, 128), (128, 96))  # height and width
BEST, MOST, FOUND = 200, 100, 20  # anchors of a level, proposals, detections
MASKS = 3  # detections whose pasted masks are kept
# Of the two images: boxes [y0, x0, y1, x1], and labels from 0.
BOXES = (
    ((10.0, 20.0, 50.0, 70.0), (30.0, 60.0, 90.0, 120.0)),
    ((5.0, 4.0, 100.0, 60.0), (60.0, 40.0, 90.0, 95.0)),
)
LABELS = ((3, 7), (0, 9))
# How large weights are: offsets near 0.3 move boxes without tearing them.
SCALES = {
    "rpn.head.cls_logits": 0.5,
    "rpn.head.bbox_pred": 0.02,
    "box_predictor.cls_score": 0.25,
    "box_predictor.bbox_pred": 0.15,
}


def weight(name, shape):
    """The array of this name in the state_dict."""
    scale = next((s for part, s in SCALES.items() if part in name), 0.8)
    return fill(name, shape, scale)


def pictures():
    """The two images, `[h, w, 3]` in [-1, 1)."""
    made = (images(f"detection {i}", 1, max(s), 3)[0] for i, s in enumerate(SIZES))
    return [image[: s[0], : s[1]] for image, s in zip(made, SIZES, strict=True)]


def masks(i):
    """The masks of the objects of an image: ellipses in their boxes."""
    y, x = np.mgrid[: SIZES[i][0], : SIZES[i][1]] + 0.5
    return np.stack(
        [
            ((2 * y - a - c) / (c - a)) ** 2 + ((2 * x - b - d) / (d - b)) ** 2 < 1
            for a, b, c, d in BOXES[i]
        ]
    )


def canvas(arrays):
    """Arrays `[h, w, ...]` in the upper left corners of squares of one size."""
    side = max(max(size) for size in SIZES)
    made = np.zeros((len(arrays), side, side, *arrays[0].shape[2:]), arrays[0].dtype)
    for row, array in zip(made, arrays, strict=True):
        row[: array.shape[0], : array.shape[1]] = array
    return made


def main():
    import torch
    from torchvision.models import resnet50
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
    from torchvision.ops.misc import FrozenBatchNorm2d

    torch.set_default_dtype(torch.float64)
    xy = [1, 0, 3, 2]
    tensor = lambda p: torch.from_numpy(p.transpose(2, 0, 1).copy()).double()
    inputs = [tensor(picture) for picture in pictures()]
    squares = [tensor(picture) for picture in canvas(pictures())]
    drawn = canvas([masks(i).transpose(1, 2, 0) for i in range(len(SIZES))])
    found = {}
    for name, kind in zip(NAMES, (FasterRCNN, MaskRCNN), strict=True):
        body = resnet50(weights=None, norm_layer=FrozenBatchNorm2d)
        network = kind(
            _resnet_fpn_extractor(body, 5),
            num_classes=1 + CLASSES,
            min_size=96,
            max_size=160,
            image_mean=[0.0] * 3,
            image_std=[1.0] * 3,
            rpn_pre_nms_top_n_test=BEST,
            rpn_post_nms_top_n_test=MOST,
            rpn_pre_nms_top_n_train=BEST,
            rpn_post_nms_top_n_train=MOST,
            rpn_batch_size_per_image=100_000,
            box_batch_size_per_image=100_000,
            box_detections_per_img=FOUND,
        )
        state = {
            key: torch.from_numpy(weight(key, tuple(value.shape))).double()
            for key, value in network.state_dict().items()
        }
        network.load_state_dict(state)
        targets = [
            {
                "boxes": torch.tensor(BOXES[i]).double()[:, xy],
                "labels": torch.tensor(LABELS[i]) + 1,
                "masks": tensor(drawn[i]).to(torch.uint8),
            }
            for i in range(len(SIZES))
        ]
        with torch.no_grad():
            network.transform.min_size = squares[0].shape[1:2]
            losses = network(squares, targets)
            network.transform.min_size = (96,)
            rows = network.eval()(inputs)
        for key, value in losses.items():
            found[f"{name} {key}"] = value.numpy()
        for i, row in enumerate(rows):
            found[f"{name} {i} boxes"] = row["boxes"].numpy()[:, xy]
            found[f"{name} {i} scores"] = row["scores"].numpy()
            found[f"{name} {i} label"] = row["labels"].numpy() - 1
            print(name, i, "gap", np.abs(np.diff(row["scores"].numpy())).min())
            if "masks" in row:
                few = row["masks"].numpy()[:MASKS, 0]
                found[f"{name} {i} masks"] = few.astype(np.float32)
        print({key: float(value) for key, value in losses.items()})
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
