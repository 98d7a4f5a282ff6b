"""A folder of photographs: how long until a batch is there, how many a second, in what?

    uv run benchmarks/folders.py --counts 2000 10000
    uv run benchmarks/folders.py --photos FOLDER --torch PYTHON --out folders.json

Large folders are made at once, of hard links to a few hundred photographs: those of
`--photos`, or drawn ones of 440 x 450 pixels. Each line is a process of its own, so its
peak memory is what it says. The first start decodes and keeps, the second reads what
was kept; streamed decodes at each use. `--torch` names a Python that has torchvision:
its `ImageFolder` and `DataLoader`, with a worker for each core, do the same.
Only ratios of lines that ran beside each other mean something on a shared machine.
"""

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image

from jaxnets.data.feeds.images import image_feeds
from jaxnets.data.files.class_folders import image_folder

SIDE, BATCH, CLASSES = 224, 64, 10
WAYS = ("kept, first start", "kept, second start", "streamed, second start")

TORCH = """
import json, os, resource, sys, time
import torch
try:
    import torchvision
except RuntimeError:
    torch.library.define(
        "torchvision::nms", "(Tensor dets, Tensor scores, float threshold) -> Tensor"
    )
    import torchvision
from torchvision import transforms as T

folder, side, batch, seconds = sys.argv[1], *map(int, sys.argv[2:])
began = time.perf_counter()
change = T.Compose([T.Resize(side), T.CenterCrop(side), T.PILToTensor()])
data = torchvision.datasets.ImageFolder(folder, change)
loader = torch.utils.data.DataLoader(
    data, batch, shuffle=True, drop_last=True, num_workers=os.cpu_count()
)
count, first = 0, None
while first is None or time.perf_counter() - first < seconds:
    for images, labels in loader:
        if first is None:
            first = time.perf_counter()
        else:
            count += len(images)
        if time.perf_counter() - first > seconds:
            break
rate = count / (time.perf_counter() - first)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peak += os.cpu_count() * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"start": first - began, "rate": rate, "peak": peak / 1024}))
"""


@dataclasses.dataclass(frozen=True)
class Config:
    """What is measured."""

    # numbers of files
    counts: tuple[int, ...] = (2000, 10_000)
    # folder of JPEG files to make folders of; None: drawn ones
    photos: Path | None = None
    # Python with torchvision, to be measured beside; None: not measured
    torch: Path | None = None
    # folder for the files and what is kept; None: a temporary one
    work: Path | None = None
    seconds: int = 10  # of delivering batches
    # file of the results, as JSON; None: only printed
    out: Path | None = None
    # measure one way in this process, which prints JSON: for the command itself
    one: tuple[str, Path] | None = None


def one(way: str, folder: Path, seconds: int) -> dict[str, float]:
    """A start and some batches of one way."""
    began = time.perf_counter()
    keep = "streamed" if way.startswith("streamed") else "kept"
    data = image_folder(folder, size=(SIDE, SIDE), keep=keep)
    feed = image_feeds(data, batch_size=BATCH, seed=0).train
    feed.fetch(0)
    first, count = time.perf_counter(), 0
    while time.perf_counter() - first < seconds:
        count += 1
        feed.fetch(count)
    rate = count * BATCH / (time.perf_counter() - first)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"start": first - began, "rate": rate, "peak": peak}


def drawn(folder: Path, count: int = 200) -> None:
    """Photographs of nothing: smooth colours with some noise, about 50 kB each."""
    folder.mkdir(parents=True)
    for i in range(count):
        random = np.random.default_rng(i)
        coarse = Image.fromarray(random.integers(0, 256, (9, 9, 3), np.uint8))
        smooth = np.asarray(coarse.resize((440, 450), Image.Resampling.BICUBIC))
        noisy = smooth + random.normal(0, 9, smooth.shape)
        pixels = noisy.clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg", quality=85)


def linked(photos: list[Path], folder: Path, count: int) -> None:
    """A folder of classes with so many hard links to photographs."""
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    for i in range(count):
        source, label = photos[i % len(photos)], i % CLASSES
        os.link(source, folder / f"class{label}" / f"{i:07d}.jpg")


def measured(command: list[str]) -> dict[str, float]:
    """What a process prints in its last line."""
    found = subprocess.run(  # noqa: S603 - made here
        command, check=True, stdout=subprocess.PIPE
    )
    return json.loads(found.stdout.splitlines()[-1])


def main(config: Config) -> list[dict[str, Any]]:
    """Measures every way at every size, and prints a table."""
    if config.one is not None:
        print(json.dumps(one(*config.one, config.seconds)))
        return []
    work = Path(tempfile.mkdtemp(prefix="jaxnets-", dir=config.work))
    try:
        photos = config.photos
        if photos is None:
            photos = work / "photos"
            drawn(photos)
        files = sorted(photos.glob("**/*.jpg"))
        if config.photos:  # hard links need the same disk
            (work / "photos").mkdir()
            files = [shutil.copy(f, work / "photos" / f.name) for f in files]
        rows = []
        print("| files | way | s to the first batch | images a second | peak MiB |")
        print("|---|---|---|---|---|")
        for count in config.counts:
            folder = work / f"{count}"
            linked([Path(file) for file in files], folder, count)
            seconds = str(config.seconds)
            again = [sys.executable, __file__, "--seconds", seconds, "--one"]
            ways = {way: [*again, way, str(folder)] for way in WAYS}
            if config.torch:
                shape = [str(SIDE), str(BATCH), seconds]
                python = [str(config.torch), "-c", TORCH, str(folder)]
                ways["torchvision"] = python + shape
            for way, command in ways.items():
                found = {"files": count, "way": way, **measured(command)}
                rows.append(found)
                print(
                    f"| {count:,} | {way} | {found['start']:.2f} "
                    f"| {found['rate']:.0f} | {found['peak']:.0f} |",
                    flush=True,
                )
            shutil.rmtree(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if config.out:
        config.out.write_text(json.dumps(rows, indent=1) + "\n")
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config))
