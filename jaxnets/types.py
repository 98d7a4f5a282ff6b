"""The nouns every module shares: keys, variables and batches.

Everything that crosses `jit`, `vmap` or `grad` is a `NamedTuple`: JAX rebuilds such
values with placeholder leaves, so they must not validate themselves. Shapes are
checked where functions receive arrays, by jaxtyping, while the tests run.

Shape letters, everywhere: `b` batch, `h w c` image, `t` time, `n` boxes or regions,
`d` features, `z` latent, `classes`, `vocabulary`, `members`.
"""

from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

Key: TypeAlias = PRNGKeyArray
Scalar: TypeAlias = Float[Array, ""]


class Variables(NamedTuple):
    """What a model carries: what gradients change, and what they do not."""

    params: PyTree
    buffers: PyTree  # e.g. batch-norm averages; an empty dict for most models


@runtime_checkable
class Batch(Protocol):
    """Any `NamedTuple` of arrays with one leading axis, and a mask of the real rows."""

    @property
    def mask(self) -> Bool[Array, " b"]:
        """False marks padding, which must count nowhere."""
        ...

    def _replace(self, **fields: Any) -> Any: ...


class ImageBatch(NamedTuple):
    """`b` labelled images."""

    image: Float[Array, "b h w c"]  # in [0, 1] unless the feed normalises
    label: Int[Array, " b"]  # in [0, classes)
    mask: Bool[Array, " b"]  # False marks padding


class DetectionBatch(NamedTuple):
    """`b` images with up to `n` annotated objects each, in any order."""

    image: Float[Array, "b h w c"]  # in [0, 1] unless the feed normalises
    boxes: Float[Array, "b n 4"]  # [y0, x0, y1, x1] in pixels, ends exclusive
    label: Int[Array, "b n"]  # in [0, classes); there is no class of the background
    present: Bool[Array, "b n"]  # False marks padding
    ignore: Bool[Array, "b n"]  # neither learned nor counted: a crowd, a difficult one
    mask: Bool[Array, " b"]  # False marks an image that is padding
    masks: Bool[Array, "b n h w"] | None = None  # which pixels belong to each object


class CodeBatch(NamedTuple):
    """`b` codes of a generative model, to be decoded."""

    code: Float[Array, " b *z"]
    mask: Bool[Array, " b"]  # False marks padding


class CaptionBatch(NamedTuple):
    """`b` images with a sentence each, or in training with `k` sentences `[b k t]`."""

    image: Float[Array, "b h w c"]  # or a grid of features that was computed beforehand
    caption: Int[Array, "b *k t"]  # `<start>`, words, `<end>`, then `<pad>`, which is 0
    mask: Bool[Array, " b"]  # False marks padding


class PairBatch(NamedTuple):
    """`b` sequences and what they are to become; 0 is padding in both."""

    source: Int[Array, "b s"]
    target: Int[Array, "b t"]  # `<start>`, the tokens, `<end>`
    mask: Bool[Array, " b"]  # False marks padding


class StreamBatch(NamedTuple):
    """A chunk each of `b` texts that are read side by side, chunk after chunk."""

    token: Int[Array, "b t"]  # in [0, vocabulary); 0 is `<pad>`, no step at all
    target: Int[Array, "b t"]  # the token after each; 0 counts nowhere
    fresh: Bool[Array, " b"]  # True where the row does not go on from the batch before
    mask: Bool[Array, " b"]  # False marks padding


class TextBatch(NamedTuple):
    """`b` labelled texts."""

    token: Int[Array, "b t"]  # in [0, vocabulary); 0 is `<pad>`, behind the text
    label: Int[Array, " b"]  # in [0, classes)
    mask: Bool[Array, " b"]  # False marks padding
