"""Fast R-CNN: an image is looked at once, and every region is read from its map.

Girshick, "Fast R-CNN", 2015, https://arxiv.org/abs/1504.08083, section 2. Where objects
may be is said by something else: windows, another network, a file. Region features are
pooled from one map (`roi_pool`), a head of dense layers says a class, or none, and
moves the box.

Checkable: 134,690,729 parameters of `fast_rcnn_vgg16` for the 20 classes of VOC.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.backbone import Backbone
from jaxnets.models.parts.region_heads import BoxHead, BoxPredictor
from jaxnets.models.vgg import vgg16
from jaxnets.ops.roi import roi_pool


class FastRCNN(nn.Module):
    """A backbone, and what is said of regions of its map.

    Attributes:
        classes: Without the background.
        backbone: From images to maps, of which there is one.
        box_head: From the features of a region to a vector.
        side: Cells along each side of what the head sees of a region.
        dtype: Of the features; logits and offsets are float32 or wider.
    """

    classes: int
    backbone: nn.Module
    box_head: nn.Module
    side: int = 7
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
            train: Whether norms use the batch.
        """
        (x,) = self.backbone(image, train=train)
        cells, scale = (self.side, self.side), x.shape[1] / image.shape[1]

        def pooled(one: tuple[Array, Array]) -> Array:
            return roi_pool(*one, cells, scale=scale)

        # Image by image: the regions of all at once take too much memory.
        seen = jax.lax.map(pooled, (x, jax.lax.stop_gradient(regions)))
        x = self.box_head(seen.reshape(-1, *seen.shape[2:]))
        logits, offsets = BoxPredictor(
            self.classes, dtype=self.dtype, name="predictor"
        )(x)
        rows = regions.shape[:2]
        return logits.reshape(*rows, -1), offsets.reshape(*rows, -1, 4)


def fast_rcnn_vgg16(classes: int = 20, **options: Any) -> FastRCNN:
    """The paper's largest network: 134,690,729 parameters for 20 classes.

    Departure: no dropout. `options` are attributes of `FastRCNN`.
    """
    defaults = {
        "backbone": Backbone(vgg16(), ("conv5_3",)),
        "box_head": BoxHead(4096),
    }
    return FastRCNN(classes, **{**defaults, **options})
