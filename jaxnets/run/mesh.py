"""Which device holds what: the batch is split, the state is on every device.

Or, for a population, the other way round: its members are split, the batch is on every
device.

One device and many run the same code, in one process: XLA inserts the sums across
devices, so a mean over the batch, batch norm's too, is over the whole of it. Several
processes, which `jax.distributed.initialize` connects, are refused: checkpoints and
records are written by one process only.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from jaxnets.run.folder import RunError


def refuse_many_processes() -> None:
    """Raises where JAX runs as several processes that are connected to each other.

    Raises:
        RunError: If there is more than one: every one of them would write the same
            folder, and checkpoints would be lost.
    """
    if (count := jax.process_count()) > 1:
        raise RunError(
            f"JAX runs as {count} processes, and a run takes one: it splits each batch "
            "over all devices of its machine. Start one process, without "
            "jax.distributed.initialize()"
        )


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis, `data`, over these devices or all there are."""
    chosen = list(jax.devices()) if devices is None else list(devices)
    # Auto: XLA decides how intermediates are split. Newer versions of JAX would make
    # the axis explicit by default.
    return Mesh(np.array(chosen), ("data",), axis_types=(AxisType.Auto,))


def members_mesh(members: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of one axis, `members`, over as many devices as split them evenly."""
    chosen = list(jax.devices()) if devices is None else list(devices)
    count = max(n for n in range(1, len(chosen) + 1) if members % n == 0)
    return Mesh(np.array(chosen[:count]), ("members",), axis_types=(AxisType.Auto,))


def state_sharding(mesh: Mesh) -> NamedSharding:
    """How a state lies on a mesh.

    Whole on every device; that of a population is split by members, where those are
    the mesh's axis.
    """
    members = mesh.axis_names == ("members",)
    return NamedSharding(mesh, PartitionSpec("members") if members else PartitionSpec())


def place_state(mesh: Mesh, state: Any) -> Any:
    """Places a state as `state_sharding` says."""
    sharding = state_sharding(mesh)
    return jax.tree.map(lambda leaf: _put(leaf, sharding), state)


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device, whole."""
    return NamedSharding(mesh, PartitionSpec())


def check_batch(mesh: Mesh | AbstractMesh, batch_size: int) -> None:
    """Raises unless the batch splits evenly, where it is to be split.

    Raises:
        RunError: Naming the sizes that would do.
    """
    if mesh.axis_names == ("data",) and batch_size % mesh.size:
        raise RunError(uneven(batch_size, mesh.size))


def uneven(batch_size: int, devices: int, name: str = "a batch of") -> str:
    """Says that a batch does not split over the devices, and which sizes do."""
    lower = batch_size // devices * devices
    return (
        f"{name} {batch_size} does not split over {devices} devices: use "
        f"{f'{lower} or ' if lower else ''}{lower + devices}"
    )


def split_rows(mesh: Mesh, tree: Any, *, axis: int = 0) -> Any:
    """Places host arrays with their axis `axis` split over the devices.

    Arrays without that axis go to every device, and so do all where the devices have
    members of a population in place of rows.
    """
    if mesh.axis_names != ("data",):
        return everywhere(mesh, tree)

    def placed(leaf: Any) -> jax.Array:
        rows = np.ndim(leaf) > axis
        spec = PartitionSpec(*(None,) * axis, "data") if rows else PartitionSpec()
        return _put(leaf, NamedSharding(mesh, spec))

    return jax.tree.map(placed, tree)


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """Places every array, whole, on every device."""
    sharding = replicated(mesh)
    return jax.tree.map(lambda leaf: _put(leaf, sharding), tree)


def _put(leaf: Any, sharding: NamedSharding) -> jax.Array:
    return jax.device_put(leaf, sharding)
