"""Faster R-CNN and Mask R-CNN: proposals from the maps that the heads look at.

- Ren, He, Girshick & Sun, "Faster R-CNN: towards real-time object detection with region
  proposal networks", 2015, https://arxiv.org/abs/1506.01497.
- He, Gkioxari, Dollár & Girshick, "Mask R-CNN", 2017,
  https://arxiv.org/abs/1703.06870: a mask for each class beside the box; RoIAlign.
- Lin et al., "Feature pyramid networks", 2017, https://arxiv.org/abs/1612.03144: a
  level of the pyramid for each size of region (equation 1).

A region proposal network says of every anchor whether it is near an object, and how to
move it there. The best of those, without near duplicates, are regions; a head looks at
the maps inside each and names a class, or none, and moves the box once more.

Which regions the heads look at in training is the task's choice: half of them would be
background otherwise. So the network takes a function, `choose`.

Checkable, with torch's names for the same networks: 41,755,286 parameters of
`fasterrcnn_resnet50_fpn` and 44,401,393 of `maskrcnn_resnet50_fpn`, for COCO's 91
categories, the background among them, that is `classes=90`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxnets.models.parts.backbone import Backbone
from jaxnets.models.parts.feature_pyramid import FeaturePyramid
from jaxnets.models.parts.norms import FrozenBatchNorm, GroupNorm
from jaxnets.models.parts.region_heads import (
    BoxHead,
    BoxPredictor,
    MaskHead,
    ProposalHead,
)
from jaxnets.models.parts.residual import BasicBlock, ResidualNetwork
from jaxnets.models.resnet import resnet50
from jaxnets.models.vgg import vgg16
from jaxnets.ops import boxes as box_ops
from jaxnets.ops.anchors import pyramid_anchors
from jaxnets.ops.geometry import Number
from jaxnets.ops.nms import nms_mask
from jaxnets.ops.roi import fpn_level, pyramid_roi_align

Maps: TypeAlias = Sequence[Float[Array, "b _ _ _"]]


class Anchors(NamedTuple):
    """The anchors of every cell; see `jaxnets.ops.anchors`.

    Attributes:
        sizes: Of each level of the pyramid, in pixels.
        ratios: Heights over widths.
        offset: Of the first cell's centre, in strides.
        rounded: Whether half sides are whole pixels.
    """

    sizes: Sequence[Sequence[Number]] = ((32,), (64,), (128,), (256,), (512,))
    ratios: Sequence[Number] = (0.5, 1, 2)
    offset: Number = 0
    rounded: bool = True


class Proposing(NamedTuple):
    """Which anchors become proposals.

    Attributes:
        best: Anchors of each level that are looked at, by their logits: in training,
            and in use.
        most: Proposals of an image, likewise.
        overlap: IoU above which the worse of two of a level is dropped.
        smallest: Sides below this, in pixels, are dropped.
    """

    best: tuple[int, int] = (2000, 1000)
    most: tuple[int, int] = (2000, 1000)
    overlap: float = 0.7
    smallest: float = 1e-3


class Pooling(NamedTuple):
    """How the maps inside a region become features of one size.

    Attributes:
        box_side: Cells along each side of what the head for boxes sees.
        mask_side: Likewise, of the head for masks; its masks have twice the side.
        aligned: Whether cells are half a pixel from where torch's published detectors
            have them; see `jaxnets.ops.roi`.
        samples: Along each side of a cell.
        canonical_size: Side of the regions, in pixels, that look at the level of
            stride 16; half of it, at that of stride 8.
    """

    box_side: int = 7
    mask_side: int = 14
    aligned: bool = True
    samples: int = 2
    canonical_size: Number = 224


class Proposals(NamedTuple):
    """Where objects may be, `p` places an image, the best first."""

    boxes: Float[Array, "b p 4"]
    logits: Float[Array, "b p"]
    present: Bool[Array, "b p"]  # False marks padding


class Regions(NamedTuple):
    """What the heads look at.

    Attributes:
        boxes: In pixels.
        masked: How many of an image's, the first ones, get a mask.
        targets: Whatever whoever chose them knows of them.
    """

    boxes: Float[Array, "b r 4"]
    masked: int = 0
    targets: Any = None


class RegionOutput(NamedTuple):
    """What the network says of a batch of images.

    Attributes:
        maps: Of the pyramid, for `masks`.
        anchors: Of an image.
        anchor_logits: Whether each is near an object.
        anchor_offsets: Of the object from it.
        proposals: Those of the anchors that are worth a look.
        regions: What the heads looked at; the proposals if nobody chose.
        logits: Of the background and the classes, of each region.
        offsets: Of the object from the region, for each of them.
        mask_logits: Of the first regions, as many as were chosen to have a mask; None
            if none were.
    """

    maps: tuple[Array, ...]
    anchors: Float[Array, "a 4"]
    anchor_logits: Float[Array, "b a"]
    anchor_offsets: Float[Array, "b a 4"]
    proposals: Proposals
    regions: Regions
    logits: Float[Array, "b r _"]
    offsets: Float[Array, "b r _ 4"]
    mask_logits: Float[Array, "b m _ _ _"] | None


Choose: TypeAlias = Callable[[Proposals], Regions]


class FasterRCNN(nn.Module):
    """A backbone, a pyramid, proposals, and heads that look at regions.

    Attributes:
        classes: Without the background.
        backbone: From images to maps, fine to coarse.
        pyramid: From those to the maps that all heads look at; None: those themselves.
        box_head: From the features of a region to a vector.
        mask_head: From the features of a region to a mask a class; None: no masks.
        anchors: Of every cell.
        proposing: Which anchors become proposals.
        pooling: How maps become features of a region.
        anchor_logits: Of each anchor: 1, or the paper's 2, of the background first,
            whose difference counts.
        dtype: Of the proposals' convolution.
    """

    classes: int
    backbone: nn.Module
    pyramid: nn.Module | None
    box_head: nn.Module
    mask_head: nn.Module | None = None
    anchors: Anchors = Anchors()
    proposing: Proposing = Proposing()
    pooling: Pooling = Pooling()
    anchor_logits: int = 1
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Names the layers."""
        kinds = len(self.anchors.ratios) * len(self.anchors.sizes[0])
        self.proposal_head = ProposalHead(
            kinds, logits=self.anchor_logits, dtype=self.dtype
        )
        self.predictor = BoxPredictor(self.classes, dtype=self.dtype)

    def __call__(
        self,
        image: Float[Array, "b h w c"],
        choose: Choose | None = None,
        size: Float[Array, "b 2"] | None = None,
        *,
        train: bool,
    ) -> RegionOutput:
        """Looks at images.

        Args:
            image: Normalised.
            choose: Which regions the heads look at; None: the proposals, without masks.
            size: Height and width of what is no padding of each image, in pixels: boxes
                end there. None: all of it.
            train: Whether norms use the batch, and how many proposals there are.

        Raises:
            ValueError: If there is not one set of anchor sizes a level.
        """
        maps = self.backbone(image, train=train)
        if self.pyramid is not None:
            maps = self.pyramid(maps, train=train)
        said = [self.proposal_head(x, train=train) for x in maps]
        pixels = image.shape[1], image.shape[2]
        anchors = pyramid_anchors(
            pixels,
            [(x.shape[1], x.shape[2]) for x in maps],
            self.anchors.sizes,
            self.anchors.ratios,
            offset=self.anchors.offset,
            rounded=self.anchors.rounded,
        )
        if size is None:
            size = jnp.tile(jnp.array([pixels], jnp.float32), (len(image), 1))
        if self.anchor_logits == 2:
            said = [(logits[..., 1:] - logits[..., :1], rest) for logits, rest in said]
        levels = [(logits[..., 0], offsets) for logits, offsets in said]
        proposals = proposed(levels, anchors, size, self.proposing, train=train)
        regions = Regions(proposals.boxes) if choose is None else choose(proposals)
        looked, masked = jax.lax.stop_gradient(regions.boxes), regions.masked
        logits, offsets = self._boxes(maps, looked, pixels)
        masks = None
        if self.mask_head is not None and (masked or self.is_initializing()):
            masks = self.masks(maps, looked[:, : masked or 1], pixels, train=train)
        return RegionOutput(
            tuple(maps),
            jnp.concatenate(anchors),
            jnp.concatenate([logits for logits, _ in levels], 1),
            jnp.concatenate([offsets for _, offsets in levels], 1),
            proposals,
            regions,
            logits,
            offsets,
            masks,
        )

    def masks(
        self,
        maps: Maps,
        regions: Float[Array, "b r 4"],
        pixels: tuple[int, int],
        *,
        train: bool = False,
    ) -> Float[Array, "b r _ _ _"]:
        """The logits of the masks of these regions, `[b, r, side, side, 1 + classes]`.

        Args:
            maps: As the call returned them.
            regions: In pixels.
            pixels: Height and width of the images.
            train: Whether norms use the batch.

        Raises:
            ValueError: If the network has no head for masks.
        """
        if self.mask_head is None:
            raise ValueError("this network has no mask_head")
        seen = self._seen(maps, regions, pixels, self.pooling.mask_side)
        logits = self.mask_head(seen, train=train)
        return logits.reshape(*regions.shape[:2], *logits.shape[1:])

    def _boxes(
        self, maps: Maps, regions: Array, pixels: tuple[int, int]
    ) -> tuple[Array, Array]:
        seen = self._seen(maps, regions, pixels, self.pooling.box_side)
        logits, offsets = self.predictor(self.box_head(seen))
        rows = regions.shape[:2]
        return logits.reshape(*rows, -1), offsets.reshape(*rows, -1, 4)

    def _seen(
        self, maps: Maps, regions: Array, pixels: tuple[int, int], side: int
    ) -> Float[Array, "n s s c"]:
        """The features of all regions of all images, one after the other."""
        strides = [2 ** round(math.log2(pixels[0] / x.shape[1])) for x in maps]
        # The extra level is for proposals alone.
        used = len(maps) - getattr(self.pyramid, "extra", False)
        first, last = (round(math.log2(strides[at])) for at in (0, used - 1))

        def of_image(maps: Sequence[Array], regions: Array) -> Array:
            levels = fpn_level(
                regions,
                lowest=first,
                highest=last,
                canonical_size=self.pooling.canonical_size,
            )
            return pyramid_roi_align(
                maps,
                regions,
                (side, side),
                scales=[1 / stride for stride in strides[:used]],
                levels=levels - first,
                ratio=self.pooling.samples,
                aligned=self.pooling.aligned,
            )

        seen = jax.vmap(of_image)(list(maps[:used]), regions)
        return seen.reshape(-1, *seen.shape[2:])


def proposed(
    levels: Sequence[tuple[Float[Array, "b _"], Float[Array, "b _ 4"]]],
    anchors: Sequence[Float[Array, "_ 4"]],
    size: Float[Array, "b 2"],
    rule: Proposing,
    *,
    train: bool,
) -> Proposals:
    """The best places of the anchors of all levels; nothing here has a gradient.

    Args:
        levels: Logits and offsets of each.
        anchors: Of each.
        size: Height and width of each image, where boxes end.
        rule: Which anchors become proposals.
        train: Whether the numbers for training count.
    """
    best, most = (both[0 if train else 1] for both in (rule.best, rule.most))

    def of_level(
        logits: Array, offsets: Array, given: Array, edge: Array
    ) -> tuple[Array, Array, Array]:
        top, index = jax.lax.top_k(logits, min(best, len(logits)))
        boxes = box_ops.decode(offsets[index], given[index])
        boxes = box_ops.clip(boxes, edge)
        able = box_ops.valid(boxes, smallest_side=rule.smallest)
        keep = nms_mask(boxes, top, threshold=rule.overlap, present=able)
        return boxes, top, keep

    def of_image(said: Sequence[tuple[Array, Array]], edge: Array) -> Proposals:
        found = [
            of_level(logits, offsets, given, edge)
            for (logits, offsets), given in zip(said, anchors, strict=True)
        ]
        boxes, logits, keep = (
            jnp.concatenate(rows) for rows in zip(*found, strict=True)
        )
        ranked = jnp.where(keep, logits, -jnp.inf)
        _, index = jax.lax.top_k(ranked, min(most, len(ranked)))
        present = keep[index]
        # Padding is a box that the heads can look at; its numbers count nowhere.
        whole = jnp.concatenate([jnp.zeros_like(edge), edge])
        return Proposals(
            jnp.where(present[:, None], boxes[index], whole),
            jnp.where(present, logits[index], 0),
            present,
        )

    return jax.lax.stop_gradient(jax.vmap(of_image)(levels, size))


def fasterrcnn_resnet50_fpn(classes: int = 90, **options: Any) -> FasterRCNN:
    """Torchvision's Faster R-CNN: 41,755,286 parameters for 90 classes.

    Published weights fit: those of COCO ("V1") need
    `norm=partial(FrozenBatchNorm, epsilon=0)`.

    Args:
        classes: Without the background.
        **options: `norm` of the backbone, or attributes of `FasterRCNN`.
    """
    norm = options.pop("norm", FrozenBatchNorm)
    stages = ("conv2_3", "conv3_4", "conv4_6", "conv5_3")
    defaults = {
        "backbone": Backbone(resnet50(norm=norm), stages),
        "pyramid": FeaturePyramid(),
        "box_head": BoxHead(),
        "pooling": Pooling(aligned=False),
    }
    return FasterRCNN(classes, **{**defaults, **options})


def maskrcnn_resnet50_fpn(classes: int = 90, **options: Any) -> FasterRCNN:
    """Torchvision's Mask R-CNN: 44,401,393 parameters for 90 classes.

    Arguments are those of `fasterrcnn_resnet50_fpn`.
    """
    options = {"mask_head": MaskHead(classes), **options}
    return fasterrcnn_resnet50_fpn(classes, **options)


def faster_rcnn_vgg16(classes: int = 20, **options: Any) -> FasterRCNN:
    """The paper's network: 137,078,239 parameters for 20 classes.

    One map of stride 16, nine anchors a cell, two logits an anchor. Departures:
    RoIAlign in place of RoIPool; no dropout; suppression looks at the best 2,000
    anchors, not at 12,000, as its memory grows with the square. `options` are
    attributes of `FasterRCNN`.
    """
    defaults = {
        "backbone": Backbone(vgg16(), ("conv5_3",)),
        "pyramid": None,
        "box_head": BoxHead(4096),
        "anchors": Anchors(((128, 256, 512),)),
        "proposing": Proposing(best=(2000, 2000), most=(2000, 300)),
        "anchor_logits": 2,
    }
    return FasterRCNN(classes, **{**defaults, **options})


def small_faster_rcnn(classes: int, **options: Any) -> FasterRCNN:
    """Faster R-CNN for images near 64 pixels, from scratch: group norm throughout.

    Three residual blocks, and of their pyramid the map of stride 4, with nine anchors
    of 12 to 26 pixels in each cell: 1,277,178 parameters for 8 classes.

    Args:
        classes: Without the background.
        **options: Attributes of `FasterRCNN`.
    """
    network = ResidualNetwork(
        classes,
        BasicBlock,
        depths=(1, 1, 1),
        widths=(32, 64, 128),
        stem=2,
        stem_features=32,
        norm=GroupNorm,
    )
    defaults = {
        "backbone": Backbone(network, ("conv3_1", "conv4_1")),
        "pyramid": FeaturePyramid(64, extra=False, levels=1, norm=GroupNorm),
        "box_head": BoxHead(256),
        "anchors": Anchors(((12, 18, 26),), offset=0.5, rounded=False),
        "proposing": Proposing((256, 256), (64, 64)),
    }
    return FasterRCNN(classes, **{**defaults, **options})


def small_mask_rcnn(classes: int, **options: Any) -> FasterRCNN:
    """The same with masks of 14 x 14 cells: 1,368,195 parameters for 8 classes."""
    head = MaskHead(classes, layers=2, features=64, norm=GroupNorm)
    defaults = {"mask_head": head, "pooling": Pooling(mask_side=7)}
    return small_faster_rcnn(classes, **{**defaults, **options})
