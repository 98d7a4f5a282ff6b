"""What bytes are to a likelihood: black and white, or a density; drawn in every step.

Transforms of a feed, `(key, batch) -> batch`, as those of `jaxnets.ops.augment`.
"""

from typing import Any

import jax

from jaxnets.ops.distributions import BYTES
from jaxnets.types import Key


def drawn_pixels(key: Key, batch: Any) -> Any:
    """Pixels of 0 or 1, each 1 with the probability that is its brightness.

    Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks",
    2008, https://doi.org/10.1145/1390156.1390266; fresh in every step, as in Burda et
    al., 2015, https://arxiv.org/abs/1509.00519, section 5.
    """
    draw = jax.random.bernoulli(key, batch.image)
    return batch._replace(image=draw.astype(batch.image.dtype))


def dequantised(key: Key, batch: Any) -> Any:
    """Bytes with uniform noise of a byte's width, over 256: in [0, 1).

    Uria, Murray & Larochelle, "RNADE", 2013, https://arxiv.org/abs/1306.0186, section
    5.1.
    """
    noise = jax.random.uniform(key, batch.image.shape, batch.image.dtype)
    return batch._replace(image=(batch.image * (BYTES - 1) + noise) / BYTES)
