"""Models with a code: the contract, counts, and DRAW against its equations."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import functional
from jaxnets.models.draw import draw
from jaxnets.models.vae import VAES, conv_vae, dense_vae
from jaxnets.ops.distributions import LIKELIHOODS, LOGISTIC
from jaxnets.testing.models import check_model
from tests.golden.networks.fill import uniform
from tests.models.numbers import numbered
from tests.ops.test_filterbank import by_hand as banks

SHAPE = (6, 5, 1)
IMAGE = jnp.asarray((uniform("latent", (3, *SHAPE)) > 0.2).astype(np.float32))
SMALL = {"steps": 3, "features": 4, "latent": 2}
MODELS = {
    "dense": dense_vae(SHAPE, widths=(7,), latent=3),
    "conv": conv_vae(SHAPE, widths=(7,), latent=3, channels=(2, 4)),
    "draw": draw(SHAPE, **SMALL, read=2, write=3),
    "draw without attention": draw(SHAPE, **SMALL, read=0, write=0),
}


def noise_for(model, rows=3, count=2):
    return jnp.asarray(1.7 * uniform("noise", (rows, count, *model.code_shape)))


@functools.cache
def made(name):
    """A model, variables that are not near zero, and what it makes of the images."""
    model = MODELS[name]
    noise = noise_for(model)
    variables = numbered(model, IMAGE, noise)
    run = jax.jit(lambda v: functional.predict(model, v, IMAGE, noise))
    return model, variables, run(variables)


@pytest.mark.parametrize(
    "name",
    [
        "dense",
        pytest.param("conv", marks=pytest.mark.campaign),
        "draw",
        pytest.param("draw without attention", marks=pytest.mark.campaign),
    ],
)
@pytest.mark.one_python
def test_they_keep_the_contract_of_a_model(name):
    model = MODELS[name]
    if name.startswith("draw"):
        model = model.clone(steps=2)  # each of them is compiled
    check_model(model, IMAGE, noise_for(model))


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (dense_vae((28, 28, 1)), 652_824),
        (dense_vae((28, 28, 1), latent=2, widths=(500,)), 788_788),
        (draw((28, 28, 1)), 991_642),
        # Kingma and Welling's sizes, and pixels with a scale of their own.
        (dense_vae((28, 20, 1), latent=2, widths=(200,), likelihood=LOGISTIC), 338_724),
    ],
)
def test_parameter_counts(model, count):
    image, noise = jnp.zeros((1, *model.shape)), jnp.zeros((1, 1, *model.code_shape))
    shapes = jax.eval_shape(
        lambda key: functional.init(model, key, image, noise), jax.random.key(0)
    )
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes.params)) == count


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.one_python
def test_decoding_its_own_code_gives_its_own_output(name):
    model, variables, coded = made(name)
    code = coded.code.reshape(-1, *model.code_shape)
    decode = jax.jit(lambda v, z: functional.method(model, v, "decode", z))
    decoded = decode(variables, code)
    output = decoded.output.reshape(coded.output.shape)
    np.testing.assert_allclose(output, coded.output, rtol=1e-4, atol=1e-5)
    if coded.drawing is not None:
        frames = decoded.drawing.frames.reshape(coded.drawing.frames.shape)
        np.testing.assert_allclose(frames, coded.drawing.frames, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", VAES)
@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_any_image_size_and_likelihood_fits(name, kind):
    shape = (9, 7, 3)  # no multiple of four
    model = VAES[name](shape, likelihood=LIKELIHOODS[kind], latent=2, widths=(4,))
    image, noise = jnp.zeros((2, *shape)), jnp.zeros((2, 4, 2))
    run = lambda key: functional.predict(
        model, functional.init(model, key, image, noise), image, noise
    )
    coded = jax.eval_shape(run, jax.random.key(0))
    outputs = 3 * LIKELIHOODS[kind].outputs
    assert coded.output.shape == (2, 4, 9, 7, outputs)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class ByHand:
    """DRAW on one image with one code a step, as the paper's equations have it."""

    def __init__(self, params, model):
        self.p, self.model = jax.tree.map(np.float64, params), model

    def dense(self, name, x):
        layer = self.p[name]
        return x @ layer["kernel"] + layer.get("bias", 0)

    def lstm(self, name, gates, h, c):
        """Gates i, f, g, o, of which the input's share is given."""
        hidden = self.p[name]["hidden"]
        i, f, g, o = np.split(gates + h @ hidden["kernel"] + hidden["bias"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c

    def project(self, name, x):
        layer = self.p[name]["input"]
        return x @ layer["kernel"] + layer["bias"]

    def look(self, image, h):
        if not self.model.read:
            return image.ravel()
        window = self.dense("read_window", h)
        f_y, f_x, gamma = banks(window, *image.shape, self.model.read)
        return (gamma * f_y @ image @ f_x.T).ravel()  # equation 27

    def stroke(self, h, shape):
        patch = self.dense("patch", h)
        if not self.model.write:
            return patch.reshape(shape)
        window = self.dense("write_window", h)
        f_y, f_x, gamma = banks(window, *shape, self.model.write)
        side = self.model.write
        return f_y.T @ patch.reshape(side, side) @ f_x / gamma  # equation 29

    def __call__(self, image, noise):
        p, canvas = self.p, self.p["canvas"][..., 0]
        enc, dec = ((p[f"{s}_h"], p[f"{s}_c"]) for s in ("encoder", "decoder"))
        found = []
        for eps in noise:
            error = image - sigmoid(canvas)  # 3
            seen = self.look(image, dec[0]) @ p["image"]  # 4
            seen = seen + self.dense("error", self.look(error, dec[0]))
            gates = seen + self.project("encoder", dec[0])
            enc = self.lstm("encoder", gates, *enc)  # 5
            mean, log_scale = (
                self.dense("mean", enc[0]),
                self.dense("log_scale", enc[0]),
            )
            code = mean + np.exp(log_scale) * eps  # 6
            dec = self.lstm("decoder", self.project("decoder", code), *dec)  # 7
            canvas = canvas + self.stroke(dec[0], canvas.shape)  # 8
            found.append((mean, log_scale, code, canvas))
        return map(np.array, zip(*found, strict=True))


@pytest.mark.parametrize("name", ["draw", "draw without attention"])
def test_draw_follows_its_equations_and_frames_accumulate(name):
    model, variables, coded = made(name)
    noise, twin = noise_for(model), ByHand(variables.params, model)
    for row, draw_ in ((0, 1), (2, 0)):
        mean, log_scale, code, canvases = twin(
            np.float64(IMAGE[row, ..., 0]), np.float64(noise[row, draw_])
        )
        close = functools.partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-4)
        close(coded.mean[row, draw_], mean)
        close(coded.log_scale[row, draw_], log_scale)
        close(coded.code[row, draw_], code)
        close(coded.output[row, draw_, ..., 0], canvases[-1])
        # Every frame is the one before and a stroke.
        close(coded.drawing.frames[row, draw_, ..., 0], sigmoid(canvases))
    assert np.abs(np.diff(canvases, axis=0)).max() > 0.01
    attends = name == "draw"
    assert (coded.drawing.read is None) != attends
    assert (coded.drawing.written is None) != attends


def test_a_window_is_where_the_network_wrote():
    _, variables, coded = made("draw")
    windows = np.asarray(coded.drawing.written)
    assert windows.shape == (3, 2, 3, 5)
    assert (windows[..., 2:4] > windows[..., :2]).all()
    # The stroke's centre of mass lies in the window, where that lies in the image.
    logit = lambda p: np.log(p) - np.log1p(-p)
    frames = logit(np.float64(coded.drawing.frames[0, 0, ..., 0]))
    blank = np.float64(variables.params["canvas"][None, ..., 0])
    strokes = np.diff(np.concatenate([blank, frames]), axis=0)
    for stroke, (y0, x0, y1, x1, thick) in zip(strokes, windows[0, 0], strict=True):
        weight = np.abs(stroke) / np.abs(stroke).sum()
        y, x = (weight.sum(axis=1 - a) @ np.arange(weight.shape[a]) for a in (0, 1))
        assert max(y0, 0) - thick <= y <= min(y1, 5) + thick
        assert max(x0, 0) - thick <= x <= min(x1, 4) + thick
