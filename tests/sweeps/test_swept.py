"""Every experiment can be swept, and its members do as they would alone."""

import contextlib
import dataclasses
import importlib
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.adversarial import Game, adams, adversarial
from jaxnets.learners.averaged import averaged
from jaxnets.learners.supervised import supervised
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.gan import players
from jaxnets.models.parts.caption_decoders import SoftAttentionCaptioner
from jaxnets.models.parts.grid import GridNet
from jaxnets.once import once
from jaxnets.run import loop, settings
from jaxnets.sweeps import groups, members, results
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.command import command
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.populations import Population, SeededSetting
from jaxnets.sweeps.session import Surroundings, sweep
from jaxnets.tasks.adversarial import LOSSES
from jaxnets.tasks.captioning import captioning

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted(
    path.stem
    for path in (ROOT / "experiments").glob("*.py")
    if "\ndef plan(" in path.read_text()
)
# What is not set here is as the experiment has it.
TINY = {
    "classify": {"model": "mlp", "epochs": 1, "reports": 2},
    "language": {
        **{"features": 8, "embedding": 8, "batch_size": 256, "steps": 128},
        **{"epochs": 1, "reports": 2, "samples": 1, "length": 10},
    },
    "gan": {
        **{"data": "digits", "features": 4, "batch_size": 16, "steps": 50},
        **{"reports": 1, "judge_steps": 10},
    },
    "sentiment": {"model": "average", "epochs": 1, "reports": 2},
    "caption": {
        **{"generated": 500, "side": 32, "longest": 6, "features": 8},
        **{"batch_size": 8, "each": 1, "epochs": 3, "reports": 1},
    },
    "vae": {
        **{"data": "digits", "widths": (16,), "latent": 3, "judged": 12},
        **{"batch_size": 24, "epochs": 1, "reports": 1, "bound_samples": 4},
    },
    "draw": {
        **{"data": "digits", "steps": 2, "features": 4, "latent": 2, "judged": 8},
        **{"read": 2, "write": 2, "epochs": 1, "reports": 1, "bound_samples": 4},
    },
    "translate": {
        **{"batch_size": 2000, "features": 8, "cell": "rnn"},
        **{"epochs": 1, "reports": 2},
    },
}
OBJECTIVES = {"gan": "discriminator_loss"}


def tiny(name):
    experiment = importlib.import_module(f"experiments.{name}")
    return experiment, dataclasses.replace(experiment.Config(), **TINY[name])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_says_what_it_would_search(name, here, capsys):
    module = importlib.import_module(f"experiments.{name}")
    command({name: lambda: module}, [name, "--dry-run"])
    out = capsys.readouterr().out
    assert spaces.free(spaces.of(module.SPACE))
    assert "search learning_rate: " in out
    assert list(here.iterdir()) == []


@pytest.mark.campaign
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_swept(name, here):
    module, config = tiny(name)
    definition = Definition(
        experiment=name,
        groups={"all": settings.to_json(config)},
        space=spaces.to_json(spaces.free(spaces.of(module.SPACE))),
        trials=2,
        members=2,
        batch=2,
        objectives=(OBJECTIVES.get(name, "loss"),),
        mode="vmap",
    )
    sweep(definition, module, {"all": config}, Surroundings(folder=here / "sweep"))
    rows = results.rows(here / "sweep")
    assert [row["state"] for row in rows] == ["whole", "whole"]
    assert (here / "sweep" / "best" / "report.html").exists()


DOUBLE = {"dtype": jnp.float64}  # as the products of a network are computed


def gan_in_float64(config, data):
    sizes = data.train.prepared.image.shape[1:], config.features, 0
    pair = players(config.architecture, *sizes, normed=True, spectral=False)
    networks = [network.clone(**DOUBLE) for network in pair]
    game = Game(*networks, LOSSES[config.loss], None, config.noise)
    rules = adams(schedules.linear(config.steps))
    return averaged(adversarial(game, rules), field="generator")


def captioner_in_float64(config, data):
    looks = GridNet((4, 4, 4, 4), dense=(8, 8), **DOUBLE)
    speaks = SoftAttentionCaptioner(len(data.vocabulary), 8, 4, 2, **DOUBLE)
    task = captioning(ImageCaptioner(looks, speaks), config.longest)
    rule = optimizers.composed(optimizers.muon, schedules.constant())
    return averaged(supervised(task, rule))


def in_float64(experiment, builder):
    """The experiment with a state and products in double precision."""

    def wide(leaf):
        real = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(jnp.float64) if real else leaf

    def build(config, data):
        made = builder(config, data)
        init = lambda *arguments: jax.tree.map(wide, made.init(*arguments))
        return made._replace(init=init)

    names = ("Config", "Hyper", "SPACE", "load", "plan", "main")
    own = {name: getattr(experiment, name) for name in names}
    return types.SimpleNamespace(**own, build=build)


@pytest.mark.parametrize(
    ("name", "double"),
    [
        pytest.param("vae", None, marks=pytest.mark.campaign),
        # Attention and two players move the last bits of float32 on.
        pytest.param("gan", gan_in_float64, marks=pytest.mark.campaign),
        pytest.param("caption", captioner_in_float64, marks=pytest.mark.campaign),
    ],
)
def test_members_equal_their_lone_runs_after_50_steps(name, double):
    experiment, config = tiny(name)
    experiment = in_float64(experiment, double) if double else experiment
    rates = [float(experiment.SPACE.learning_rate) * factor for factor in (0.5, 2.0)]
    rows = [
        SeededSetting({"learning_rate": rate}, i, 0) for i, rate in enumerate(rates)
    ]
    ranges = {"learning_rate": experiment.SPACE.learning_rate}
    with jax.enable_x64(True) if double else contextlib.nullcontext():
        group = groups.Group("all", experiment, config, ranges)
        together = Population(group, (), "vmap", rows)
        together.train(0, 50, 50, None)
        assert together.alive.all()
        score = together.evaluate()
        data = experiment.load(config)
        learner = experiment.build(config, data)
        for index, row in enumerate(rows):
            hyper = group.hyper(row.values)
            init = once(learner.init)
            state = init(jax.random.key(row.seed), hyper, data.train(0))
            for pause in loop.train(learner, state, data.train, steps=50, every=50):
                state = pause.state
            mine = members.row(together.state, index).inner
            pairs = zip(
                jax.tree_util.tree_leaves_with_path(mine),
                jax.tree.leaves(state),
                strict=True,
            )
            for (path, leaf), other in pairs:
                if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                    leaf, other = jax.random.key_data(leaf), jax.random.key_data(other)
                where = jax.tree_util.keystr(path)
                np.testing.assert_allclose(
                    leaf, other, rtol=1e-5, atol=1e-5, err_msg=where
                )
            alone = loop.evaluate(learner, state, data.validation)
            for metric, value in alone.items():
                found = np.asarray(score[metric].compute())[index]
                np.testing.assert_allclose(
                    found, value.compute(), rtol=1e-5, atol=1e-6, err_msg=metric
                )
