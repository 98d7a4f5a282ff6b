"""Architectures: one a file, cited; `functional` is the seam to Flax.

The captioners, which take anybody's features, can be had from here; everything else
is imported from its own file.
"""

from typing import Any

_CAPTIONERS = ("SoftAttentionCaptioner", "HardAttentionCaptioner", "VectorCaptioner")


def __getattr__(name: str) -> Any:
    """A captioner, imported when it is asked for."""
    if name in _CAPTIONERS:
        from jaxnets.models import captioner

        return getattr(captioner, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
