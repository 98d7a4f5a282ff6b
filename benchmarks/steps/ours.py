"""The workloads as this project trains them: its models, tasks and learners."""

import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from serve import SIZES, Built, serve

from jaxnets.learners import optimizers, schedules
from jaxnets.learners.adversarial import Game, adams, adversarial
from jaxnets.learners.base import Learner
from jaxnets.learners.population import population
from jaxnets.learners.supervised import supervised
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.convnet import ConvNet
from jaxnets.models.gan import players
from jaxnets.models.language import LanguageModel
from jaxnets.models.lenet import lenet5
from jaxnets.models.mlp import MLP
from jaxnets.models.parts.caption_decoders import SoftAttentionCaptioner
from jaxnets.models.resnet import cifar_resnet
from jaxnets.models.vae import VAE
from jaxnets.models.vgg import vgg11
from jaxnets.models.zoo import ZOO, suited
from jaxnets.once import once
from jaxnets.ops.cost import multiply_adds
from jaxnets.ops.decoding import GREEDY
from jaxnets.run.memory import keep_freed
from jaxnets.tasks.adversarial import LOSSES
from jaxnets.tasks.captioning import captioning
from jaxnets.tasks.classification import classification
from jaxnets.tasks.language import language
from jaxnets.tasks.variational import variational
from jaxnets.types import CaptionBatch, ImageBatch, StreamBatch


class Hyper(NamedTuple):
    """Whatever any of the tasks reads."""

    learning_rate: float = 1e-3
    label_smoothing: float = 0.0
    dropout: float = 0.0
    drop_path: float = 0.0
    sampling: float = 0.0
    doubly_stochastic: float = 0.0
    focus: float = 0.0
    beta: float = 1.0
    free_nats: float = 0.0
    ratio: float = 1.0
    beta1: float = 0.5
    beta2: float = 0.999


def build(name: str, options: dict[str, Any]) -> Built:
    """One workload, as one compiled step whose state is donated."""
    keep_freed()  # as every run does
    size = SIZES[name] | options
    learner, batch = workload(name, size)
    hyper: Any = Hyper()
    if members := options.get("members"):
        unrolled = options.get("mode") == "unrolled"
        learner = population(learner, unrolled=unrolled)
        hyper = jax.tree.map(lambda x: jnp.full(members, x), hyper)
        keys: Any = jax.random.split(jax.random.key(0), members)
    else:
        keys = jax.random.key(0)
    state = once(learner.init)(keys, hyper, batch)
    step = jax.jit(learner.step, donate_argnums=0)
    began = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    took = time.perf_counter() - began
    held = [state]

    def run(steps: int) -> None:
        for _ in range(steps):
            held[0], metrics = compiled(held[0], batch)
        jax.block_until_ready((held[0], metrics))

    return Built(
        run,
        trained(state) // (members or 1),
        {
            "compile": took,
            "multiply_adds": multiply_adds(learner.step, state, batch),
            "versions": {"jax": jax.__version__, "python": sys.version.split()[0]},
        },
    )


def trained(state: Any) -> int:
    """Parameters of a state, of both players if there are two."""
    parts = [
        getattr(state, field).params
        for field in ("variables", "generator", "discriminator")
        if hasattr(state, field)
    ]
    return sum(leaf.size for leaf in jax.tree.leaves(parts))


def workload(name: str, size: dict[str, Any]) -> tuple[Learner, Any]:
    """The learner, and the batch that every step sees."""
    rng, rows = np.random.default_rng(0), size["rows"]
    mask = jnp.ones(rows, bool)
    rule = optimizers.composed(optimizers.adam, schedules.constant())
    dtype = jnp.dtype(size.get("dtype", "float32"))
    if name == "lstm":
        text = rng.integers(1, size["vocabulary"], (rows, size["times"] + 1))
        model = LanguageModel(size["vocabulary"], features=size["units"], dtype=dtype)
        batch = StreamBatch(
            jnp.asarray(text[:, :-1], jnp.int32),
            jnp.asarray(text[:, 1:], jnp.int32),
            jnp.zeros(rows, bool),
            mask,
        )
        return supervised(language(model, rates=()), rule), batch
    if name == "captioner":
        decoder = SoftAttentionCaptioner(
            size["vocabulary"],
            size["units"],
            size["embedding"],
            size["attention"],
            dtype=dtype,
        )
        text = rng.integers(1, size["vocabulary"], (rows, size["times"] + 1))
        grid = rng.normal(size=(rows, size["places"], size["features"]))
        task = captioning(
            ImageCaptioner(None, decoder), size["times"], GREEDY, rates=()
        )
        batch = CaptionBatch(
            jnp.asarray(grid, jnp.float32)[:, :, None],
            jnp.asarray(text, jnp.int32),
            mask,
        )
        return supervised(task, rule), batch
    shape = (rows, size["side"], size["side"], size["channels"])
    label = jnp.asarray(rng.integers(0, 10, rows), jnp.int32)
    if name == "vae":
        image = jnp.asarray(rng.random(shape) < 0.5, jnp.float32)
        model = VAE(
            shape[1:], latent=size["latent"], widths=(size["units"],), dtype=dtype
        )
        return supervised(variational(model), rule), ImageBatch(image, label, mask)
    image = jnp.asarray(rng.normal(size=shape), jnp.float32)
    batch = ImageBatch(image, label, mask)
    if name == "dcgan":
        networks = players("dcgan", shape[1:], size["features"])
        networks = tuple(network.clone(dtype=dtype) for network in networks)
        game = Game(*networks, LOSSES["non_saturating"], None, size["noise"])
        return adversarial(game, adams()), batch
    models = {
        "mlp": lambda: MLP(10, size["widths"]),
        "lenet5": lambda: lenet5(10),
        "convnet": lambda: ConvNet(10, size["filters"], (0, 1), norm=None),
        "resnet20": lambda: cifar_resnet(10, size["blocks"]),
        "resnet18": lambda: suited(ZOO["resnet18"](10), size["side"]),
        "vgg11": lambda: suited(vgg11(10, hidden=size["hidden"]), size["side"]),
    }
    model = models[name]().clone(dtype=dtype)
    return supervised(classification(model, rates=()), rule), batch


if __name__ == "__main__":
    serve(build)
