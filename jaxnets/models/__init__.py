"""Architectures: one a file, cited; `functional` is the seam to Flax.

`jaxnets.models.zoo` has every classifier as a function. The captioners, which take the
features of any network, can be imported from here; all other names from their own file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxnets.models.parts.caption_decoders import (
        HardAttentionCaptioner,
        SoftAttentionCaptioner,
        VectorCaptioner,
    )

__all__ = ["HardAttentionCaptioner", "SoftAttentionCaptioner", "VectorCaptioner"]


def __getattr__(name: str) -> Any:
    """Returns a captioner; its module is imported only when it is needed."""
    if name in __all__:
        from jaxnets.models.parts import caption_decoders

        return getattr(caption_decoders, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the names of the module, with the captioners."""
    return [*globals(), *__all__]
