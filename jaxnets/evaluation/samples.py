"""Samples of a generator: frames through training, their animation, final figures.

Each frame is a PNG in the folder `frames/NAME`, named after its step. A resumed run
finds the frames from before, and makes the last ones again with the same bits.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jaxnets import files
from jaxnets.run.session import Run

_COUNT = "images"  # the PNG text that says how many there are
_SHOWN = 64  # samples in the figure at the end


def keep(run: Run, name: str, images: Shaped[np.ndarray, "n h w c"]) -> None:
    """Saves images, bytes or in [0, 1], as the frame of the run's present step.

    A run that only reads, with `--evaluate`, saves nothing.

    Raises:
        ValueError: If the name could leave the folder.
    """
    folder_name = files.safe_name(name)
    if not run.output.writes:
        return
    with run.optional(f"the frame of step {run.step} of {name!r}"):
        _write(run.output.path / "frames" / folder_name, run.step, images)


def _write(folder: Path, step: int, images: Shaped[np.ndarray, "n h w c"]) -> None:
    if images.dtype != np.uint8:
        images = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
    column = images.reshape(-1, *images.shape[2:])  # one below the other
    buffer, count = io.BytesIO(), PngInfo()
    count.add_text(_COUNT, str(len(images)))
    grey = column[..., 0] if column.shape[-1] == 1 else column
    Image.fromarray(grey).save(buffer, format="PNG", pnginfo=count)
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / f"{step:09d}.png", buffer.getvalue())


def kept(run: Run, name: str) -> dict[int, UInt8[np.ndarray, "n h w c"]]:
    """Steps to the images of `keep`, whole ones; none where the run only reads."""
    if not run.output.writes:
        return {}
    found = {}
    for path in sorted(_folder(run.output.path, name).glob("*.png")):
        with Image.open(path) as image:
            # Files from before the count was written have square images.
            count = int(image.info.get(_COUNT, image.height // image.width))
            column = np.asarray(image)
        wide = column if column.ndim == 3 else column[..., None]
        found[int(path.stem)] = wide.reshape(count, -1, *wide.shape[1:])
    return found


def animate(run: Run, name: str) -> None:
    """Shows what was kept as figures: a strip, and every step a frame of NAME.gif."""
    from jaxnets.plots import samples  # matplotlib takes half a second to import

    with run.optional(f"the animation {name!r}"):
        frames = kept(run, name)
        if not run.output.writes or not frames:
            return
        run.figure(name, samples.strip, frames)
        columns = max(round(max(map(len, frames.values())) ** 0.5), 1)
        sheets = [samples.tiles(f, columns, scale=2) for f in frames.values()]
        path = run.output.path / "figures" / (files.safe_name(name) + ".gif")
        path.parent.mkdir(exist_ok=True)
        files.write_with(path, lambda file: samples.gif(sheets, file))


def figures(
    run: Run,
    images: Shaped[np.ndarray, "n h w c"],
    shares: Float[np.ndarray, " classes"],
    classes: Sequence[str],
) -> None:
    """Saves the first samples as a square, and the share of each class among all.

    Args:
        run: After training.
        images: Samples, bytes or in [0, 1].
        shares: The share of the samples that the evaluator takes for each class.
        classes: Names of the classes.
    """
    from jaxnets.plots import samples

    run.figure("samples", samples.samples, images[:_SHOWN])
    run.figure("classes", samples.shares, shares, classes)


def _folder(run: Path, name: str) -> Path:
    return run / "frames" / files.safe_name(name)
