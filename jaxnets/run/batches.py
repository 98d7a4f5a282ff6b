"""Batch sizes that split over the devices of a machine."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from jaxnets.run.folder import RunError
from jaxnets.run.mesh import uneven


def for_devices(
    config: Any, arguments: Sequence[str], say: Callable[[str], None] = print
) -> Any:
    """Returns the configuration with a batch size that splits over all devices.

    A default is rounded to the nearest multiple of the number of devices, and that is
    said. What the user has asked for is refused instead.

    Args:
        config: A frozen dataclass; without a field `batch_size`, or with 0 in it (all
            examples), it is returned as it is.
        arguments: Of the command line.
        say: Where the rounding is reported.

    Raises:
        RunError: If `--batch-size` is given and does not split.
    """
    size, devices = getattr(config, "batch_size", 0), len(jax.devices())
    if size % devices == 0:
        return config
    if any(a.split("=")[0] in ("--batch-size", "--batch_size") for a in arguments):
        raise RunError(uneven(size, devices, "--batch-size"))
    rounded = rounded_to(size, devices)
    say(
        f"--batch-size {rounded}: the default of {size} does not split over {devices} "
        "devices"
    )
    return dataclasses.replace(config, batch_size=rounded)


def rounded_to(size: int, devices: int) -> int:
    """The multiple of `devices` nearest to `size`, the smaller of two; never 0."""
    lower = size // devices * devices
    return lower if lower and size - lower <= devices / 2 else lower + devices
