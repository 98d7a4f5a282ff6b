import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets import ranges
from jaxnets.learners import schedules
from jaxnets.learners.plateau import observe, scale_on_plateau


def at(shape, *steps):
    return np.array([float(shape(jnp.int32(step))) for step in steps])


def test_cosine_by_its_formula():
    expected = 0.5 * (1 + np.cos(np.pi * np.array([0, 3, 5, 10, 12]).clip(0, 10) / 10))
    np.testing.assert_allclose(
        at(schedules.cosine(10), 0, 3, 5, 10, 12), expected, atol=1e-7
    )


def test_stepwise_divides_at_the_boundaries():
    found = at(schedules.stepwise([3, 6]), 0, 2, 3, 5, 6, 9)
    np.testing.assert_allclose(found, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_boundaries_that_coincide_lower_the_rate_as_often():
    """Shares of so few steps that the first two of three fall on the first step."""
    found = at(schedules.parted(2, (0.3, 0.6, 0.8), factor=0.2), 0, 1, 2)
    np.testing.assert_allclose(found, [1, 0.2**2, 0.2**3], rtol=1e-6)


def test_warm_up_moves_at_once_and_then_follows():
    shape = schedules.warmed_up(schedules.cosine(10), 4)
    np.testing.assert_allclose(at(shape, 0, 1, 2, 3), [0.25, 0.5, 0.75, 1.0], rtol=1e-6)
    np.testing.assert_allclose(
        at(shape, 4, 9), at(schedules.cosine(10), 0, 5), rtol=1e-6
    )
    assert at(schedules.warmed_up(schedules.constant(), 0), 0) == 1
    assert at(schedules.warmed_up(schedules.constant(), 1), 0) == 1


def test_a_warm_up_is_part_of_the_run():
    expected = schedules.warmed_up(schedules.cosine(10), 4)
    shape = schedules.over(14, schedules.cosine, warmup=4)
    np.testing.assert_array_equal(at(shape, *range(15)), at(expected, *range(15)))


@pytest.mark.parametrize(("steps", "warmup"), [(10, 10), (10, 10**6), (3, 20), (1, 1)])
def test_a_warm_up_that_does_not_fit_is_shortened_and_said(steps, warmup):
    half = steps // 2
    with pytest.warns(
        schedules.ScheduleWarning,
        match=f"{warmup} updates do not fit into a run of {steps}, so it takes {half};",
    ):
        shape = schedules.over(steps, schedules.linear, warmup=warmup)
    assert at(shape, max(half - 1, 0)) == 1  # the peak
    assert at(shape, steps) == 0


def test_a_warm_up_below_1_is_a_share_of_the_run():
    assert [schedules.rise(w, 60) for w in (0, 0.1, 0.01, 0.999, 1, 50.0)] == [
        *(0, 6, 1, 60, 1, 50)
    ]
    expected = schedules.over(60, schedules.cosine, warmup=6)
    shape = schedules.over(60, schedules.cosine, warmup=0.1)
    np.testing.assert_array_equal(at(shape, *range(61)), at(expected, *range(61)))
    with pytest.raises(ranges.RangeError, match=r"below 1, not 2\.5"):
        schedules.rise(2.5, 60)


def scales(values, **options):
    rule = scale_on_plateau(**options)
    state, found = rule.init(None), []
    for value in values:
        state = observe(state, value)
        found.append(round(float(state.scale), 6))
    return found


def torch_scales(values, factor, patience, tolerance):
    """torch.optim.lr_scheduler.ReduceLROnPlateau, mode min, relative, by its manual."""
    best, bad, scale, found = float("inf"), 0, 1.0, []
    for value in values:
        if value < best * (1 - tolerance):
            best, bad = value, 0
        else:
            bad += 1
        if bad > patience:
            scale, bad = scale * factor, 0
        found.append(round(scale, 6))
    return found


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_the_plateau_rule_lowers_as_torchs_does(patience):
    values = np.random.default_rng(patience).exponential(1, 40)
    found = scales(values, factor=0.5, patience=patience)
    assert found == torch_scales(values, 0.5, patience, 1e-4)
    assert found[-1] < 1


def test_a_nan_is_no_new_best():
    assert scales([1.0, np.nan, np.nan], factor=0.1, patience=1) == [1, 1, 0.1]


def test_a_population_observes_each_member():
    init = jax.vmap(lambda factor: scale_on_plateau(factor, patience=0).init(None))
    state = init(jnp.array([0.1, 0.5]))
    state = observe(observe(state, jnp.array([1.0, 1.0])), jnp.array([2.0, 0.5]))
    np.testing.assert_allclose(state.scale, [0.1, 1.0])


def test_updates_are_scaled_and_other_states_left_alone():
    rule = scale_on_plateau(0.1, patience=0)
    state = observe(observe({"inside": [rule.init(None)]}, 1.0), 1.0)
    updates, _ = rule.update({"w": jnp.ones(2)}, state["inside"][0])
    np.testing.assert_allclose(updates["w"], 0.1)
    assert observe({"w": 3}, 1.0) == {"w": 3}
