"""The attention of DRAW against its equations, written out with loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.ops import filterbank

HEIGHT, WIDTH, POINTS = 7, 5, 3
# Each with the sizes of what it makes, which are part of the program.
window, banks = (
    jax.jit(function, static_argnums=(1, 2, 3))
    for function in (filterbank.window, filterbank.banks)
)
stroke = jax.jit(filterbank.stroke, static_argnums=(2, 3))
glimpse = jax.jit(filterbank.glimpse, static_argnums=2)
PARAMETERS = np.array([0.2, -0.3, 0.4, -0.9, 0.25])  # g_X g_Y sigma^2 delta gamma


def by_hand(parameters, height, width, points):
    """F_Y, F_X and gamma by equations 19 to 26."""
    across, down, log_variance, log_stride, log_intensity = parameters
    g_x, g_y = (width + 1) / 2 * (across + 1), (height + 1) / 2 * (down + 1)
    stride = (max(height, width) - 1) / (points - 1) * math.exp(log_stride)
    banks = []
    for centre, pixels in ((g_y, height), (g_x, width)):
        bank = np.zeros((points, pixels))
        for i in range(1, points + 1):
            mean = centre + (i - points / 2 - 0.5) * stride
            for a in range(1, pixels + 1):
                exponent = -((a - mean) ** 2) / (2 * math.exp(log_variance))
                bank[i - 1, a - 1] = math.exp(exponent)
        banks.append(bank / bank.sum(axis=1, keepdims=True))
    return *banks, math.exp(log_intensity)


def at(parameters, points=POINTS):
    rows = np.asarray(parameters, np.float32)[None]
    return window(rows, HEIGHT, WIDTH, points)


def test_filters_are_those_of_the_equations():
    down, across = banks(at(PARAMETERS), HEIGHT, WIDTH, POINTS)
    f_y, f_x, _ = by_hand(PARAMETERS, HEIGHT, WIDTH, POINTS)
    np.testing.assert_allclose(down[0], f_y, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(across[0], f_x, rtol=1e-4, atol=1e-6)


def test_rows_sum_to_one_wherever_the_window_is():
    rows = np.random.default_rng(0).normal(size=(50, 5)) * [3, 3, 4, 2, 1]
    windows = window(rows.astype(np.float32), HEIGHT, WIDTH, POINTS)
    for bank in banks(windows, HEIGHT, WIDTH, POINTS):
        np.testing.assert_allclose(np.sum(bank, axis=-1), 1, rtol=1e-5)


def test_a_single_light_is_read_by_the_filters_that_reach_it():
    f_y, f_x, gamma = by_hand(PARAMETERS, HEIGHT, WIDTH, POINTS)
    image = np.zeros((1, HEIGHT, WIDTH, 2), np.float32)
    image[0, 4, 1, 0], image[0, 2, 3, 1] = 1, 2
    seen = glimpse(image, at(PARAMETERS), POINTS)
    expected = [np.outer(f_y[:, 4], f_x[:, 1]), 2 * np.outer(f_y[:, 2], f_x[:, 3])]
    np.testing.assert_allclose(
        seen[0], gamma * np.stack(expected, -1), rtol=1e-4, atol=1e-6
    )


def test_a_stroke_is_a_glimpse_turned_round():
    f_y, f_x, gamma = by_hand(PARAMETERS, HEIGHT, WIDTH, POINTS)
    patch = np.random.default_rng(0).normal(size=(1, POINTS, POINTS, 1))
    drawn = stroke(np.float32(patch), at(PARAMETERS), HEIGHT, WIDTH)
    expected = f_y.T @ patch[0, ..., 0] @ f_x / gamma
    np.testing.assert_allclose(
        np.asarray(drawn)[0, ..., 0], expected, rtol=1e-4, atol=1e-6
    )


def test_a_window_of_zeros_is_the_whole_image():
    outlines = jax.jit(lambda p: filterbank.outline(filterbank.window(p, 9, 9, 4), 4))
    # The second is narrow and sharp: it reads the pixels below its filters.
    rows = [[0, 0, 0, 0, 0], [0, 0, -12, math.log(3 / 8), 0]]
    square, sharp = np.asarray(outlines(np.array(rows, np.float32)))
    np.testing.assert_allclose(square, [0, 0, 8, 8, 1], atol=1e-6)
    np.testing.assert_allclose(sharp[:4], [2.5, 2.5, 5.5, 5.5], rtol=1e-5)
    image = np.arange(81, dtype=np.float32).reshape(1, 9, 9, 1)
    odd = window(np.array([[0, 0, -12, math.log(1 / 4), 0]], np.float32), 9, 9, 3)
    seen = np.asarray(glimpse(image, odd, 3))[0, ..., 0]
    np.testing.assert_allclose(seen, image[0, 3:6, 3:6, 0], rtol=1e-5)


def test_however_sharp_a_filter_is_it_is_finite():
    sharp = np.array([[0, 0, -200, 0, 0]], np.float32)
    image = jnp.ones((1, 9, 9, 1))

    @jax.jit
    @jax.value_and_grad
    def seen(parameters):
        window = filterbank.window(parameters, 9, 9, 3)
        return filterbank.glimpse(image, window, 3).sum()

    value, gradient = seen(sharp)
    np.testing.assert_allclose(value, 9, rtol=1e-6)
    assert np.isfinite(gradient).all()
