"""Captions of an experiment: scores, figures, and the description of one picture."""

import dataclasses
import json
import re
from math import isqrt
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from jaxnets import files
from jaxnets.data.dataset import DataError
from jaxnets.data.feeds.captions import CaptionFeeds, kept_feeds, with_features
from jaxnets.data.feeds.named_captions import Captions
from jaxnets.data.files.problems import FileError
from jaxnets.data.files.reading import read
from jaxnets.data.shapes.dataset import scenes_of
from jaxnets.data.shapes.grammar import caption_is_true
from jaxnets.data.shapes.pointing import described
from jaxnets.models import encoders
from jaxnets.ops.decoding import Sequences
from jaxnets.run.checkpoints import Checkpoints, verify
from jaxnets.run.folder import read_settings
from jaxnets.run.restoring import metadata_of
from jaxnets.run.session import Run
from jaxnets.run.verbs import Describing, Verbs
from jaxnets.scores.captions import caption_scores

ConfigT = TypeVar("ConfigT", bound=Any)  # a dataclass
_SHOWN = 12  # images with captions, mistakes


def grids(weights: Float[np.ndarray, "*b l"]) -> Float[np.ndarray, "*b gh gw"] | None:
    """Attention over the cells of a square grid; None where there is one vector."""
    side = isqrt(weights.shape[-1])
    if side < 2 or side**2 != weights.shape[-1]:
        return None
    return weights.reshape(*weights.shape[:-1], side, side)


def features_of(
    captions: Captions, name: str, layer: str, weights: Path | None
) -> Captions:
    """The captions with features of a published network in place of the images.

    Args:
        captions: With images of one size.
        name: Of the network, in the zoo.
        layer: Whose output is looked at.
        weights: A file of the network's weights; without it, images stay images.
    """
    if weights is None:
        return captions
    side = captions.dataset.train.columns["image"][:1].shape[1]
    model = encoders.encoder(name, layer, side, published=True)
    encode = encoders.frozen(model, encoders.pretrained(model, side, weights))
    made_by = {"encoder": name, "layer": layer, "weights": files.sha256(weights)}
    return with_features(captions, encode, made_by)


def with_photo(config: ConfigT, verbs: Verbs) -> tuple[ConfigT, Path | None]:
    """The picture that is to be described, if there is one; beams describe it.

    Args:
        config: A dataclass with a field `decoding`.
        verbs: As the command line gives them.

    Raises:
        RunError: If it is no file, or nobody is there to describe it.
    """
    photo = verbs.checked().describe if isinstance(verbs, Describing) else None
    if photo is None:
        return config, None
    beams = config.decoding._replace(decode="beam")
    return dataclasses.replace(config, decoding=beams), photo


def kept_data(config: Any, verbs: Verbs) -> CaptionFeeds | None:
    """What a run keeps of its data: enough to describe a picture without that data.

    Args:
        config: Of the run, with the fields of `experiments/caption.py`.
        verbs: With the run's folder.

    Returns:
        None where the run has no intact checkpoint, or one of a version that did not
        keep enough: its data is needed then.

    Raises:
        DataError: If what was kept is no vocabulary.
    """
    path = verbs.evaluate
    kept = _newest_kept(path / "checkpoints") if path else None
    if path is None or kept is None:
        return None
    steps = read_settings(path).get("began", {}).get("steps", 1)
    looks = config.encoder, config.layer, config.weights if config.frozen else None
    return kept_feeds(
        kept,
        config.side,
        max(1, steps // config.epochs),
        lambda captions: features_of(captions, *looks),
    )


def _newest_kept(folder: Path) -> dict[str, Any] | None:
    """Returns the metadata of the newest intact checkpoint; None without one."""
    store = Checkpoints(folder, sweep=False)
    for step in reversed(store.steps()):
        if not verify(folder / str(step)):
            text = (folder / str(step) / "record.json").read_text(encoding="utf-8")
            return metadata_of(json.loads(text)["record"])
    return None


def report(run: Run, data: CaptionFeeds) -> dict[str, dict[str, float]]:
    """Writes captions of the test split: saves the figures, returns the scores.

    Args:
        run: After training.
        data: That the network was trained on.
    """
    made = run.predict(data.test)
    with run.optional("the pictures of captions"):
        figures(run, data, made)
    return scores(data, made)


def scores(data: CaptionFeeds, made: Sequences) -> dict[str, dict[str, float]]:
    """What the best caption of each test image is worth, in groups.

    Args:
        data: That the network was trained on.
        made: What it wrote about the test split.
    """
    best = data.written(np.asarray(made.token)[:, 0])
    references = data.captions.texts["test"]
    found = {"captions": caption_scores(best, references)}
    if data.captions.pictures.name == "shapes":
        seen = grids(np.asarray(made.notes.weights)[:, 0])
        split = data.captions.pictures.test
        found["shapes"] = described(best, references, split, seen)
    return found


def figures(run: Run, data: CaptionFeeds, made: Sequences) -> None:
    """Saves test images with their captions, attention word by word, and mistakes.

    What is a mistake is known of `shapes` only.

    Args:
        run: Whose folder it goes to.
        data: That the network was trained on.
        made: What it wrote about the test split.
    """
    from jaxnets.plots import attention  # matplotlib takes a second to import

    written = np.asarray(made.token)[:, 0]
    best = data.written(written)
    split = data.captions.pictures.test
    some = np.linspace(0, len(best) - 1, _SHOWN).astype(int)
    told = [f"{best[i]}\n\n({data.captions.texts['test'][i][0]})" for i in some]
    images = split.columns["image"][some]
    title = "what it says of test images (and what somebody said)"
    run.figure("captions", attention.captioned, images, told, title=title)
    seen = grids(np.asarray(made.notes.weights)[:, 0])
    if seen is not None:
        chosen = list(some[:6])
        title = "where it looked before each word, and the most on one cell"
        if pixels := encoders.sees(getattr(run.config, "encoder", "")):
            title += f" (a cell sees {pixels} x {pixels} pixels)"
        run.figure(
            "attention",
            attention.looks,
            [split.columns["image"][np.array([i])][0] for i in chosen],
            [data.words(written[i]) for i in chosen],
            [seen[i] for i in chosen],
            title=title,
        )
    if data.captions.pictures.name == "shapes":
        truth = scenes_of(split)
        wrong = np.array(
            [i for i, text in enumerate(best) if not caption_is_true(text, truth[i])],
            int,
        )[:_SHOWN]
        if len(wrong):
            title = "mistakes: what it says is not so"
            images, said = split.columns["image"][wrong], [best[i] for i in wrong]
            run.figure("mistakes", attention.captioned, images, said, title=title)


def describe(run: Run, data: CaptionFeeds, photo: Path) -> None:
    """Says what a picture shows: the caption, other beams, and where it looked.

    The last is a PNG in the current folder, unless the picture is seen as one vector.

    Args:
        run: Restored from a folder.
        data: That its network was trained on.
        photo: A picture file.

    Raises:
        DataError: If the file is no whole, sound image.
    """
    from jaxnets.plots import attention
    from jaxnets.plots.parts import png

    try:
        content = read(photo)
    except FileError as error:
        raise DataError(f"{photo} {error}") from None
    made = run.predict(data.one(content))
    written = np.asarray(made.token)[0]
    texts = [_printable(text) for text in data.written(written)]
    run.console.say(texts[0])
    for text, score in zip(texts, np.asarray(made.score)[0], strict=True):
        run.console.say(f"  {score:8.2f}  {text}")
    seen = grids(np.asarray(made.notes.weights)[0, 0])
    if seen is None:
        return
    path = Path(f"{_plain_name(photo.stem)}-attention.png")
    figure: Any = attention.looks(
        [data.pixels(content)], [data.words(written[0])], [seen], title=texts[0]
    )
    try:
        files.write_with(path, lambda file: png(figure, file))
    except OSError as error:
        run.console.say(f"warning: {path} cannot be written: {error.strerror or error}")
        return
    run.console.say(f"where it looked  ->  {path}")


def _printable(text: str) -> str:
    """The text, with what could command a terminal as an escape sequence."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _plain_name(name: str) -> str:
    """A name that any system takes: letters, digits, `-`, `_`, dots and spaces.

    Every other character becomes `_`, and so does a dot at the beginning; what is
    longer than 200 bytes is cut.
    """
    plain = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name)
    return re.sub(r"^[. ]|^$", "_", plain).encode()[:200].decode(errors="ignore")
