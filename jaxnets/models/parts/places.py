"""Where a decoder looked before, so that it can look elsewhere, or beside it.

Attention follows from hidden units and annotations, and neither says where it has been:
a captioner that names all objects of an image names some of them twice, and of "left
of" it knows nothing but what it could squeeze into its hidden units. Here the weights
alpha_s of the words so far take part in those of the next one, t. Kept are, for every
location i of `l`,

- their sum, as the linguistic coverage of Tu, Lu, Liu, Liu & Li, "Modeling coverage for
  neural machine translation", 2016, https://arxiv.org/abs/1601.04811, section 3.1.1;
- `count` maps that a gate decides to keep, M^k_t = (1 - g^k_t) M^k_{t-1} + g^k_t
  alpha_t, with g_t = sigmoid(W_g h + b_g) from the hidden units that alpha_t follows
  from, and M_0 even. So a Neural Turing machine interpolates its attention with where
  it was (Graves, Wayne & Danihelka, 2014, https://arxiv.org/abs/1410.5401, equation 7).
  A gate that closes keeps a place, whatever was looked at since.

The hidden layer of additive attention is given both through a matrix, as previous
alignments are in Chorowski et al., "Attention-based models for speech recognition",
2015, https://arxiv.org/abs/1506.07503, equation 9. An object covers several locations,
so where these have positions x_i a look at one counts at its neighbours too, as there:
by exp(-|x_i - x_j|^2 / 2 r^2) with a learned reach r, in place of a learned kernel.

With positions a map also has a place, p^k = sum_i M^k_i x_i. The hidden layer sees
x_i - p^k, so "to the left of what I spoke of" is one linear unit; the context is joined
by the place that was looked at and by how far it lies from each p^k.

Departures: coverage is not normalised by fertility; a gate is of a whole map.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnets.models.parts.blocks import Dense
from jaxnets.models.parts.precision import float32_or_wider

_REACH = 0.25  # at first; a cell of a grid of 8x8 is so wide


class Looked(NamedTuple):
    """Where a decoder has looked; one row a sentence."""

    total: Float[Array, "r l"]  # the weights of all words so far
    maps: Float[Array, "r k l"]  # each sums to 1


class Terrain(NamedTuple):
    """Where the locations of all images are; the same for every word."""

    where: Float[Array, "l x"]  # x_i
    near: Float[Array, "k l l"]  # how much a look at one counts at another
    offset: Float[Array, "l e"]  # the share of x_i in what attention compares


class Places(nn.Module):
    """Maps of where attention was, and what follows from them; see the module.

    For hidden units of width d, attention of width e and positions of two numbers:
    (3 k + 1) e + (d + 2) k + 1 parameters; without positions 2 k e less.

    Attributes:
        count: Maps, k.
        features: Width of the attention's hidden layer, e.
        dtype: Of the products.
    """

    count: int
    features: int
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Names the layers."""
        init, shape = nn.initializers.lecun_normal(), (self.count + 1, self.features)
        self.coverage = self.param("coverage", init, shape, jnp.float32)
        near = nn.initializers.constant(_REACH)
        self.reach = self.param("reach", near, shape[:1], jnp.float32)
        self.offset = Dense(self.features, use_bias=False, dtype=self.dtype)
        self.gate = Dense(self.count, dtype=self.dtype)

    def start(self, rows: int, locations: int) -> Looked:
        """Before the first word: nothing was looked at, and the maps are even."""
        kind = float32_or_wider(self.dtype)
        even = jnp.full((rows, self.count, locations), 1 / locations, kind)
        return Looked(jnp.zeros((rows, locations), kind), even)

    def terrain(self, where: Float[Array, "l x"]) -> Terrain:
        """What follows from the position of each location alone."""
        square = jnp.sum((where[:, None] - where[None]) ** 2, axis=-1)
        near = jnp.exp(-square[None] / (2 * self.reach[:, None, None] ** 2))
        return Terrain(where, near, self.offset(jnp.tile(where, (1, self.count))))

    def hint(self, looked: Looked, terrain: Terrain | None) -> Float[Array, "r l e"]:
        """What the hidden layer of attention is given of each location.

        Args:
            looked: So far.
            terrain: None where locations have no positions.
        """
        seen = jnp.concatenate([looked.total[:, None], looked.maps], axis=1)
        if terrain is not None:
            seen = jnp.einsum("rkl,klm->rkm", seen, terrain.near)
        seen, kernel = seen.astype(self.dtype), self.coverage.astype(self.dtype)
        # Few numbers by many: as sums they are fused with the tanh that follows, as a
        # product they are not.
        hint = seen[:, 0, :, None] * kernel[None, None, 0]
        for k in range(1, self.count + 1):
            hint = hint + seen[:, k, :, None] * kernel[None, None, k]
        if terrain is None:
            return hint
        # Linear in x_i - p^k, and the share of x_i is the same for all sentences.
        places = self.offset(_places(looked, terrain))
        return hint + terrain.offset[None] - places[:, None]

    def relative(
        self, weights: Float[Array, "r l"], looked: Looked, terrain: Terrain
    ) -> Float[Array, "r m"]:
        """The place that is looked at, and how far it is from that of each map."""
        here = weights @ terrain.where.astype(weights.dtype)
        apart = jnp.tile(here, (1, self.count)) - _places(looked, terrain)
        return jnp.concatenate([here, apart], axis=-1)

    def after(
        self, looked: Looked, weights: Float[Array, "r l"], h: Float[Array, "r d"]
    ) -> Looked:
        """The maps and the sum once this place was looked at."""
        new = weights.astype(looked.total.dtype)
        gate = jax.nn.sigmoid(self.gate(h)).astype(new.dtype)[:, :, None]
        maps = looked.maps + gate * (new[:, None] - looked.maps)
        return Looked(looked.total + new, maps)


def _places(looked: Looked, terrain: Terrain) -> Float[Array, "r m"]:
    """The places p^k, side by side."""
    flat = looked.maps.reshape(-1, looked.maps.shape[-1])
    return (flat @ terrain.where.astype(flat.dtype)).reshape(len(looked.maps), -1)
