"""R-CNN: every region is an image of its own.

Girshick, Donahue, Darrell & Malik, "Rich feature hierarchies for accurate object
detection and semantic segmentation", 2014, https://arxiv.org/abs/1311.2524, section 2
and appendices A and C. The pixels of a region, with some context around it, are warped
to one size, and a network for images says a class, or none, and moves the box. So the
work grows with the number of regions; `fast_rcnn` looks at each pixel once.

Departures: classes are told apart by a softmax over features that are trained for it,
not by support vector machines fitted afterwards (Girshick, 2015, section 5.4, finds the
softmax slightly better); boxes are moved by a layer of the same network.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import global_average
from jaxnets.models.parts.region_heads import BoxPredictor
from jaxnets.ops import boxes as box_ops
from jaxnets.ops.roi import roi_align


class RCNN(nn.Module):
    """A network for images, and what it says of regions.

    Attributes:
        classes: Without the background.
        backbone: From images to maps, of which there is one; its mean over the region
            is what classes are told from.
        side: Of the warped regions, in pixels; the paper's is 227.
        context: Pixels of it on each side that show what is around the region; the
            paper's are 16. Zeros are outside of the image.
        dtype: Of the features; logits and offsets are float32 or wider.
    """

    classes: int
    backbone: nn.Module
    side: int = 227
    context: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "b h w c"],
        regions: Float[Array, "b r 4"],
        *,
        train: bool,
    ) -> tuple[Float[Array, "b r _"], Float[Array, "b r _ 4"]]:
        """Returns logits and offsets of the background and the classes.

        Args:
            image: Normalised.
            regions: In pixels.
            train: Whether norms use the batch, which holds all regions.
        """
        crops = warped(image, regions, self.side, self.context)
        (x,) = self.backbone(crops.reshape(-1, *crops.shape[2:]), train=train)
        predictor = BoxPredictor(self.classes, dtype=self.dtype, name="predictor")
        logits, offsets = predictor(global_average(x))
        rows = regions.shape[:2]
        return logits.reshape(*rows, -1), offsets.reshape(*rows, -1, 4)


def warped(
    image: Float[Array, "b h w c"],
    regions: Float[Array, "b r 4"],
    side: int,
    context: int,
) -> Float[Array, "b r s s c"]:
    """The pixels of regions and around them, as squares of one size.

    Args:
        image: Any.
        regions: In pixels.
        side: Of the squares, in pixels.
        context: Of those, on each side, around the region.

    Raises:
        ValueError: If nothing is left of the region.
    """
    if 2 * context >= side:
        raise ValueError(f"a side of {side} pixels has no room for twice {context}")
    grown = box_ops.to_centres(regions)
    sides = grown[..., 2:] * (side / (side - 2 * context))
    grown = box_ops.from_centres(jnp.concatenate([grown[..., :2], sides], -1))
    crop = lambda x, boxes: roi_align(x, boxes, (side, side), scale=1)
    return jax.vmap(crop)(image, jax.lax.stop_gradient(grown))
