import io
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.text import Text

from jaxnets.plots import attention, generated, parts, runs, samples, sweeps

pytestmark = pytest.mark.host


def texts(figure):
    found = [title.get_text() for axes in figure.axes for title in [axes.title]]
    return found, figure.get_suptitle()


def test_mistakes_come_surest_first_and_then_right_ones_least_sure_first():
    labels = np.array([0, 1, 1, 0])
    logits = np.array([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.1, 0.0]])
    images = np.zeros((4, 2, 2, 1), np.uint8)
    captions, title = texts(runs.mistakes(images, labels, logits, ["a", "b"]))
    assert captions == [
        "a, 95%\nbut is b",
        "a, 73%\nbut is b",
        "a, 52%\nright",
        "a, 88%\nright",
    ]
    assert title.startswith("2 of 4 wrong")
    captions, title = texts(runs.mistakes(images, labels, logits, ["a", "b"], count=1))
    assert captions == ["a, 95%\nbut is b"]
    assert "right" not in title


def test_the_confusion_counts_are_scikit_learns():
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    (axes,) = runs.confusion(labels, guesses, list("abcd")).axes
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
    (axes,) = runs.curves(lines).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn == {"train": [2.0, 1.0], "validation": [3.0]}


@pytest.mark.parametrize("count", [0, 1, 9])
def test_any_number_of_images_is_drawn(count):
    figure = runs.grid(np.zeros((count, 4, 4, 3)), ["x"] * count, title="t")
    buffer = io.BytesIO()
    parts.png(figure, buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_figures_of_nothing_are_drawn():
    parts.png(attention.alignments([], [], []), io.BytesIO())
    parts.png(runs.curves([]), io.BytesIO())


def test_matplotlib_writes_nothing_into_the_home_folder(tmp_path, surroundings):
    """Whichever module of figures is imported first, in a process of its own."""
    program = (
        "import io\n"
        "from jaxnets.plots import samples\n"
        "from jaxnets.plots.parts import png, single\n"
        "png(single(1, 1)[0], io.BytesIO())\n"
    )
    own = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    own |= {"XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "PYTHONPATH": os.getcwd()}
    subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=surroundings(**own),
        check=True,
    )
    assert list(tmp_path.iterdir()) == []


def test_the_same_figure_gives_the_same_bytes():
    def content():
        buffer = io.BytesIO()
        parts.png(runs.comparison({"a": [1.0, 2.0], "b": [3.0]}, label="x"), buffer)
        return buffer.getvalue()

    assert content() == content()


def test_curves_against_something_else_show_every_run_and_the_mean():
    values = np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])
    figure = runs.against(
        {"a": values},
        [1, 2, 3],
        labels=("x", "y"),
        marks={"here": 2.0},
        level=("chance", 0.5),
    )
    (axes,) = figure.axes
    drawn = [np.asarray(line.get_ydata()).tolist() for line in axes.lines]
    assert [2.0, 3.0, 4.0] in drawn
    assert all(row.tolist() in drawn for row in values)
    parts.png(figure, io.BytesIO())


def test_words_are_on_the_colours_of_their_values():
    figure = attention.coloured_words(
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
    parts.png(figure, io.BytesIO())


NAMES = ["$5_$", "$10^$", "a\\$b$c$", "<b>&\"'", "two\nlines\t", "n" * 200, "_hidden"]


def every_picture(names):
    """All pictures that show names of classes, words or captions."""
    labels = np.arange(len(names))
    images = np.zeros((len(names), 4, 4, 3), np.uint8)
    maps = np.full((len(names), 2, 2), 0.25)
    values = np.linspace(-1, 1, len(names))
    return {
        "confusion": runs.confusion(labels, labels[::-1], names),
        "mistakes": runs.mistakes(images, labels, np.eye(len(names)), names),
        "comparison": runs.comparison({n: [1.0] for n in names}, label=names[0]),
        "alignments": attention.alignments([np.eye(len(names))], [names], [names]),
        "progress": runs.progress({n: [(0.0, 1.0)] for n in names}, label=names[0]),
        "words": attention.coloured_words(
            [names], [values], [names[0]], title=names[1]
        ),
        "curves": runs.curves([{"step": 1, n: {n: 1.0}} for n in names]),
        "captioned": attention.captioned(images, names, title=names[0]),
        "looks": attention.looks([images[0]], [names], [maps], title=names[0]),
        "scatter": generated.scatter(np.eye(len(names), 2), labels, names),
        "sheet": generated.sheet(images, 1, labels=names, title=names[0]),
        "shares": samples.shares(values, names, title=names[0]),
        "clouds": samples.clouds({n: np.eye(2) for n in names}, np.eye(2)),
        "ranking": sweeps.ranking({n: [1.0] for n in names}, label=names[0]),
    }


def drawn_texts(figure):
    """The texts of a picture as they are drawn; fails where one is mathematics."""
    found = []
    for text in figure.findobj(Text):
        plain, mathematics = text._preprocess_math(text.get_text())
        assert not mathematics, text
        found.append(plain)
    return found


def test_names_are_drawn_as_they_are_in_every_picture():
    pictures = every_picture(NAMES)
    for name in ("confusion", "mistakes"):
        pictures[name].draw_without_rendering()  # parses and lays out all text
    for name, figure in pictures.items():
        found = "\n".join(drawn_texts(figure))
        assert "$5_$" in found, name
        assert "\t" not in found, name
        if name in ("confusion", "mistakes", "scatter", "shares", "looks", "words"):
            assert "n" * 41 not in found, name


def test_a_shortened_name_is_one_visible_line():
    assert parts.shortened("two\nlines\t\x00") == r"two\nlines\t\x00"
    assert parts.shortened("a\N{RIGHT-TO-LEFT OVERRIDE}b\N{ZERO WIDTH JOINER}") == "ab"
    assert parts.shortened("\udcff") == r"\udcff"
    assert parts.shortened("n" * 200) == f"{'n' * 26}\N{HORIZONTAL ELLIPSIS}{'n' * 13}"
    assert parts.shortened("_") == " _"  # a legend has it
    assert parts.shortened("n" * 40) == "n" * 40


def test_latex_of_a_matplotlibrc_is_not_asked(monkeypatch):
    monkeypatch.setenv("PATH", "")  # where LaTeX would be
    with mpl.rc_context({"text.usetex": True}):
        figure = runs.confusion(np.array([0]), np.array([0]), ["a_b", "50% & more"])
        parts.png(figure, io.BytesIO())


def test_glyphs_that_no_font_has_are_named_once(monkeypatch):
    monkeypatch.setattr(parts, "_boxes", set())
    monkeypatch.setattr(parts, "_installed", tuple)
    figure = runs.comparison({"\u732b\u72d7": [1.0]}, label="\u72d7")
    words = r"DejaVu Sans has no .*\(U\+72D7\), .*\(U\+732B\); they are drawn as boxes"
    with pytest.warns(parts.GlyphWarning, match=words) as said:
        parts.png(figure, io.BytesIO())
    assert len(said) == 1
    parts.png(figure, io.BytesIO())  # and no more: warnings are errors here
