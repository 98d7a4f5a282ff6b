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
much surer. The last column is the Frechet distance between expected images of codes
of the prior and grey test images, as `vae_without_kl` measures it. A run that is there
already is not trained again.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from experiments import draw, vae
from experiments.studies.vae_without_kl import imagined
from jaxnets import files
from jaxnets.analysis.distances import frechet_distance
from jaxnets.data.feeds.density import Binarise
from jaxnets.data.named import labelled_images
from jaxnets.evaluation import evaluator as judges
from jaxnets.plots.parts import png
from jaxnets.plots.runs import comparison
from jaxnets.ranges import Count, CountOrZero, Seed, within
from jaxnets.run.command import study
from jaxnets.run.repeated import result_of

FOLDER = Path("runs/likelihoods")


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared, and on what."""

    # data set: digits, glyphs, a folder of CLASS/name.png, or a TFDS set
    data: str = "glyphs"
    # folder of prepared TFDS sets; None: $TFDS_DATA_DIR or ~/tensorflow_datasets
    data_dir: Path | None = None
    # binarisation of the pixels; static: drawn once, dynamic: drawn at each step,
    # threshold: 1 from 128 on, none: bytes
    binarise: Binarise = "static"
    samples: Count = 5  # codes of each training image in importance-weighted training
    steps: Count = 16  # steps in which DRAW draws an image
    vae_epochs: Count = 60  # passes over the training split, for both autoencoders
    draw_epochs: Count = 20  # passes over the training split, for DRAW
    # number of test images whose bound of log p(x) is reported
    judged: Annotated[int, within(2)] = 500
    # samples of each image for the reported bound of log p(x)
    bound_samples: Count = 1000
    # codes drawn from the prior for the Frechet distance; 0: no distance
    imagined: CountOrZero = 10_000
    seeds: Count = 1  # runs of each model
    first_seed: Seed = 0  # seed of the first run of each model


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
    names = f"model | seed | ELBO | {bound}-sample bound | to the VAE | minutes"
    rows = [f"| {names} | Frechet |", "| --- | --- | --- | --- | --- | --- | --- |"]
    apart = distance(config)
    found: dict[str, list[float]] = {}
    first: dict[int, np.ndarray] = {}
    count = 0
    for model, (experiment, plain) in runs(config).items():
        for seed in range(config.first_seed, config.first_seed + config.seeds):
            path = FOLDER / f"{name}-{'-'.join(model.replace(',', '').split())}-{seed}"
            one = dataclasses.replace(plain, seed=seed)
            result_of(experiment.main, one, path)
            each = files.read_json(path / "judged.json")
            elbo, many = (np.array(each[part]) for part in ("elbo", "bound"))
            more, count = many - first.setdefault(seed, many), len(many)
            cells = [model, str(seed), *(spread(x) for x in (elbo, many, more))]
            cells += [f"{minutes(path):.1f}", apart(experiment, one, path)]
            rows.append(f"| {' | '.join(cells)} |")
            found.setdefault(model, []).append(float(many.mean()))
    note = (
        f"{name}, {config.binarise} binarisation, seed 0; nats per image, mean and "
        f"standard error over {count} test images."
    )
    print("\n".join([*rows, "", note]))
    files.write(FOLDER / f"{name}.md", "\n".join([*rows, "", note]) + "\n")
    title = f"{name}, {config.binarise} binarisation: log p(x) is at least"
    figure = comparison(found, label=f"{bound}-sample bound, nats", title=title)
    png(figure, FOLDER / f"{name}.png")
    return found


def distance(config: Config) -> Callable[[Any, Any, Path], str]:
    """From an experiment, its configuration and its run to a Frechet distance."""
    if not config.imagined:
        return lambda experiment, one, path: ""
    data = labelled_images(config.data, data_dir=config.data_dir)
    judge, real = judges.judge(data, say=print), data.test.columns["image"]
    count = min(config.imagined, len(real))
    features = judge(real[np.arange(count)]).features

    def apart(experiment: Any, one: Any, path: Path) -> str:
        shape = (one.steps, one.latent) if experiment is draw else (one.latent,)
        drawn = imagined(experiment, one, path, count, shape)
        return f"{frechet_distance(judge(drawn).features, features):.3f}"

    return apart


def spread(values: np.ndarray) -> str:
    """Mean and standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ± {error:.2f}" if error else f"{values.mean():.2f}"


def minutes(path: Path) -> float:
    """How long a run took to train, compilation and validation included."""
    last = (path / "timing.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    return json.loads(last)["seconds"] / 60


if __name__ == "__main__":
    study(main)
