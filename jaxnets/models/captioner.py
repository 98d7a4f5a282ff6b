"""A captioner: a network that looks at an image, and a decoder that writes a sentence.

Xu, Ba, Kiros, Cho, Courville, Salakhutdinov, Zemel & Bengio, "Show, attend and tell:
neural image caption generation with visual attention", 2015,
https://arxiv.org/abs/1502.03044. The annotation vectors of an image (section 3.1.1) are
the cells of a feature grid. The decoders stand in
`jaxnets.models.parts.caption_decoders`.
"""

import flax.linen as nn
from jaxtyping import Array, Float, Int

from jaxnets.models.parts.blocks import Rate
from jaxnets.models.parts.caption_decoders import (
    Attended,
    CaptionDecoder,
    Captioned,
    ImageMemory,
    Speaking,
)
from jaxnets.models.parts.grid import positions


class ImageCaptioner(nn.Module):
    """A network that looks, and one that speaks.

    Attributes:
        encoder: From images to a grid `[b, h, w, d]`, whose cells are the annotations
            row by row, or to a vector `[b, d]`, the only annotation. None: the images
            are such grids or vectors already, computed beforehand.
        decoder: One of `caption_decoders.DECODERS`.
    """

    encoder: nn.Module | None
    decoder: CaptionDecoder

    @property
    def draws(self) -> bool:
        """Whether locations are sampled in training."""
        return self.decoder.draws

    @nn.nowrap
    def sharpened(self, factor: float | int) -> "ImageCaptioner":
        """The same network with `factor` times the `sharpness` of its attention."""
        sharpness = factor * self.decoder.sharpness
        return self.clone(decoder=self.decoder.clone(sharpness=sharpness))

    def annotate(
        self, image: Float[Array, "b ..."], *, train: bool = False
    ) -> tuple[Float[Array, "b l d"], Float[Array, "l 2"] | None]:
        """The annotations of each image, and where in it they are, if they are many.

        Positions are (down, right), from -1 to 1.
        """
        grid = image if self.encoder is None else self.encoder(image, train=train)
        where = positions(grid[:1])[0].reshape(-1, 2) if grid.ndim == 4 else None
        return grid.reshape(grid.shape[0], -1, grid.shape[-1]), where

    def start(self, image: Float[Array, "b ..."]) -> tuple[ImageMemory, Speaking]:
        """What `step` needs of each image."""
        return self.decoder.start(*self.annotate(image))

    def step(
        self, memory: ImageMemory, state: Speaking, token: Int[Array, " r"]
    ) -> tuple[Speaking, Float[Array, "r vocabulary"], Attended]:
        """One word; see the decoder's."""
        return self.decoder.step(memory, state, token)

    def __call__(
        self,
        image: Float[Array, "b ..."],
        token: Int[Array, "b *k t"],
        *,
        train: bool,
        dropout: Rate = 0,
        sampling: Rate = 0,
    ) -> Captioned:
        """Returns the logits after each token; see the decoder's.

        Of `k` captions an image, the first rows of the result are the first image's:
        the image is looked at once, and the captions are rows of their own.
        """
        annotations, where = self.annotate(image, train=train)
        return self.decoder(
            annotations,
            token.reshape(-1, token.shape[-1]),
            where,
            train=train,
            dropout=dropout,
            sampling=sampling,
        )
