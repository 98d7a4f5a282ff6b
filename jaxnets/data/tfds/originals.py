"""The files that authors published, read as the examples that TFDS stores of them.

The builders of TFDS read and unpack their downloads through TensorFlow. These functions
need NumPy and Pillow only, and give the same examples under the same keys; TFDS orders
records by a hash of the key, so the records come in the same order too.

LeCun, Cortes & Burges, "The MNIST database", 1998 (the idx format is described there);
Xiao, Rasul & Vollgraf, "Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747;
Clanuwat et al., "Deep learning for classical Japanese literature", 2018 (KMNIST);
Krizhevsky, "Learning multiple layers of features from tiny images", 2009 (CIFAR);
Netzer et al., "Reading digits in natural images", 2011 (SVHN); Howard, "Imagenette".

Departure: `svhn_cropped` comes without its `extra` split (531,131 images, 1.3 GB).
"""

import gzip
import math
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxnets.data.dataset import DataError
from jaxnets.data.files.reading import lines_of

Example = tuple[int | str, dict[str, Any]]  # key, features; images as Pillow holds them
Files = Mapping[str, Path]  # by the name that ends the address


class Examples(NamedTuple):
    """A set as its authors published it."""

    splits: Mapping[str, Iterator[Example]]
    classes: Mapping[str, list[str]]  # of labels whose names are in the download only


class Original(NamedTuple):
    """Where a set comes from and how it is read."""

    urls: tuple[str, ...]
    read: Callable[[Files], Examples]


# The four files in Debian's package dataset-fashion-mnist. They are the published ones,
# byte for byte, but for the gzip header: with the file's name and the time put back
# (1504176606 for the two of train-*, 1504176627 for those of t10k-*) each has the
# SHA-256 that TFDS knows.
SAME_CONTENT = {
    "t10k-images-idx3-ubyte.gz": (
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
    ),
    "train-images-idx3-ubyte.gz": (
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
    ),
    "train-labels-idx1-ubyte.gz": (
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
    ),
}

_IDX = tuple(
    f"{part}-{what}-ubyte.gz"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
)
_IDX_SITES = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "kmnist": "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
}
_CIFAR_SITE = "https://www.cs.toronto.edu/~kriz/"
_SVHN_SITE = "http://ufldl.stanford.edu/housenumbers/"
_IMAGENETTE_SITE = "https://s3.amazonaws.com/fast-ai-imageclas/"
_SHAKESPEARE = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/"
    "input.txt"
)

NAMES = (
    *(*_IDX_SITES, "cifar10", "cifar100", "svhn_cropped", "imagenette"),
    "tiny_shakespeare",
)


def original(name: str, config: str | None) -> Original | None:
    """How to read a set without TensorFlow, where that is known.

    Args:
        name: As TFDS calls it, one of `NAMES`.
        config: Its variant; None is the first.
    """
    if name in _IDX_SITES:
        urls = tuple(_IDX_SITES[name] + file for file in _IDX)
        return Original(urls, _idx_set)
    if name in ("cifar10", "cifar100"):
        file = f"cifar-{name.removeprefix('cifar')}-binary.tar.gz"
        return Original(
            (_CIFAR_SITE + file,), _cifar10 if name == "cifar10" else _cifar
        )
    if name == "svhn_cropped":
        urls = tuple(f"{_SVHN_SITE}{s}_32x32.mat" for s in ("train", "test"))
        return Original(urls, _svhn)
    if name == "imagenette":
        size, _, version = (config or "full-size-v2").partition("-v")
        folder = f"imagenette{version}" + {"full-size": ""}.get(size, f"-{size[:-2]}")
        return Original((f"{_IMAGENETTE_SITE}{folder}.tgz",), _imagenette)
    if name == "tiny_shakespeare":
        return Original((_SHAKESPEARE,), _shakespeare)
    return None


def idx(path: Path) -> np.ndarray:
    """The array in a gzipped idx file of unsigned bytes.

    Raises:
        DataError: If it is not one, or shorter or longer than its header says.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise DataError(f"{path} cannot be unpacked: {error}") from error
    if len(data) < 4 or data[:3] != b"\0\0\x08":  # 8 stands for unsigned bytes
        raise DataError(f"{path} is not an idx file of unsigned bytes")
    start = 4 + 4 * data[3]
    whole = len(data) >= start
    shape = np.frombuffer(data, ">u4", data[3], 4).tolist() if whole else None
    if shape is None or start + math.prod(shape) != len(data):
        raise DataError(f"{path} holds {len(data)} bytes, its header says {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _idx_set(paths: Files) -> Examples:
    def examples(part: str) -> Iterator[Example]:
        images = idx(paths[f"{part}-images-idx3-ubyte.gz"])
        labels = idx(paths[f"{part}-labels-idx1-ubyte.gz"])
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield i, {"image": Image.fromarray(image), "label": int(label)}

    return Examples({"train": examples("train"), "test": examples("t10k")}, {})


def _cifar10(paths: Files) -> Examples:
    (path,) = paths.values()
    folder = "cifar-10-batches-bin"
    batches = [f"{folder}/data_batch_{i}.bin" for i in range(1, 6)]
    members = _members(path, [*batches, f"{folder}/test_batch.bin"])
    names = _lines(path, f"{folder}/batches.meta.txt")
    splits = {
        "train": _cifar_rows(members[:5], "train_", ("label",)),
        "test": _cifar_rows(members[5:], "test_", ("label",)),
    }
    return Examples(splits, {"label": names})


def _cifar(paths: Files) -> Examples:
    (path,) = paths.values()
    folder = "cifar-100-binary"
    members = _members(path, [f"{folder}/train.bin", f"{folder}/test.bin"])
    labels = ("coarse_label", "label")
    return Examples(
        {
            "train": _cifar_rows(members[:1], "train_", labels),
            "test": _cifar_rows(members[1:], "test_", labels),
        },
        {
            "coarse_label": _lines(path, f"{folder}/coarse_label_names.txt"),
            "label": _lines(path, f"{folder}/fine_label_names.txt"),
        },
    )


def _cifar_rows(
    blocks: list[bytes], prefix: str, labels: tuple[str, ...]
) -> Iterator[Example]:
    """A row is one byte a label, then 1,024 bytes each of red, green and blue."""
    rows = np.frombuffer(b"".join(blocks), np.uint8).reshape(-1, len(labels) + 3072)
    for i, row in enumerate(rows):
        planes = row[len(labels) :].reshape(3, 32, 32)
        image = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
        numbers = {label: int(row[at]) for at, label in enumerate(labels)}
        yield i, {"id": f"{prefix}{i:05d}", "image": image, **numbers}


def _svhn(paths: Files) -> Examples:
    from scipy.io import loadmat  # slow to import

    def examples(split: str) -> Iterator[Example]:
        matrices = loadmat(paths[f"{split}_32x32.mat"])
        images = np.moveaxis(matrices["X"], -1, 0)
        for i, (image, label) in enumerate(zip(images, matrices["y"], strict=True)):
            yield (
                i,
                {
                    "id": f"{split}_{i:06d}",
                    "image": Image.fromarray(np.ascontiguousarray(image)),
                    "label": int(label[0]) % 10,  # the file counts the digit 0 as 10
                },
            )

    return Examples({split: examples(split) for split in ("train", "test")}, {})


def _imagenette(paths: Files) -> Examples:
    (path,) = paths.values()

    def examples(part: str) -> Iterator[Example]:
        with tarfile.open(path, "r|*") as archive:  # nothing of it is written to a disk
            for member in archive:
                folders = member.name.removeprefix("./").split("/")
                if len(folders) != 4 or folders[1] != part or not member.isfile():
                    continue
                file = archive.extractfile(member)
                if folders[3].endswith(".JPEG") and file is not None:
                    yield folders[3], {"image": file, "label": folders[2]}

    return Examples({"train": examples("train"), "validation": examples("val")}, {})


def _shakespeare(paths: Files) -> Examples:
    """90, 5 and 5 percent of the characters."""
    (path,) = paths.values()
    text = path.read_text(encoding="utf-8")
    first = int(len(text) * 0.9)
    second = first + int((len(text) - first) * 0.5)
    parts = {
        "train": text[:first],
        "validation": text[first:second],
        "test": text[second:],
    }
    return Examples({s: iter([(s, {"text": part})]) for s, part in parts.items()}, {})


def _members(path: Path, names: list[str]) -> list[bytes]:
    """These files of an archive, in this order, in memory."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for name in names:
                file = archive.extractfile(name)
                if file is not None:
                    found[name] = file.read()
    except (OSError, EOFError, KeyError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{path} does not hold {', '.join(missing)}")
    return [found[name] for name in names]


def _lines(path: Path, name: str) -> list[str]:
    (content,) = _members(path, [name])
    return [line for line in lines_of(content.decode()) if line]
