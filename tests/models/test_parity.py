"""Logits, gradients and training steps, against torch's in float64."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets.models import functional, weights
from jaxnets.models.convnet import ConvNet
from jaxnets.models.parts.blocks import Logits
from jaxnets.models.zoo import ZOO
from tests.golden.networks.cases import CASES, CLASSES, DAMPING, FORMS, IMAGES, TRAINING
from tests.golden.networks.fill import images
from tests.golden.networks.parity import REFERENCES, difference, filled, logits

TOLERANCE = 1e-4  # of the largest logit; 2e-6 is what float32 gives
# One for each path through the code, the smallest.
SMALL = [
    "mlp",
    "convnet",
    "lenet5",
    "nin",
    "googlenet",
    "resnet20",
    "resnet20_b",
    "preact_resnet20",
    "squeezenet1_1",
    "resnext50_32x4d",
    "densenet_40_12",
    "fractalnet20",
    "alexnet",
]


@pytest.fixture(scope="module")
def torch():
    with np.load(REFERENCES, allow_pickle=False) as file:
        return dict(file)


def test_every_reference_has_a_network(torch):
    kept = {name.removeprefix("logits/") for name in torch if "logits/" in name}
    assert kept == set(CASES) == {*ZOO, *FORMS}


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_torch_s(torch, name):
    assert difference(logits(name), torch[f"logits/{name}"]) < TOLERANCE


@pytest.mark.campaign
@pytest.mark.usefixtures("quickly_compiled")
@pytest.mark.parametrize("name", sorted(set(CASES) - set(SMALL)))
def test_logits_of_large_networks_are_torch_s(torch, name):
    assert difference(logits(name), torch[f"logits/{name}"]) < TOLERANCE
    jax.clear_caches()


@pytest.mark.campaign
def test_each_of_600_blocks_counts(torch):
    """Two blocks in each other's place would be noticed, early and late."""
    name = "resnet1202"
    model, image = ZOO[name](CLASSES, scan=True), images(name, IMAGES, 32, 3)
    variables = filled(model, 32, 3, DAMPING[name])
    predict = jax.jit(lambda v: functional.predict(model, v, jnp.asarray(image)))
    for early, late in [("conv2_3", "conv2_4"), ("conv4_198", "conv4_199")]:
        params = {**variables.params}
        params[early], params[late] = params[late], params[early]
        ours = predict(variables._replace(params=params))
        assert difference(ours, torch[f"logits/{name}"]) > 10 * TOLERANCE


def test_logits_in_float64_are_torch_s_to_the_last_digits(torch):
    with jax.enable_x64(True):
        model, (size, channels) = ZOO["resnet20"](CLASSES), CASES["resnet20"]
        variables = filled(model, size, channels)
        variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
        image = jnp.asarray(images("resnet20", IMAGES, size, channels), jnp.float64)
        wide = model.clone(dtype=jnp.float64)
        ours = jax.jit(lambda v, x: functional.predict(wide, v, x))(variables, image)
        assert difference(ours, torch["logits/resnet20"]) < 1e-12


@pytest.mark.parametrize(
    "name",
    ["googlenet_2014", pytest.param("googlenet", marks=pytest.mark.campaign)],
)
def test_auxiliary_logits_are_torch_s(torch, name):
    model, (size, channels) = ZOO[name](CLASSES).clone(auxiliary=True), CASES[name]
    image = jnp.asarray(images(name, IMAGES, size, channels))

    @jax.jit
    def forward(variables):
        key = jax.random.key(0)
        return functional.forward(model, variables, key, image)[0]

    output = forward(filled(model, size, channels))
    assert isinstance(output, Logits)
    for index, ours in enumerate((output.main, *output.auxiliary)):
        assert difference(ours, torch[f"auxiliary/{name}/{index}"]) < TOLERANCE


@pytest.mark.parametrize("norm", [True, False])
def test_five_steps_of_training_are_torch_s(torch, norm):
    """Losses, first gradients, statistics after 3 steps, parameters after 5."""
    plan = TRAINING
    options = {} if norm else {"norm": None}
    model = ConvNet(CLASSES, plan["filters"], plan["pools"], **options)
    variables = filled(model, plan["size"], 3)
    label = jnp.arange(plan["batch"]) * 3 % CLASSES
    rule = optax.sgd(plan["learning_rate"], momentum=plan["momentum"])

    @jax.jit
    def step(variables, state, image):
        def loss(params):
            whole = variables._replace(params=params)
            key = jax.random.key(0)
            output, buffers = functional.forward(model, whole, key, image)
            losses = optax.softmax_cross_entropy_with_integer_labels(output, label)
            return losses.mean(), buffers

        value, grads = jax.value_and_grad(loss, has_aux=True)(variables.params)
        updates, state = rule.update(grads, state)
        params = optax.apply_updates(variables.params, updates)
        return (
            variables._replace(params=params, buffers=value[1]),
            state,
            value[0],
            grads,
        )

    def check(kind, tree, collection):
        same = variables._replace(**{collection: tree})
        arrays = weights.to_torch(model, same)
        names = [k for k in torch if k.startswith(f"training/{norm}/{kind}/")]
        assert names or (kind == "buffer" and not norm)
        for name in names:
            assert difference(arrays[name.split("/")[-1]], torch[name]) < TOLERANCE, (
                name
            )

    state, losses = rule.init(variables.params), []
    for index in range(plan["steps"]):
        image = jnp.asarray(images(f"step {index}", plan["batch"], plan["size"], 3))
        variables, state, value, grads = step(variables, state, image)
        losses.append(float(value))
        if index == 0:
            check("gradient", grads, "params")
        if index == 2:
            check("buffer", variables.buffers, "buffers")
    check("parameter", variables.params, "params")
    np.testing.assert_allclose(losses, torch[f"training/{norm}/losses"], rtol=TOLERANCE)


@pytest.mark.parametrize("name", ["resnet18", "lenet5"])
def test_logits_are_those_of_torch_itself(name):
    """Where torch and torchvision are installed; the references are what is kept."""
    pytest.importorskip("torch")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    from tests.golden.networks import make_references

    assert difference(logits(name), make_references.logits(name)) < TOLERANCE
