"""What do importance weighting and drawing in steps add to the likelihood?

    uv run experiments/studies/likelihoods.py
    uv run experiments/studies/likelihoods.py --data fashion_mnist --data-dir DIR

Claims: training on the bound of several samples gives a better model than training on
the evidence lower bound (Burda, Grosse & Salakhutdinov, 2015,
https://arxiv.org/abs/1509.00519, table 1); a model that draws in steps gives a better
one still (Gregor et al., 2015, https://arxiv.org/abs/1502.04623, table 1). Trains a
one-layer autoencoder, the same with importance weighting, and DRAW on the same binary
images, and compares bounds of log p(x) on the same test images. Writes
`runs/likelihoods/DATA.md`, a table, and `DATA.png`. Beside each bound stands the
standard error over images; differences to the first model are image by image, which is
much surer. A run that is there already is not trained again.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments import draw, vae
from jaxnets import files, plots
from jaxnets.data.binarised import Binarise
from jaxnets.run.session import Verbs

FOLDER = Path("runs/likelihoods")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared, and on what."""

    data: str = "glyphs"  # digits, glyphs, a folder, or a TFDS set
    data_dir: Path | None = None  # where prepared TFDS sets are
    binarise: Binarise = "static"  # of seed 0
    samples: int = 5  # of importance-weighted training
    steps: int = 16  # of DRAW
    vae_epochs: int = 60  # of both autoencoders
    draw_epochs: int = 20  # of DRAW, each of which takes longer
    judged: int = 500  # test images
    bound_samples: int = 1000  # of the bound
    seeds: int = 1  # runs of each, from seed 0
    first_seed: int = 0  # of the first of them


def runs(config: Config) -> dict[str, tuple[Any, Any]]:
    """Name to the experiment and its configuration, but for the seed."""
    shared = {
        n: getattr(config, n)
        for n in ("data", "data_dir", "binarise", "judged", "bound_samples")
    }
    one = vae.Config(epochs=config.vae_epochs, **shared)
    weighted = dataclasses.replace(one, samples=config.samples)
    drawn = draw.Config(epochs=config.draw_epochs, steps=config.steps, **shared)
    return {
        "VAE": (vae, one),
        f"VAE, {config.samples} samples": (vae, weighted),
        f"DRAW, {config.steps} steps": (draw, drawn),
    }


def main(config: Config) -> dict[str, list[float]]:
    """Returns the bound of many samples, by model, a number a seed."""
    name, bound = files.safe_name(Path(config.data).name), f"{config.bound_samples:,}"
    header = f"| model | seed | ELBO | {bound}-sample bound | to the VAE | minutes |"
    rows = [header, "| --- | --- | --- | --- | --- | --- |"]
    found: dict[str, list[float]] = {}
    first: dict[int, np.ndarray] = {}
    count = 0
    for model, (experiment, plain) in runs(config).items():
        for seed in range(config.first_seed, config.first_seed + config.seeds):
            path = FOLDER / f"{name}-{'-'.join(model.replace(',', '').split())}-{seed}"
            if not (path / "result.json").exists():
                one = dataclasses.replace(plain, seed=seed)
                experiment.main(one, Verbs(run_dir=path))
            each = json.loads((path / "judged.json").read_text())
            elbo, many = (np.array(each[part]) for part in ("elbo", "bound"))
            apart = many - first.setdefault(seed, many)
            count = len(many)
            cells = [model, str(seed), *(spread(x) for x in (elbo, many, apart))]
            rows.append(f"| {' | '.join(cells)} | {minutes(path):.1f} |")
            found.setdefault(model, []).append(float(many.mean()))
    note = (
        f"{name}, {config.binarise} binarisation, seed 0; nats per image, mean and "
        f"standard error over {count} test images."
    )
    print("\n".join([*rows, "", note]))
    files.write(FOLDER / f"{name}.md", "\n".join([*rows, "", note]) + "\n")
    title = f"{name}, {config.binarise} binarisation: log p(x) is at least"
    figure = plots.comparison(found, label=f"{bound}-sample bound, nats", title=title)
    plots.png(figure, FOLDER / f"{name}.png")
    return found


def spread(values: np.ndarray) -> str:
    """Mean and standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ± {error:.2f}" if error else f"{values.mean():.2f}"


def minutes(path: Path) -> float:
    """How long a run took to train, compilation and validation included."""
    last = (path / "timing.jsonl").read_text().splitlines()[-1]
    return json.loads(last)["seconds"] / 60


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
