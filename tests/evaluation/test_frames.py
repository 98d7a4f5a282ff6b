"""Frames of a training survive a kill, and leave no trace in a run that only reads."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from experiments import gan
from jaxnets.data.dataset import DataError
from jaxnets.data.generated.digits import digits
from jaxnets.evaluation import samples
from jaxnets.evaluation.evaluator import JudgeOutput
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs

SMALL = gan.Config(
    data="digits",
    features=4,
    noise=4,
    batch_size=16,
    discriminator_steps=2,
    conditional=True,
    steps=6,
    reports=3,
    judge_steps=10,
)


class Looks:
    """A judge that need not be trained: a few pixels are the features of an image."""

    accuracy = 0.5

    def __init__(self):
        self.asked = []

    def __call__(self, images):
        self.asked.append(images)
        rows = np.reshape(images, (len(images), -1)) / (1.0 + np.max(images))
        return JudgeOutput(rows[:, 26:30], rows[:, 20:30])


@pytest.fixture
def looks(monkeypatch):
    made = Looks()
    monkeypatch.setattr(gan, "judge", lambda *arguments, **options: made)
    return made


def test_images_come_back_by_step(here):
    tmp_path = here
    images = np.random.default_rng(0).random((4, 3, 5, 1))
    with Run(SMALL, Verbs(run_dir=tmp_path / "run")) as run:
        for step in (10, 2):
            run.step = step
            samples.keep(run, "some", images + step / 100)
        found = samples.kept(run, "some")
        samples.animate(run, "some")
        with pytest.raises(ValueError, match="no name"):
            samples.keep(run, "../out", images)
    assert list(found) == [2, 10]
    expected = np.round(255 * np.clip(images + 0.1, 0, 1)).astype(np.uint8)
    assert np.array_equal(found[10], expected)
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"some.png", "some.gif"}


@pytest.mark.parametrize("count", [1, 2, 3, 28, 64])
def test_whole_images_come_back_however_many_there_are(here, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 6, 4, 3), np.uint8)
    with Run(SMALL, Verbs(run_dir=here / "run")) as run:
        samples.keep(run, "some", images)
        np.testing.assert_array_equal(samples.kept(run, "some")[0], images)
        samples.animate(run, "some")
    with Image.open(here / "run" / "figures" / "some.gif") as sheet:
        columns = max(round(count**0.5), 1)
        rows = -(-count // columns)
        assert sheet.size == (2 * (5 * columns - 1), 2 * (7 * rows - 1))


def test_square_images_from_before_the_count_was_written_come_back(here):
    images = np.zeros((5, 4, 4, 1), np.uint8)
    with Run(SMALL, Verbs(run_dir=here / "run")) as run:
        samples.keep(run, "some", images)
        (path,) = (here / "run" / "frames" / "some").iterdir()
        with Image.open(path) as image:
            image.load()
            Image.fromarray(np.asarray(image)).save(path)
        assert samples.kept(run, "some")[0].shape == images.shape


@pytest.mark.parametrize(
    ("split", "count", "words"),
    [
        ("validation", 1, "validation has 1 and needs 2"),
        ("test", 5, "test has 5 and needs 6"),
        ("train", 5, "train has 5 and needs 6"),
    ],
)
def test_too_few_images_are_refused_before_training(monkeypatch, split, count, words):
    data = digits()
    few = dataclasses.replace(
        data, **{split: data.splits[split].take(np.arange(count))}
    )
    monkeypatch.setattr(gan, "labelled_images", lambda *given, **named: few)
    with pytest.raises(DataError, match=words):
        gan.load(SMALL)


@pytest.mark.usefixtures("plain")
@pytest.mark.one_python
def test_a_gan_that_is_killed_goes_on_with_the_same_bits(
    here, monkeypatch, made_once, looks
):
    """In the middle of training: both players, optimizers, average, frames."""
    tmp_path = here
    made_once(gan, SMALL)
    gan.main(SMALL, Verbs(run_dir=tmp_path / "whole", checkpoint_every=1))
    keep = samples.keep

    def dying(run, *given):
        keep(run, *given)
        if run.step == 4:
            raise RuntimeError("killed")

    monkeypatch.setattr(samples, "keep", dying)
    with pytest.raises(RuntimeError, match="killed"):
        gan.main(SMALL, Verbs(run_dir=tmp_path / "cut", checkpoint_every=1))
    assert not (tmp_path / "cut" / "result.json").exists()
    monkeypatch.setattr(samples, "keep", keep)
    gan.main(SMALL, Verbs(run_dir=tmp_path / "cut", checkpoint_every=1))
    whole, cut = (
        json.loads((tmp_path / name / "result.json").read_text())
        for name in ("whole", "cut")
    )
    assert whole == cut  # the digest of the state among them
    for path in (tmp_path / "whole" / "frames" / "training").iterdir():
        other = tmp_path / "cut" / "frames" / "training" / path.name
        assert other.read_bytes() == path.read_bytes()
    lines = [(tmp_path / n / "metrics.jsonl").read_text() for n in ("whole", "cut")]
    assert lines[0] == lines[1]
    # Each report is of the validation images; those of the test are seen at the end.
    splits = digits().splits
    held, test = (splits[n].columns["image"] for n in ("validation", "test"))
    for images in looks.asked[: 2 * SMALL.reports : 2]:
        np.testing.assert_array_equal(images, held)
    np.testing.assert_array_equal(looks.asked[2 * SMALL.reports + 1], test)
