"""Likelihoods and figures of models with a latent code, after their training."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from jaxnets import files
from jaxnets.data.feeds.density import DensityFeeds, codes
from jaxnets.ops.distributions import Likelihood, bits_per_dimension
from jaxnets.run.session import Run
from jaxnets.tasks.variational import Judged

_SHOWN = 10  # images in a row
_REACH = 3.0  # standard deviations of the prior to either side
_ACTIVE = 0.01  # Burda et al., 2015, https://arxiv.org/abs/1509.00519, section 5


def likelihoods(
    judged: Judged, shape: tuple[int, int, int], likelihood: Likelihood, samples: int
) -> dict[str, float | int]:
    """What the judged images are worth: bounds in nats per image, with their errors.

    Args:
        judged: Of `run.predict(data.judged)`.
        shape: Of an image.
        likelihood: Of the model.
        samples: How many draws the bound is of.

    Returns:
        `elbo` and `bound` (both of log p, so higher is better), with the standard
        error of each mean over the images; the ELBO's parts; bits per dimension of the
        bound; `active_units`, numbers of the code whose posterior mean varies
        (Burda et al.).
    """
    elbo, bound = (np.asarray(x, np.float64) for x in (judged.elbo, judged.bound))
    bits = bits_per_dimension(
        -float(bound.mean()), int(np.prod(shape)), density=likelihood.density
    )
    flat = np.asarray(judged.code, np.float64).reshape(len(elbo), -1)
    return {
        "images": len(elbo),
        "elbo": float(elbo.mean()),
        "elbo_error": _error(elbo),
        f"bound_{samples}": float(bound.mean()),
        f"bound_{samples}_error": _error(bound),
        "reconstruction": -float(np.mean(judged.reconstruction, dtype=np.float64)),
        "kl": float(np.mean(judged.kl, dtype=np.float64)),
        "bits_per_dimension": float(bits),
        "active_units": int((flat.var(axis=0) > _ACTIVE).sum()),
    }


def each_image(run: Run, judged: Judged) -> None:
    """Saves what every judged image is worth in `judged.json`: `elbo` and `bound`.

    Two models are compared image by image: what images have in common cancels.
    """
    if not run.output.writes:
        return
    rows = {n: getattr(judged, n).astype(float).tolist() for n in ("elbo", "bound")}
    run.output.write("judged.json", files.dump_json(rows) + "\n")


def figures(run: Run, data: DensityFeeds, judged: Judged, seed: int = 0) -> None:
    """Saves reconstructions, samples and what the code means.

    Samples are expected images, not draws of their pixels. Where codes are flat, there
    are interpolations, traversals and, for two numbers, the latent plane; where they
    have steps, the steps.

    Args:
        run: Whose folder it goes to.
        data: That the model was trained on.
        judged: Of `data.judged`.
        seed: Of the codes of samples.
    """
    from jaxnets.plots import generated as plots  # matplotlib takes a second to import

    shape, count = judged.code.shape[1:], len(judged.image)
    flat = np.asarray(judged.code).reshape(count, -1)
    with run.optional("the picture of reconstructions"):
        _reconstructions(run, plots, data, judged)
    with run.optional("the pictures of samples"):
        normal = np.random.default_rng(seed).standard_normal((_SHOWN**2, *shape))
        drawn = run.predict(codes(normal))
        title = "codes of the prior: expected images"
        run.figure("samples", plots.sheet, drawn.image, _SHOWN, title=title)
        if drawn.drawing is not None:
            _step_figures(run, plots, judged, drawn)
    with run.optional("the picture of codes"):
        if count > _SHOWN:
            plane = flat if flat.shape[1] == 2 else embedded(flat, seed)
            title = "codes of test images" + ("" if flat.shape[1] == 2 else ", t-SNE")
            labels = data.dataset.test.columns["label"][np.arange(count)]
            classes = data.dataset.classes
            run.figure("codes", plots.scatter, plane, labels, classes, title=title)
    with run.optional("the pictures of what the code means"):
        if len(shape) == 1:
            _flat_figures(run, plots, flat)


def embedded(code: Float[np.ndarray, "n z"], seed: int = 0) -> Float[np.ndarray, "n 2"]:
    """Codes in the plane, neighbours near each other.

    Van der Maaten & Hinton, "Visualizing data using t-SNE", JMLR 9, 2008,
    https://jmlr.org/papers/v9/vandermaaten08a.html.
    """
    from sklearn.manifold import TSNE  # takes a second to import

    perplexity = min(30.0, (len(code) - 1) / 3)
    init = "pca" if code.shape[1] > 2 else "random"
    tsne = TSNE(init=init, random_state=seed, perplexity=perplexity)
    return tsne.fit_transform(np.asarray(code, np.float64))


def interpolated(
    ends: Float[np.ndarray, "n z"], steps: int
) -> Float[np.ndarray, "m t z"]:
    """Lines from the first code to the second, from the third to the fourth, ..."""
    share = np.linspace(0, 1, steps)[None, :, None]
    first, second = ends[0::2, None, :], ends[1::2, None, :]
    return first + (second - first) * share


def traversed(
    code: Float[np.ndarray, " z"], units: np.ndarray, steps: int
) -> Float[np.ndarray, "u t z"]:
    """One number at a time from -3 to 3, everything else as in `code`."""
    found = np.tile(code, (len(units), steps, 1))
    for row, unit in enumerate(units):
        found[row, :, unit] = np.linspace(-_REACH, _REACH, steps)
    return found


def plane_codes(side: int) -> Float[np.ndarray, "n 2"]:
    """A grid over the plane in which every cell has the same prior probability.

    Kingma & Welling, 2013, https://arxiv.org/abs/1312.6114, figure 4. Row by row, from
    the top: the second number falls, the first one rises.
    """
    places = ndtri((np.arange(side) + 0.5) / side)
    across, down = np.meshgrid(places, places[::-1])
    return np.stack([across.ravel(), down.ravel()], axis=1)


def _reconstructions(run: Run, plots: Any, data: DensityFeeds, judged: Judged) -> None:
    images = np.asarray(judged.image)
    originals = data.dataset.test.columns["image"][np.arange(len(images))] / 255
    parts = [
        some[start : start + _SHOWN]
        for start in (0, _SHOWN)
        for some in (originals, images)
    ]
    title = "test images, and below each what its code decodes to"
    run.figure("reconstructions", plots.sheet, _rows(parts), _SHOWN, title=title)


def _flat_figures(run: Run, plots: Any, flat: np.ndarray) -> None:
    steps = _SHOWN
    lines = interpolated(flat[: 2 * min(8, len(flat) // 2)], steps)
    made = run.predict(codes(lines.reshape(-1, flat.shape[1]))).image
    title = "from one test image's code to another's"
    run.figure("interpolations", plots.sheet, made, steps, title=title)
    variance = flat.var(axis=0)
    units = np.argsort(-variance)[:_SHOWN]
    walks = traversed(flat[0], units, steps)
    made = run.predict(codes(walks.reshape(-1, flat.shape[1]))).image
    title = f"numbers of one code, from -{_REACH:g} to {_REACH:g}"
    labels = [f"z{unit + 1}" for unit in units]
    run.figure("traversals", plots.sheet, made, steps, title=title, labels=labels)
    if flat.shape[1] == 2:
        side = 20
        made = run.predict(codes(plane_codes(side))).image
        title = "the latent plane, at equal shares of the prior"
        run.figure("plane", plots.sheet, made, side, title=title)


def _step_figures(run: Run, plots: Any, judged: Judged, drawn: Any) -> None:
    few, drawing = 6, drawn.drawing
    title = "codes of the prior: the canvas after every step, and where it wrote"
    windows = None if drawing.written is None else drawing.written[:few]
    run.figure("drawing", plots.strips, drawing.frames[:few], windows, title=title)
    seen = judged.drawing
    if seen is not None and seen.read is not None:
        title = "test images: the canvas after every step, and where it had read"
        shown = seen.frames[:few], seen.read[:few]
        run.figure("reading", plots.strips, *shown, title=title, colour="#0072B2")


def _rows(parts: list[np.ndarray]) -> np.ndarray:
    """Rows of a mosaic; short ones are filled up with grey."""
    rows = []
    for part in parts:
        missing = _SHOWN - len(part)
        grey = np.full((missing, *part.shape[1:]), 0.5)
        rows.append(np.concatenate([part, grey]))
    return np.concatenate(rows)


def _error(values: np.ndarray) -> float:
    """The standard error of the mean; NaN for one value."""
    count = len(values)
    return float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
