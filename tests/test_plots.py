import io

import numpy as np
import pytest

from jaxnets import plots

pytestmark = pytest.mark.host


def texts(figure):
    found = [title.get_text() for axes in figure.axes for title in [axes.title]]
    return found, figure.get_suptitle()


def test_mistakes_come_surest_first_and_then_right_ones_least_sure_first():
    labels = np.array([0, 1, 1, 0])
    logits = np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.1, 0.0]])
    images = np.zeros((4, 2, 2, 1), np.uint8)
    captions, title = texts(plots.mistakes(images, labels, logits, ["a", "b"]))
    assert captions == [
        "a, 95%\nbut is b",
        "a, 73%\nbut is b",
        "a, 52%\nright",
        "a, 88%\nright",
    ]
    assert title.startswith("2 of 4 wrong")
    captions, title = texts(plots.mistakes(images, labels, logits, ["a", "b"], count=1))
    assert captions == ["a, 95%\nbut is b"]
    assert "right" not in title


def test_the_confusion_counts_are_scikit_learns():
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    (axes,) = plots.confusion(labels, guesses, list("abcd")).axes
    found = np.zeros((4, 4), int)
    for text in axes.texts:
        column, row = text.get_position()
        found[row, column] = int(text.get_text())
    np.testing.assert_array_equal(found, confusion_matrix(labels, guesses))


def test_curves_draw_every_number_of_every_group():
    lines = [
        {"step": 1, "train": {"loss": 2.0}, "validation": {"loss": 3.0, "by": [1, 2]}},
        {"step": 2, "train": {"loss": 1.0}},
    ]
    (axes,) = plots.curves(lines).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"train": [2.0, 1.0], "validation": [3.0]}


@pytest.mark.parametrize("count", [0, 1, 9])
def test_any_number_of_images_is_drawn(count):
    figure = plots.grid(np.zeros((count, 4, 4, 3)), ["x"] * count, title="t")
    buffer = io.BytesIO()
    plots.png(figure, buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_the_same_figure_gives_the_same_bytes():
    def content():
        buffer = io.BytesIO()
        plots.png(plots.comparison({"a": [1.0, 2.0], "b": [3.0]}, label="x"), buffer)
        return buffer.getvalue()

    assert content() == content()


def test_curves_against_something_else_show_every_run_and_the_mean():
    runs = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    figure = plots.against(
        {"a": runs},
        [1, 2, 3],
        labels=("x", "y"),
        marks={"here": 2.0},
        level=("chance", 0.5),
    )
    (axes,) = figure.axes
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    assert [2.0, 3.0, 4.0] in drawn
    assert all(row.tolist() in drawn for row in runs)
    plots.png(figure, io.BytesIO())


def test_words_are_on_the_colours_of_their_values():
    figure = plots.coloured_words(
        [["so", "bad"], ["good"]], [[0.0, -0.5], [0.5]], ["negative", "positive"]
    )
    (axes,) = figure.axes
    shades = {
        text.get_text(): text.get_bbox_patch().get_facecolor()
        for text in axes.texts
        if text.get_bbox_patch() is not None
    }
    assert set(shades) == {"so", "bad", "good"}
    assert shades["bad"][0] > shades["bad"][2]  # red
    assert shades["good"][2] > shades["good"][0]  # blue
    assert min(shades["so"][:3]) > 0.9
    plots.png(figure, io.BytesIO())
