"""Signs that a run has learned nothing: when they count, and what is proposed."""

import dataclasses
import math
from typing import Annotated, NamedTuple

import numpy as np
import pytest

from jaxnets.metrics import Mean
from jaxnets.run import advice
from jaxnets.run.settings import one_of
from jaxnets.run.watch import BY_CLASS, Watch
from jaxnets.tasks.base import Trivial, uniform

pytestmark = pytest.mark.host


class Hyper(NamedTuple):
    learning_rate: float = 0.01
    clip_norm: float = 0.0


@dataclasses.dataclass(frozen=True)
class Config:
    recipe: Annotated[str, one_of(("paper", "steady"))] = "paper"
    warmup: float = 0
    accumulate: int = 1
    epochs: int = 3
    hyper: Hyper = Hyper()


TEN = uniform("loss", 10)
LN10 = math.log(10)


def steps_warned(losses, *, every=30, config=Config()):
    """The steps at which a run with these losses warns; how it stands at the end."""
    watch = Watch(TEN, config, every * len(losses))
    found = []
    for index, loss in enumerate(losses, start=1):
        if watch.see(index * every, {"train": {"loss": loss}}):
            found.append(index * every)
    return found, bool(watch.standing)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([LN10] * 10, ([60], True)),  # once, after the first tenth and one more
        ([1.019 * LN10] * 10, ([60], True)),
        ([1.021 * LN10] * 10, ([], False)),
        ([0.979 * LN10] * 10, ([], False)),
        ([LN10, *[1.0] * 9], ([], False)),  # every training begins there
        ([5.0, LN10, LN10, *[1.0] * 7], ([60], False)),  # it recovers
        ([*[1.0] * 9, LN10], ([300], True)),
    ],
)
def test_a_loss_of_equal_probabilities_is_warned_of_once(losses, expected):
    assert steps_warned(losses) == expected


def test_shorter_intervals_add_up_to_a_tenth_of_the_run():
    assert steps_warned([LN10] * 40, every=30) == ([240], True)
    assert steps_warned([*[LN10, 1.0] * 20], every=30) == ([], False)


def test_a_short_run_and_the_warm_up_are_not_judged():
    assert steps_warned([LN10] * 10, every=1) == ([], False)
    assert steps_warned([LN10] * 10, every=5) == ([25], True)
    assert steps_warned([LN10] * 10, config=Config(warmup=90)) == ([120], True)
    both = Config(warmup=30, accumulate=3)  # a warm-up counts updates
    assert steps_warned([LN10] * 10, config=both) == ([120], True)
    shared = Config(warmup=0.3)  # 90 steps of 300
    assert steps_warned([LN10] * 10, config=shared) == ([120], True)
    # A warm-up longer than the run counts for half of it.
    assert steps_warned([LN10] * 10, config=Config(warmup=900)) == ([180], True)


def test_a_resumed_run_warns_as_if_it_had_not_been_stopped():
    lines = [{"step": s, "train": {"loss": LN10}} for s in range(30, 301, 30)]
    whole, resumed = (Watch(TEN, Config(), 300) for _ in range(2))
    warned = [whole.see(line["step"], line) for line in lines]
    assert [bool(found) for found in warned] == [False, True, *[False] * 8]
    lines[1]["warning"] = warned[1]
    resumed.again(lines[:7])
    assert [resumed.see(line["step"], line) for line in lines[7:]] == warned[7:]
    assert resumed.standing == whole.standing != {}


@pytest.mark.parametrize(("first", "rate"), [(LN10, "0.1"), (50.0, "0.001")])
def test_what_to_try_depends_on_whether_the_loss_ever_moved(first, rate):
    watch = Watch(TEN, Config(), 300)
    watch.see(30, {"train": {"loss": first}})
    (text,) = watch.see(60, {"train": {"loss": LN10}}).values()
    assert "loss, now 2.303, has been between 2.257 and 2.349 since step 30" in text
    assert "cost ln 10 = 2.303" in text
    assert f"Try --recipe steady, or --learning-rate {rate} (now 0.01)" in text


def by_class(right, counts):
    return {BY_CLASS: Mean(np.float64(right), np.int64(counts))}


@pytest.mark.parametrize(
    ("right", "counts", "said"),
    [
        ([0, 9, 0], [8, 9, 7], True),
        ([0, 9, 0], [0, 9, 7], True),  # a class without examples says nothing
        ([0, 9, 1], [8, 9, 7], False),
        ([0, 8, 0], [8, 9, 7], False),
        ([0, 0, 0], [8, 9, 7], False),
        ([0, 9, 0], [0, 9, 0], False),  # there is only one class
        ([0, 2, 0], [2, 2, 2], False),  # so few may be chance
    ],
)
def test_predictions_of_one_class_are_warned_of(right, counts, said):
    watch, scored = Watch((), Config(), 300), by_class(right, counts)
    first = watch.see(30, {}, scored)
    assert bool(first) == said
    if said:
        assert "validation example of class 1 (from 0)" in first[BY_CLASS]
    assert watch.see(60, {}, scored) == {}  # once
    assert bool(watch.one_class("test", scored)) == said


@pytest.mark.parametrize(
    ("losses", "proposed"),
    [
        ((LN10, LN10), "--recipe steady, or --learning-rate 0.1 (now 0.01)"),
        ((2.6, LN10), "--recipe steady, or --learning-rate 0.1 (now 0.01)"),
        ((9.0, LN10), "--recipe steady, or --learning-rate 0.001 (now 0.01)"),
        ((LN10, 2.0), "--epochs 6 (now 3)"),
    ],
)
def test_what_to_try_against_one_class_suits_the_loss(losses, proposed):
    watch, scored = Watch(TEN, Config(), 300), by_class([0, 9, 0], [8, 9, 7])
    watch.see(20, {"train": {"loss": losses[0]}})
    found = watch.see(30, {"train": {"loss": losses[1]}}, scored)
    assert f"Try {proposed}" in found[BY_CLASS]


def test_a_frequent_class_counts_from_half_of_the_run():
    watch, scored = Watch((), Config(), 300), by_class([95, 0], [95, 5])
    assert watch.see(120, {}, scored) == {}
    assert (
        "for that class, 95.0% of the examples. "
        in watch.see(150, {}, scored)[BY_CLASS]
    )


def test_a_short_run_is_not_judged_at_its_end():
    watch, scored = Watch((), Config(), 16), by_class([0, 9, 0], [8, 9, 7])
    watch.see(16, {}, scored)
    assert watch.one_class("test", scored) == {}


def test_metrics_of_a_population_are_not_judged():
    watch = Watch(TEN, Config(), 300)
    assert watch.see(150, {"train": {"loss": [LN10, 1.0]}}) == {}


def test_scores_before_a_tenth_of_the_run_or_without_classes_are_not_judged():
    watch, scored = Watch((), Config(), 300), by_class([0, 9, 0], [8, 9, 7])
    assert watch.see(15, {}, scored) == {}
    assert watch.see(300, {}, {BY_CLASS: [0.0, 1.0]}) == {}
    members = {BY_CLASS: Mean(np.zeros((2, 3)), np.ones((2, 3), int))}
    assert watch.one_class("test", members) == {}


class Coded(NamedTuple):
    learning_rate: float = 0.01
    beta: float = 40.0
    beta_warmup: float = 0.0
    free_nats: float = 0.0


def test_a_collapsed_code_is_warned_of_with_the_settings_of_the_divergence():
    config = dataclasses.replace(Config(), hyper=Coded())
    watch = Watch((Trivial("kl", -math.inf, 0.2, "collapse"),), config, 300)
    watch.see(30, {"train": {"kl": 3.0}})
    assert watch.see(60, {"train": {"kl": 0.21}}) == {}
    (text,) = watch.see(90, {"train": {"kl": -0.01}}).values()
    proposed = "--beta 1 (now 40), or --beta-warmup 75 (now 0), or --free-nats 0.05"
    assert f"been below 0.2 since step 60: collapse. Try {proposed} (now 0)" in text


def test_against_divergence_are_the_settings_that_the_run_has():
    longer = ["--warmup 100 (now 0)"]
    rest = ["--recipe steady", "--learning-rate 0.001 (now 0.01)"]
    clip = ["--clip-norm 1 (now 0)"]
    assert advice.diverged(Config(), 5, 1000) == rest + longer + clip
    assert advice.diverged(Config(), 700, 1000) == rest + clip  # no warm-up gets there
    steady = Config(recipe="steady", hyper=Hyper(clip_norm=5.0))
    assert advice.diverged(steady, 700, 1000) == [
        *rest[1:],
        "--clip-norm 0.5 (now 5)",
    ]


def test_a_longer_warm_up_is_proposed_in_updates():
    config = Config(warmup=5, accumulate=4)
    assert "--warmup 25 (now 5)" in advice.diverged(config, 7, 1000)
    share = Config(warmup=0.05)
    assert "--warmup 100 (now 0.05)" in advice.diverged(share, 7, 1000)
    assert not any("warmup" in flag for flag in advice.diverged(config, 250, 1000))


class Bare(NamedTuple):
    width: float = 1.0


@dataclasses.dataclass(frozen=True)
class Other:
    hyper: Bare = Bare()


def test_without_such_settings_nothing_is_proposed():
    assert advice.diverged(Other(), 5, 1000) == []
    assert advice.stalled(Other()) == advice.collapsed(Other(), 1000) == []
    assert advice.sentence([]) == ""
    watch = Watch(TEN, Other(), 300)
    watch.see(30, {"train": {"loss": 9.0}})
    (text,) = watch.see(60, {"train": {"loss": LN10}}).values()
    assert text.endswith("the network has learned nothing.")


@dataclasses.dataclass(frozen=True)
class Preset(Config):
    recipe: Annotated[str, one_of(("auto", "paper", "steady"))] = "paper"

    def preset(self):
        warmup = 0 if self.recipe == "paper" else 50
        return dataclasses.replace(self, warmup=warmup, epochs=3, hyper=Hyper())


def test_a_recipe_that_stands_for_the_steady_one_is_not_told_of_it():
    rate, longer = "--learning-rate 0.1 (now 0.01)", "--epochs 6 (now 3)"
    assert advice.stalled(Preset()) == ["--recipe steady", rate, longer]
    changed = Preset("auto", epochs=1)  # by a flag
    assert advice.stalled(changed) == [rate, "--epochs 2 (now 1)"]


def test_a_rate_that_would_win_over_the_steady_recipe_is_named():
    own = Preset(hyper=Hyper(learning_rate=9.0))
    assert (
        advice.diverged(own, 700, 1000)[0] == "--recipe steady without --learning-rate"
    )
