"""Bounds against probabilistic PCA, where everything is known; and what is added."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.scheduled import warming
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.draw import draw
from jaxnets.models.vae import dense_vae
from jaxnets.once import once
from jaxnets.ops.distributions import GAUSSIAN, bernoulli, gaussian_kl
from jaxnets.tasks.variational import row_noise, variational
from jaxnets.testing.learners import check_learner, check_members
from jaxnets.testing.tasks import check_task
from jaxnets.types import CodeBatch, ImageBatch, Variables


class Hyper(NamedTuple):
    learning_rate: float = 0.01
    beta: float = 1.0
    beta_warmup: float = 0.0
    free_nats: float = 0.0


def batch_of(image):
    rows = len(image)
    return ImageBatch(
        jnp.asarray(np.asarray(image, np.float32)),
        jnp.asarray(np.zeros(rows, np.int32)),
        jnp.asarray(np.ones(rows, bool)),
    )


class PPCA:
    """x = W z + mu + sigma e (Tipping & Bishop, 1999), where W is as it is given."""

    def __init__(self, weights, sigma=0.3, seed=0):
        rng = np.random.default_rng(seed)
        self.w, self.sigma = weights, sigma
        self.pixels, self.latent = weights.shape
        self.mu = rng.normal(size=self.pixels)
        self.precision = weights.T @ weights + sigma**2 * np.eye(self.latent)  # M
        code = rng.normal(size=(400, self.latent))
        noise = sigma * rng.normal(size=(400, self.pixels))
        self.x = code @ weights.T + self.mu + noise

    @property
    def exact(self):
        covariance = self.w @ self.w.T + self.sigma**2 * np.eye(self.pixels)
        return stats.multivariate_normal(self.mu, covariance).logpdf(self.x)

    @property
    def optimum(self):
        """The best q of independent numbers: exact mean, (M^-1 diagonal's) scales."""
        encoder = np.linalg.solve(self.precision, self.w.T)  # M^-1 W^T
        scale = self.sigma / np.sqrt(np.diag(self.precision))
        return {"kernel": encoder.T, "offset": -encoder @ self.mu, "scale": scale}

    def bound(self, q):
        """The lower bound of each x in closed form: no sample is drawn."""
        mean = self.x @ q["kernel"] + q["offset"]
        spread = np.sum((self.w * q["scale"]) ** 2)
        error = np.sum((self.x - self.mu - mean @ self.w.T) ** 2, axis=1) + spread
        fit = -0.5 * error / self.sigma**2
        fit -= self.pixels * np.log(self.sigma * np.sqrt(2 * np.pi))
        kl = 0.5 * (mean**2 + q["scale"] ** 2 - 1) - np.log(q["scale"])
        return fit - kl.sum(axis=1)

    def variables(self, q):
        """The same as the parameters of a linear autoencoder."""
        output = np.zeros((self.latent, 2 * self.pixels))
        output[:, 0::2] = self.w.T  # means and log-scales take turns
        bias = np.zeros(2 * self.pixels)
        bias[0::2], bias[1::2] = self.mu, np.log(self.sigma)
        flat = np.zeros((self.pixels, self.latent))
        params = {
            "mean": {"kernel": q["kernel"], "bias": q["offset"]},
            "log_scale": {"kernel": flat, "bias": np.log(q["scale"])},
            "output": {"kernel": output, "bias": bias},
        }
        return Variables(jax.tree.map(np.float32, params), {})

    def model(self):
        shape = (1, self.pixels, 1)
        return dense_vae(shape, likelihood=GAUSSIAN, latent=self.latent, widths=())

    def batch(self):
        return batch_of(self.x.reshape(-1, 1, self.pixels, 1))

    def judged(self, q, samples=1, divergence="closed", key=0):
        judge = judging(self.model(), divergence, samples)
        return judge(self.variables(q), self.batch(), jax.random.key(key))


@functools.cache
def judging(model, divergence, samples):
    task = variational(model, divergence=divergence, bound_samples=samples, chunk=64)
    return jax.jit(task.predict)


def axes(rotation=0.0):
    """Two orthogonal directions in five pixels: principal axes, where not rotated."""
    basis = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 2)))[0]
    c, s = np.cos(rotation), np.sin(rotation)
    return basis * np.array([2.0, 0.8]) @ np.array([[c, -s], [s, c]])


def away(q):
    return {**q, "kernel": 0.7 * q["kernel"], "scale": 1.6 * q["scale"]}


def test_at_the_optimum_in_principal_axes_the_bound_is_the_likelihood():
    world = PPCA(axes())
    np.testing.assert_allclose(world.precision[0, 1], 0, atol=1e-12)  # M is diagonal
    exact, q = world.exact, world.optimum
    # The posterior is exact, so any single draw gives the likelihood itself.
    found = world.judged(q, samples=3, divergence="sampled")
    np.testing.assert_allclose(found.elbo, exact, atol=2e-3)
    np.testing.assert_allclose(found.bound, exact, atol=2e-3)
    assert abs(world.bound(q).mean() - exact.mean()) < 0.05
    closed = world.judged(q)
    assert abs(np.mean(closed.elbo) - exact.mean()) < 0.05
    np.testing.assert_allclose(
        np.mean(closed.elbo), np.mean(closed.reconstruction) - np.mean(closed.kl), 1e-5
    )


def test_the_closed_form_bound_is_below_the_likelihood_wherever_it_is():
    rng = np.random.default_rng(1)
    world = PPCA(axes())
    for _ in range(20):
        q = {n: v + 0.3 * rng.normal(size=v.shape) for n, v in world.optimum.items()}
        q["scale"] = np.abs(q["scale"]) + 0.01
        assert (world.bound(q) <= world.exact + 1e-9).all()


def test_the_task_estimates_the_closed_form_bound():
    world = PPCA(axes())
    q = away(world.optimum)
    draws = [np.asarray(world.judged(q, key=key).elbo) for key in range(10)]
    gap = np.mean(draws) - world.bound(q).mean()
    error = np.std(np.array(draws) - world.bound(q)) / np.sqrt(4000)
    assert abs(gap) < 4 * error + 1e-3
    np.testing.assert_allclose(
        np.asarray(world.judged(q).kl).mean(),
        np.mean(world.judged(q, divergence="sampled").kl),
        rtol=0.1,
    )


def test_more_samples_come_nearer_to_the_likelihood():
    world = PPCA(axes())
    q, exact = away(world.optimum), world.exact.mean()
    counts = (1, 5, 50, 1000)
    found = [np.float64(world.judged(q, n, "sampled").bound).mean() for n in counts]
    assert found == sorted(found), found
    assert found[0] < exact - 0.5  # far away with one
    assert exact - 0.05 < found[-1] < exact + 0.01


def test_what_independent_numbers_cannot_say_is_the_gap_that_theory_gives():
    """Turned out of its axes W has the same likelihood, but a posterior that leans."""
    straight, turned = PPCA(axes()), PPCA(axes(0.7))
    lean = turned.precision
    assert abs(lean[0, 1]) > 0.1
    turned.x, turned.mu = straight.x, straight.mu
    np.testing.assert_allclose(turned.exact, straight.exact)
    gap = 0.5 * (np.log(np.diag(lean)).sum() - np.log(np.linalg.det(lean)))
    q = turned.optimum
    np.testing.assert_allclose(turned.exact - turned.bound(q), gap, rtol=1e-6)
    assert gap > 0.1
    many = np.mean(turned.judged(q, 500, "sampled").bound)
    assert turned.exact.mean() - gap / 4 < many < turned.exact.mean() + 0.01


PIXELS = jax.random.bernoulli(jax.random.key(5), 0.4, (8, 4, 4, 1)).astype(jnp.float32)
BATCH = batch_of(PIXELS)
TINY = dense_vae((4, 4, 1), widths=(6,), latent=3)
PAINTER = draw((4, 4, 1), steps=2, features=4, latent=3, read=2, write=2)


@functools.cache
def variables_of(model):
    init = variational(model).init
    larger = lambda *given: jax.tree.map(lambda x: 2 * x + 0.1, init(*given))
    return once(larger)(jax.random.key(0), BATCH)


@functools.cache
def losing(model, **options):
    return jax.jit(variational(model, **options).loss)


def losses(model, hyper, **options):
    value, (_, metrics) = losing(model, **options)(
        variables_of(model), BATCH, jax.random.key(7), hyper
    )
    parts = {name: float(metric.compute()) for name, metric in metrics.items()}
    assert parts["loss"] == pytest.approx(float(value), rel=1e-6)
    return parts


@functools.cache
def coded(model, samples):
    shape = (len(PIXELS), samples, *model.code_shape)

    @jax.jit
    def made(variables):
        noise = jax.random.normal(jax.random.key(7), shape)
        return functional.predict(model, variables, PIXELS, noise)

    return made(variables_of(model))


def test_beta_weighs_the_divergence_and_without_it_nothing_else_is_left():
    plain = losses(TINY, Hyper())
    assert plain["kl"] > 0.1
    assert plain["loss"] == pytest.approx(plain["reconstruction"] + plain["kl"])
    twice = losses(TINY, Hyper(beta=2.0))
    assert twice["loss"] == pytest.approx(plain["loss"] + plain["kl"])
    assert losses(TINY, Hyper(beta=0.0))["loss"] == plain["reconstruction"]


@pytest.mark.parametrize("model", [TINY, PAINTER], ids=["numbers", "steps"])
def test_each_group_has_its_free_nats(model):
    made = coded(model, 1)
    kl = np.asarray(gaussian_kl(made.mean, made.log_scale))[:, 0].mean(axis=0)
    groups = kl.sum(axis=-1) if kl.ndim == 2 else kl  # a step, or a number
    free = float(np.sort(groups)[len(groups) // 2])  # some are above, some below
    found = losses(model, Hyper(beta=0.5, free_nats=free))
    expected = found["reconstruction"] + 0.5 * np.maximum(groups, free).sum()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["loss"] > losses(model, Hyper(beta=0.5))["loss"]


def test_importance_weighting_is_the_log_of_the_mean_weight():
    made = coded(TINY, 5)
    mean, scale, code = (
        np.float64(x) for x in (made.mean, np.exp(made.log_scale), made.code)
    )
    log_q = stats.norm(mean, scale).logpdf(code).sum(-1)
    log_p = stats.norm().logpdf(code).sum(-1)
    every = jnp.broadcast_to(PIXELS[:, None], made.output.shape)
    weights = np.float64(bernoulli(made.output, every)) + log_p - log_q
    expected = -np.mean(logsumexp(weights, axis=1) - np.log(5))
    found = losses(TINY, Hyper(), samples=5)
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["loss"] < -weights.mean()  # the mean of the logs is lower


def test_noise_follows_from_the_image_and_not_from_its_place():
    key, number, pixels = jax.random.key(0), np.arange(3), np.asarray(PIXELS)
    row = jax.jit(functools.partial(row_noise, shape=(2,)))
    noise = np.asarray(row(key, pixels, number))
    back = row(key, pixels[::-1], number)
    np.testing.assert_array_equal(noise, back[::-1])
    assert len(np.unique(noise)) == noise.size  # one flipped pixel is another image
    assert np.isclose(noise.mean(), 0, atol=0.5)
    alone = np.asarray(row(key, pixels[2:3], number[1:2]))
    np.testing.assert_array_equal(alone[0, 0], noise[2, 1])
    moved = np.concatenate([np.roll(pixels[:1], 1, axis=2), pixels[1:]])
    assert not np.isin(np.asarray(row(key, moved, number))[0], noise[0]).any()


def test_codes_are_decoded_to_expected_images():
    task, variables = variational(TINY), variables_of(TINY)
    code = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    given = CodeBatch(code, np.ones(5, bool))
    found = jax.jit(task.predict)(variables, given, jax.random.key(0))
    assert found.image.shape == (5, 4, 4, 1)
    assert found.drawing is None
    params = jax.tree.map(np.asarray, variables.params)
    dense = lambda layer, x: x @ layer["kernel"] + layer["bias"]
    hidden = np.tanh(dense(params["decoder"]["dense1"], np.asarray(code)))
    logits = dense(params["output"], hidden)
    np.testing.assert_allclose(
        found.image.reshape(5, -1), 1 / (1 + np.exp(-logits)), rtol=1e-4
    )


def test_a_model_without_a_code_is_refused():
    from jaxnets.models.mlp import mlp

    with pytest.raises(ValueError, match="MLP is no LatentModel"):
        variational(mlp())


def test_it_is_a_task():
    task = variational(TINY, bound_samples=3, chunk=2)
    check_task(task._replace(predict=jax.jit(task.predict)), Hyper(), BATCH)


@pytest.mark.campaign
@pytest.mark.parametrize("samples", [1, 3])
def test_drawing_is_a_task(samples):
    check_task(variational(PAINTER, samples=samples), Hyper(free_nats=0.1), BATCH)


def learner(model, **options):
    rule = optimizers.composed(optimizers.adam, schedules.constant())
    task = variational(model, **options)
    return warming(supervised(task, rule), {"beta": "beta_warmup"})


@pytest.mark.one_python
def test_two_members_of_a_population_are_two_lone_runs_that_learn():
    hyper = Hyper(beta_warmup=5.0)
    _, seen = check_members(learner(TINY), hyper, BATCH, steps=3, rtol=1e-3)
    assert seen[-1]["reconstruction"].compute() < seen[0]["reconstruction"].compute()


@pytest.mark.campaign
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("model", [TINY, PAINTER], ids=["vae", "draw"])
def test_they_learn_in_one_program(model, samples):
    hyper = Hyper(free_nats=0.01)
    rule = learner(model, samples=samples)
    check_learner(rule, hyper, BATCH, steps=60, rtol=1e-3, atol=1e-4)
