"""Weights in and out of a network, as torch names and lays them out.

A torch `state_dict` that was saved as safetensors, or as NumPy's npz, loads into the
matching network, and a network is written back as one. Networks that torchvision has go
by torchvision's names; the others by their own, joined by dots, with torch's words for
the leaves (`weight`, `running_mean`). What wrappers put in front of every name, for
example `_orig_mod.`, `module.` or `state_dict.model.`, is left out, and said.

Nothing is ever unpickled: a `.pth` file, which may run any code when it is opened, is
refused. Names and shapes are compared before any number is read, so that a lying header
cannot make this process allocate more than the network itself.
"""

import math
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import PyTree

from jaxnets import files
from jaxnets.errors import UserError
from jaxnets.models.torch_names import torch_names, torchvision_name
from jaxnets.types import Variables

Address = tuple[str, ...]
Reader = Callable[[str], np.ndarray]

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "embedding": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
# Counts that torch keeps beside the weights: of the batches that a norm has seen, which
# it does not use by default, and of the models in an average (`AveragedModel`).
_COUNTERS = ("num_batches_tracked", "n_averaged")
# The layer that has a row for each class: the first of these that a network has. The
# auxiliary classifiers' have one as well.
_HEADS = ("output", "fc8", "conv10", "mlpconv3_3", "predictor")
_AUXILIARY_HEADS = ("aux1/fc2", "aux2/fc2", "mask_head/logits")
_CONVERT = """{name} is a pickle, which can run any code when it is opened. Convert it \
once, where torch is installed:
    import torch, safetensors.torch
    safetensors.torch.save_file(torch.load({old!r}, weights_only=True), {new!r})"""


class WeightsError(UserError, ValueError):
    """The file does not hold this network's weights; the message says where not."""


def load(
    model: nn.Module, variables: Variables, path: str | Path, *, new_head: bool = False
) -> Variables:
    """The variables of `model` with the numbers of a file of torch's names.

    Args:
        model: The network.
        variables: As `functional.init` drew them, or their shapes.
        path: A `.safetensors` or `.npz` file.
        new_head: Whether the layers with a row for each class keep what `variables`
            holds, whatever the file has for them: another number of classes, say.

    Raises:
        WeightsError: If a name of either side is missing on the other, a shape differs,
            the numbers are no floats, or the file is missing, of another kind, or
            damaged.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".npz"):
        if path.suffix in (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"):
            new = str(path.with_suffix(".safetensors"))
            raise WeightsError(_CONVERT.format(name=path.name, old=str(path), new=new))
        raise WeightsError(f"{path.name} is neither .safetensors nor .npz")
    if not path.is_file():
        raise WeightsError(f"there is no file {path}")
    try:
        if path.suffix == ".npz":
            shapes = _npz_shapes(path)
            with np.load(path, allow_pickle=False) as file:
                return _fill(model, variables, shapes, file.__getitem__, new_head)
        with safetensors.safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            for name, x in slices.items():
                if str(x.get_dtype()).startswith("F8"):
                    raise WeightsError(
                        f"{name} holds {x.get_dtype()}: convert the file to float32"
                    )
            shapes = {name: tuple(x.get_shape()) for name, x in slices.items()}
            return _fill(model, variables, shapes, file.get_tensor, new_head)
    except (safetensors.SafetensorError, zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{path.name} is damaged: {error}") from error


def save(model: nn.Module, variables: Variables, path: str | Path) -> None:
    """Writes the variables so that `load`, and torch, read the same numbers.

    In torch: `network.load_state_dict(safetensors.torch.load_file(path))`.

    Raises:
        WeightsError: If `path` ends neither in `.safetensors` nor in `.npz`.
    """
    path, arrays = Path(path), to_torch(model, variables)
    if path.suffix == ".safetensors":
        files.write(path, safetensors.numpy.save(arrays))
    elif path.suffix == ".npz":
        files.write_with(path, lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]
    else:
        raise WeightsError(f"{path.name} is neither .safetensors nor .npz")


def from_torch(
    model: nn.Module,
    variables: Variables,
    state_dict: Mapping[str, np.ndarray],
    *,
    new_head: bool = False,
) -> Variables:
    """As `load`, from arrays in memory."""
    shapes = {name: tuple(array.shape) for name, array in state_dict.items()}
    return _fill(model, variables, shapes, state_dict.__getitem__, new_head)


def to_torch(model: nn.Module, variables: Variables) -> dict[str, np.ndarray]:
    """The variables under torch's names, in torch's layout."""
    return {
        slot.name: np.ascontiguousarray(_transposed(slot.path, np.asarray(slot.leaf)))
        for slot in _slots(model, variables)
    }


def torch_shapes(model: nn.Module, variables: Variables) -> dict[str, tuple[int, ...]]:
    """What `to_torch` would return, shapes only: `variables` may be shapes as well."""
    return {slot.name: _torch_shape(slot) for slot in _slots(model, variables)}


def head_mask(params: PyTree) -> PyTree:
    """True for the parameters of layers with a row for each class, else False.

    For an optimizer that trains the head faster than the backbone.
    """
    paths = flatten_dict(params)
    heads = _heads(paths)
    return unflatten_dict({path: _is_head(path, heads) for path in paths})


class _Slot(NamedTuple):
    """One array of a network."""

    collection: str
    path: Address
    leaf: Any
    name: str  # torch's


def _slots(model: nn.Module, variables: Variables) -> list[_Slot]:
    layer_name = torch_names(model)
    slots = []
    for collection, tree in {"params": variables.params, **variables.buffers}.items():
        for path, leaf in flatten_dict(tree).items():
            layer = layer_name("/".join(path[:-1]))
            name = f"{layer}.{_LEAVES.get(path[-1], path[-1])}"
            slots.append(_Slot(collection, path, leaf, name))
    return slots


def _fill(
    model: nn.Module,
    variables: Variables,
    shapes: Mapping[str, tuple[int, ...]],
    read: Reader,
    new_head: bool,  # noqa: FBT001
) -> Variables:
    slots = _slots(model, variables)
    source = _canonical(model, shapes, {slot.name for slot in slots})
    heads = _heads(slot.path for slot in slots) if new_head else ()
    kept = {slot.name for slot in slots if _is_head(slot.path, heads)}
    wanted = {slot.name: _torch_shape(slot) for slot in slots if slot.name not in kept}
    found = {name: tuple(shapes[old]) for name, old in source.items()}
    both = wanted.keys() & found.keys()
    _refuse(
        model,
        missing=[f"{name} {wanted[name]}" for name in wanted if name not in found],
        unused=[
            f"{name} {found[name]}" for name in found if name not in {*wanted, *kept}
        ],
        misshapen=[
            f"{name} is {found[name]}, not {wanted[name]}"
            for name in wanted
            if name in both and found[name] != wanted[name]
        ],
        hint=_hint(model, shapes, wanted),
    )
    trees: dict[str, dict[Address, Any]] = {}
    for slot in slots:
        leaf = slot.leaf
        if slot.name not in kept:
            array = read(source[slot.name])
            if not jnp.issubdtype(array.dtype, jnp.floating):
                raise WeightsError(f"{slot.name} holds {array.dtype}, not floats")
            with np.errstate(over="ignore"):  # what is too large is refused below
                array = array.astype(leaf.dtype)
            if not np.isfinite(array).all():
                raise WeightsError(f"{slot.name} holds NaN or infinity as {leaf.dtype}")
            leaf = jnp.asarray(_transposed(slot.path, array, back=True))
        trees.setdefault(slot.collection, {})[slot.path] = leaf
    whole = {name: unflatten_dict(tree) for name, tree in trees.items()}
    return Variables(whole.pop("params", {}), whole)


def _refuse(model: nn.Module, *, hint: str, **complaints: list[str]) -> None:
    lines = [
        f"  {what}, {len(names)}: {', '.join(names[:8])}{', ...' * (len(names) > 8)}"
        for what, names in complaints.items()
        if names
    ]
    if lines:
        name = type(model).__name__
        raise WeightsError(
            "\n".join([f"not the weights of this {name}:", *lines, hint])
        )


def _heads(paths: Iterable[Address]) -> tuple[str, ...]:
    layers = {path[0] for path in paths if path}
    return (*[head for head in _HEADS if head in layers][:1], *_AUXILIARY_HEADS)


def _is_head(path: Address, heads: Sequence[str]) -> bool:
    layer = "/".join(path)
    return any(layer.startswith(f"{head}/") for head in heads)


def _torch_shape(slot: _Slot) -> tuple[int, ...]:
    shape = tuple(slot.leaf.shape)
    if slot.path[-1] != "kernel":
        return shape
    return (*shape[:-3:-1], *shape[:-2])  # out, in, and the rest as it is


def _transposed(path: Address, array: np.ndarray, *, back: bool = False) -> np.ndarray:
    """HWIO to OIHW and IO to OI, or back; everything else as it is."""
    if path[-1] != "kernel":
        return array
    axes = range(array.ndim)
    to_torch = (*axes[:-3:-1], *axes[:-2])
    return array.transpose(np.argsort(to_torch) if back else to_torch)


def _canonical(
    model: nn.Module, names: Iterable[str], own: Collection[str]
) -> dict[str, str]:
    """This network's name for an array, to the file's; says what it leaves out.

    Args:
        model: The network.
        names: Of the file.
        own: The network's names.

    Raises:
        WeightsError: If two of the file's names mean the same array.
    """
    counters = [name for name in names if name.rpartition(".")[2] in _COUNTERS]
    arrays = [name for name in names if name not in set(counters)]
    prefix = _wrapper(arrays, own)
    _say(prefix, counters)
    canonical: dict[str, str] = {}
    for old in arrays:
        name = torchvision_name(model, old.removeprefix(prefix))
        if name in canonical:
            raise WeightsError(f"{old} and {canonical[name]} both mean {name}")
        canonical[name] = old
    return canonical


def _wrapper(names: Sequence[str], own: Collection[str]) -> str:
    """What every name of a file begins with and the network's own names do not.

    Wrappers add it: torch.compile `_orig_mod.`, DataParallel and AveragedModel
    `module.`, Lightning `model.`, nested dictionaries `state_dict.`. A prefix that only
    some names have stays: the others would have to be left out.
    """
    prefix = ""
    while True:
        parts = {name.removeprefix(prefix).partition(".")[:2] for name in names}
        first, dot = parts.pop() if len(parts) == 1 else ("", "")
        if not dot or all(name.startswith(f"{first}.") for name in own):
            return prefix
        prefix += f"{first}."


def _say(prefix: str, counters: Sequence[str]) -> None:
    """Prints what is left out of a file: a prefix, and torch's counters."""
    found = [f"the prefix {prefix} of every name"] if prefix else []
    if counters:
        kinds = sorted({name.rpartition(".")[2] for name in counters})
        found.append(f"{len(counters)} counters of torch ({', '.join(kinds)})")
    if found:
        print(f"weights: left out {' and '.join(found)}", flush=True)  # noqa: T201


def _hint(model: nn.Module, names: Iterable[str], wanted: Mapping[str, Any]) -> str:
    """What to do with a file that does not fit."""
    beginnings = {name[: i + 1] for name in names for i in _dots(name)}
    for prefix in sorted(beginnings, key=lambda p: (len(p), p)):
        inner = [n.removeprefix(prefix) for n in names if n.startswith(prefix)]
        if wanted.keys() <= {torchvision_name(model, name) for name in inner}:
            return f"the names that begin with {prefix} fit: save only those in a file"
    return "another number of classes needs a new head: ask for it (new_head)"


def _dots(name: str) -> list[int]:
    return [i for i, sign in enumerate(name) if sign == "."]


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as stream:
                try:
                    version = np.lib.format.read_magic(stream)
                    reader = getattr(
                        np.lib.format, f"read_array_header_{version[0]}_{version[1]}"
                    )
                    shape, _, dtype = reader(stream)
                except (ValueError, AttributeError) as error:
                    raise WeightsError(f"{entry.filename}: {error}") from error
                size = stream.tell() + math.prod(shape) * dtype.itemsize
                if dtype.hasobject or size != entry.file_size:
                    raise WeightsError(f"{entry.filename} is no plain array of {shape}")
            shapes[entry.filename.removesuffix(".npy")] = tuple(shape)
    return shapes
