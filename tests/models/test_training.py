"""Six steps of training from torchvision's initial weights, against torch's."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.learners.optimizers import Extras, composed, momentum
from jaxnets.learners.schedules import constant
from jaxnets.models import functional, weights
from jaxnets.models.alexnet import AlexNet
from jaxnets.models.densenet import DenseNet
from jaxnets.models.googlenet import GoogLeNet
from jaxnets.models.parts.norms import BatchNorm
from jaxnets.models.parts.residual import BasicBlock, Bottleneck, ResidualNetwork
from jaxnets.models.squeezenet import SqueezeNet
from jaxnets.models.vgg import VGG
from jaxnets.models.zoo import ZOO
from jaxnets.types import Variables
from tests.golden.networks import initial, training
from tests.golden.networks.cases import REPRESENTATIVES
from tests.golden.networks.parity import shapes
from tests.golden.networks.training import CLASSES, SIDE, STEPS

SHALLOW = {
    "classes": CLASSES,
    "depths": (1, 1, 1, 1),
    "widths": (16, 32, 64, 128),
    "stem_features": 16,
}
THIN = {
    "alexnet": AlexNet(CLASSES, (16, 48, 96, 64, 64), hidden=1024),
    "vgg11_bn": VGG(
        CLASSES, (1,) * 5, (16, 32, 64, 128, 128), grid=1, hidden=1024, norm=BatchNorm
    ),
    "googlenet": GoogLeNet(
        CLASSES,
        filters=(16, 16, 48),
        inceptions=tuple(
            (name, tuple(count // 4 for count in plan[1:]))
            for name, plan in training.MODULES.items()
        ),
    ),
    "resnet18": ResidualNetwork(block=BasicBlock, **SHALLOW),
    "resnext50_32x4d": ResidualNetwork(
        block=functools.partial(Bottleneck, groups=8, width=16), **SHALLOW
    ),
    "densenet121": DenseNet(CLASSES, (2, 2, 2, 2), growth=8, stem_features=16),
    "squeezenet1_1": SqueezeNet(CLASSES, 16, 3, (2, 3), squeezes=(4, 8, 12, 16)),
}
with np.load(training.FILE, allow_pickle=False) as file:
    WHOLE = sorted(
        name.removesuffix("/losses")
        for name in file.files
        if name.endswith("/losses") and not name.startswith("thin/")
    )

# How many times torch's own float32 error ours may be.
ROOM = 10


class Hyper(NamedTuple):
    learning_rate: float
    weight_decay: float
    momentum: float


@pytest.fixture(scope="module")
def torch():
    with np.load(training.FILE, allow_pickle=False) as file:
        return dict(file)


def trained(case, model, kind=np.float32):
    """The losses of all steps, and the first gradients by torch's names.

    `kind` is the type of parameters and images.
    """
    template = shapes(model, SIDE, 3)
    name = case.removeprefix("thin/")
    arrays = training.initial_weights(name, weights.torch_shapes(model, template))
    variables = weights.from_torch(model, template, arrays)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, kind), variables)
    hyper = Hyper(training.rate(case), training.DECAY, training.MOMENTUM)
    rule = composed(momentum, constant(), Extras(l2=True, skip_biases=False))(hyper)

    @jax.jit
    def step(variables, state, image, label):
        def loss(params):
            whole, key = variables._replace(params=params), jax.random.key(0)
            logits, buffers = functional.forward(model, whole, key, image)
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, label)
            return losses.mean(), buffers

        (value, buffers), gradient = jax.value_and_grad(loss, has_aux=True)(
            variables.params
        )
        updates, state = rule.update(gradient, state, variables.params)
        params = optax.apply_updates(variables.params, updates)
        return Variables(params, buffers), state, value, gradient

    state, losses, first = rule.init(variables.params), [], {}
    for index in range(STEPS):
        pixels, label = training.batch(index)
        image = jnp.asarray(pixels, kind)
        variables, state, value, gradient = step(variables, state, image, label)
        losses.append(float(value))
        if index == 0:
            first = weights.to_torch(model, Variables(gradient, {}))
    return np.array(losses), first


def without_gradient(names):
    """The biases in front of a batch norm, which takes them out again: VGG's."""
    pairs = {name: name.removesuffix(".bias").rpartition(".") for name in names}
    norms = {name.removesuffix(".weight") for name in names if name.endswith("weight")}
    return {
        name
        for name, (block, _, index) in pairs.items()
        if name.endswith("bias")
        and block == "features"
        and f"features.{int(index) + 1}" in norms
    }


def compare(torch, case, losses, gradients, *, kind=np.float32):
    """Losses and gradients within `ROOM` times torch's own float32 error.

    Those in float64 within what the stored numbers, rounded to float32, allow.
    """
    wide = kind is np.float64
    exact, drift = torch[f"{case}/losses"]
    room = 1e-8 if wide else ROOM * np.maximum.accumulate(drift) + 2e-6
    assert np.all(np.abs(losses - exact) < room), (losses - exact, room)
    names = [str(name) for name in torch[f"{case}/names"]]
    assert set(names) == gradients.keys()
    rows = dict(zip(names, torch[f"{case}/gradients"].astype(float), strict=True))
    largest = max(row[0] for row in rows.values())
    zero = without_gradient(names) if case.endswith("_bn") else set()
    assert zero == {name for name, row in rows.items() if row[0] < 1e-9 * largest}
    for name, (norm, *products, error) in rows.items():
        ours = training.sketch(name, gradients[name])
        if name in zero:
            assert ours[0] < 1e-6 * largest, name
            continue
        room = 1e-6 * norm if wide else ROOM * error + 1e-5 * norm
        assert np.all(np.abs(ours - [norm, *products]) < room), name


@pytest.mark.parametrize("name", REPRESENTATIVES)
def test_thin_networks_train_as_torchvision_s(torch, name):
    case = f"thin/{name}"
    compare(torch, case, *trained(case, THIN[name]))


@pytest.mark.campaign
@pytest.mark.parametrize("name", WHOLE)
def test_networks_train_as_torchvision_s(torch, name):
    """In float64; and the weights are drawn as torchvision draws its own."""
    model = ZOO[name](CLASSES)
    with jax.enable_x64(True):
        wide = model.clone(dtype=jnp.float64)
        compare(torch, name, *trained(name, wide, np.float64), kind=np.float64)
    jax.clear_caches()
    names = weights.torch_shapes(model, shapes(model, SIDE, 3))
    with np.load(initial.FILE, allow_pickle=False) as file:
        drawn = zip(file[f"{name}/names"], file[f"{name}/moments"], strict=True)
        moments = {str(leaf): initial.Moments(*map(float, row)) for leaf, row in drawn}
    for leaf in [leaf for leaf in names if "running" not in leaf]:
        kernel = names[leaf.rpartition(".")[0] + ".weight"]
        kind, scale = training.distribution(name, leaf, kernel)
        if kind == "constant":
            assert moments[leaf].mean == scale, leaf
            continue
        found = moments[leaf]
        expected = scale / 3**0.5 if kind == "uniform" else scale
        room = 5 / (initial.SEEDS * found.size) ** 0.5
        assert found.deviation == pytest.approx(expected, rel=room), leaf
        assert found.size < 1000 or (found.kurtosis < 2.4) == (kind == "uniform"), leaf
