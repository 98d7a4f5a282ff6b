"""What does an autoencoder lose without the divergence from its prior?

    uv run experiments/studies/vae_without_kl.py
    uv run experiments/studies/vae_without_kl.py --data fashion_mnist --data-dir DIR

Claim: trained on the reconstruction alone (beta = 0), an autoencoder reconstructs as
well or better, and its samples fall apart, because no code of the prior was ever
decoded. Trains `vae` both ways, everything else being equal, and asks a classifier of
this project for the Frechet distance between expected images of 10,000 codes of the
prior and the test images, both grey; that of training images is the floor. Distances
compare within one data set and one judge only. Writes
`runs/vae_without_kl/DATA.png`, with the samples of the first seed, and a table
`DATA.md`. A run that is there already is not trained again.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments import vae
from jaxnets import files
from jaxnets.analysis.distances import frechet_distance
from jaxnets.data.feeds.density import codes
from jaxnets.data.named import labelled_images
from jaxnets.evaluation import evaluator as judges
from jaxnets.plots import generated
from jaxnets.plots.parts import png
from jaxnets.ranges import Count
from jaxnets.run import loop
from jaxnets.run.command import study
from jaxnets.run.repeated import result_of
from jaxnets.run.restoring import restored

FOLDER = Path("runs/vae_without_kl")
BETAS = {"with KL": 1.0, "without KL": 0.0}
_SHOWN = 16  # images in a row
_PART = 1000  # codes decoded at a time


def main(
    config: vae.Config, seeds: Count = 3, count: Count = 10_000
) -> dict[str, list[dict[str, float]]]:
    """Returns what was measured, by name, a dictionary for every seed.

    Args:
        config: Configuration of every run, except for its beta and seed.
        seeds: Runs with and without the divergence each, from seed 0.
        count: Images on each side of a distance; fewer if the data has fewer.
    """
    data = labelled_images(config.data, data_dir=config.data_dir)
    name = files.safe_name(Path(config.data).name)
    real, known = (part.columns["image"] for part in (data.test, data.train))
    count = min(count, len(real), len(known))
    judge = judges.judge(data, say=print)
    features = judge(real[np.arange(count)]).features
    floor = frechet_distance(judge(known[np.arange(count)]).features, features)
    found: dict[str, list[dict[str, float]]] = {}
    pictures = [real[np.arange(2 * _SHOWN)] / 255]
    for kind, beta in BETAS.items():
        for seed in range(seeds):
            path = FOLDER / f"{name}-{beta:g}-{seed}"
            hyper = config.hyper._replace(beta=beta)
            one = dataclasses.replace(config, hyper=hyper, seed=seed)
            test = result_of(vae.main, one, path)["test"]
            drawn = imagined(vae, one, path, count, (config.latent,))
            scores = {n: test[n] for n in ("reconstruction", "kl", "loss")}
            distance = frechet_distance(judge(drawn).features, features)
            found.setdefault(kind, []).append({**scores, "frechet": distance})
            if seed == 0:
                pictures.append(drawn[: 2 * _SHOWN])
    title = (
        f"{name}: {seeds} seeds from 0, {count} images on each side of a distance; "
        f"judge {judge.digest[:8]}, accuracy {judge.accuracy:.2%}; floor {floor:.3f}"
    )
    table = _table(title, found)
    print(table)
    files.write(FOLDER / f"{name}.md", table + "\n")
    png(_figure(name, np.concatenate(pictures)), FOLDER / f"{name}.png")
    return found


def _figure(name: str, images: np.ndarray) -> Any:
    """Two rows of test images, and two of each kind."""
    return generated.sheet(
        images,
        _SHOWN,
        title=f"{name}: expected images of codes of the prior, with and without the KL",
        labels=["test images", "", *(k for kind in BETAS for k in (kind, ""))],
    )


def _table(title: str, found: dict[str, list[dict[str, float]]]) -> str:
    """The means over the seeds, a row for each kind, in Markdown."""
    lines = [
        title,
        "",
        "| | reconstruction, nats | KL, nats | Frechet distance |",
        "| --- | --- | --- | --- |",
    ]
    for kind, scores in found.items():
        columns = ("reconstruction", "kl", "frechet")
        means = (np.mean([s[column] for s in scores]) for column in columns)
        lines.append(f"| {kind} | " + " | ".join(f"{m:.2f}" for m in means) + " |")
    return "\n".join(lines)


def imagined(
    experiment: Any, config: Any, path: Path, count: int, shape: tuple[int, ...]
) -> np.ndarray:
    """Expected images of codes of the prior, by the model of a finished run.

    Args:
        experiment: The module, `vae` or `draw`.
        config: Of the run.
        path: Its folder.
        count: How many.
        shape: Of a code.
    """
    data = experiment.load(config)
    learner = experiment.build(config, data)
    normal = np.random.default_rng(0).standard_normal((count, *shape))
    images: list[np.ndarray] = []
    parts = range(0, count, _PART)  # frames of a drawing are many; they are not kept
    state, _ = restored(path, learner, data.train)
    for i in parts:
        made = loop.predict(learner, state, codes(normal[i : i + _PART]))
        images.append(made.image)
    return np.concatenate(images)


if __name__ == "__main__":
    study(main)
