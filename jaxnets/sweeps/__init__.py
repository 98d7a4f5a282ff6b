"""Many settings of one experiment: spaces, populations, search, workers.

In a notebook, what a sweep has found is a data frame:

    from jaxnets.sweeps import table
    table("runs/sweeps/classify/TIME-ID")

Names are imported when they are asked for: experiments take their ranges from here, and
a lone run needs no Optuna.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxnets.sweeps.results import curves, rows, table
    from jaxnets.sweeps.space import Choice, IntUniform, LogUniform, Uniform

__all__ = ["Choice", "IntUniform", "LogUniform", "Uniform", "curves", "rows", "table"]


def __getattr__(name: str) -> Any:
    """One of `__all__`, from the module that it lives in."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "space" if name[0].isupper() else "results"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    """What can be asked for."""
    return [*globals(), *__all__]
