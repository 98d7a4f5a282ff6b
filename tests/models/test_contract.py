"""What holds of every network: one small member a family, the zoo as a campaign."""

import ast
import functools
import hashlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnets import files
from jaxnets.learners.supervised import supervised
from jaxnets.models import functional
from jaxnets.models.fractalnet import FractalNet
from jaxnets.models.parts.norms import NORMS, GroupNorm
from jaxnets.models.parts.residual import ResidualNetwork
from jaxnets.models.vgg import VGG
from jaxnets.models.zoo import ZOO, suited
from jaxnets.once import once
from jaxnets.tasks.classification import classification
from jaxnets.testing.learners import check_members
from jaxnets.testing.models import check_bridge, check_gradients, check_model
from jaxnets.types import ImageBatch, Variables
from tests.golden.networks.fill import uniform
from tests.golden.networks.parity import filled
from tests.models.families import FAMILIES, SIZES, rest_as_campaign

KEY = jax.random.key(0)
ROOT = Path(__file__).parents[2]
# Together they have all kinds of paths: buffers of batch norm and others, dropout and
# drop path, sums, concatenations, auxiliary outputs, dense layers behind convolutions.
DIVERSE = ("whitened", "alexnet", "googlenet", "preact", "fractalnet")
# One of each kind of block, where a step takes seconds to compile.
ONE_BLOCK = {
    "googlenet": {"inceptions": (("4a", (4,) * 6),)},
    "fractalnet": {"filters": (8,)},
}


def images(count, size, channels=3):
    return jnp.asarray(uniform("contract", (count, size, size, channels)))


def size_of(family):
    return SIZES.get(family, 16)


@functools.cache
def drawn(family):
    """Variables of a family. To compile its initialisers would take seconds."""
    return filled(FAMILIES[family], size_of(family), 3)


@functools.cache
def whole(family, *, one_block=False):
    """A family's member and its variables, with auxiliary classifiers where it can."""
    changes = ONE_BLOCK.get(family, {}) if one_block else {}
    if hasattr(FAMILIES[family], "auxiliary"):
        changes = {**changes, "auxiliary": True}
    if not changes:
        return FAMILIES[family], drawn(family)
    model = FAMILIES[family].clone(**changes)
    return model, filled(model, size_of(family), 3)


def shapes(model, *image):
    """Output shape of `model`, without computing it."""
    run = lambda x: model.init_with_output(KEY, x, train=False)[0]
    return jax.eval_shape(run, jax.ShapeDtypeStruct(image, jnp.float32))


class Hyper(NamedTuple):
    learning_rate: float = 0.05
    label_smoothing: float = 0.0


def check_trains(model, variables, image, unused=(), rate=0.05, **tolerances):
    """A population of two is two lone runs; they learn, and every parameter does.

    What is compared is the first step's gradient, a whole of length 1 at most, and what
    comes of it. After that float32 shows the order of sums; float64 would be minutes.
    """
    model = model.clone(dtype=image.dtype)
    task = classification(model, rates=())

    def init(key, batch):
        scale = 1 + jax.random.uniform(key) / 10  # to draw takes long to compile
        return jax.tree.map(lambda x: x * scale, variables)

    def rule(hyper):
        """Plain descent; the trace, without memory, keeps the gradient."""
        steps = [optax.clip_by_global_norm(1.0), optax.trace(0.0)]
        return optax.chain(*steps, optax.sgd(hyper.learning_rate))

    learner = supervised(task._replace(init=init), rule)
    count = len(image)
    label, mask = jnp.arange(count, dtype=jnp.int32) % 10, jnp.ones(count, bool)
    batch = ImageBatch(image, label, mask)
    state, seen = check_members(learner, Hyper(rate), batch, further=2, **tolerances)
    check_gradients(state.optimizer[1].trace, unused)
    losses = [float(metrics["loss"].compute()) for metrics in seen]
    assert min(losses[1:]) < losses[0], losses


@pytest.mark.parametrize("family", rest_as_campaign(FAMILIES, DIVERSE))
@pytest.mark.one_python
def test_a_population_is_lone_runs_that_learn(family):
    check_trains(*whole(family, one_block=True), images(4, size_of(family)))


@pytest.mark.parametrize("family", rest_as_campaign(FAMILIES, DIVERSE))
def test_every_family_works_from_nnx(family):
    check_bridge(*whole(family), images(2, size_of(family)))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_layer_has_the_name_of_a_default_that_can_be_called(family):
    """Flax's bridge to NNX would take it for a method, and miss its parameters."""
    model = FAMILIES[family]
    for layer in {*drawn(family).params, *drawn(family).buffers.get("batch_stats", {})}:
        assert not callable(getattr(type(model), layer, None)), layer


def test_the_shipped_contract_holds():
    """`convnet` has both parameters and buffers; as a campaign it is every member's."""
    check_model(FAMILIES["convnet"], images(3, 16))


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_go_by_row_at_any_size_and_nearly_so_in_bfloat16(family):
    model, variables, size = FAMILIES[family], drawn(family), size_of(family)
    half, any_size = model.clone(dtype=jnp.bfloat16), family not in ("mlp", "lenet")

    @jax.jit
    def predict(image, larger):
        """All of it in one program, which takes less to compile than three."""
        exact, rough = (functional.predict(m, variables, image) for m in (model, half))
        return exact, rough, functional.predict(model, variables, larger)

    batch, larger = images(3, size), images(1, size + 9 if any_size else size)
    logits, rough, of_larger = predict(batch, larger)
    assert logits.shape == (3, 10)
    assert logits.dtype == rough.dtype == jnp.float32
    others, _, _ = predict(batch.at[0].set(0).at[2].multiply(-2), larger)
    np.testing.assert_allclose(others[1], logits[1], rtol=1e-5, atol=1e-6)
    assert np.any(others != logits, axis=1).tolist() == [True, False, True]
    assert np.all(np.isfinite(of_larger))
    scale = float(jnp.max(jnp.abs(logits)))
    assert 0 < float(jnp.max(jnp.abs(rough - logits))) < 0.1 * scale
    init = lambda: functional.init(half, KEY, batch)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(init))}
    assert kinds == {jnp.dtype("float32")}


@pytest.mark.parametrize("norm", rest_as_campaign(NORMS, ("none", "batch")))
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mlp"}))
def test_every_norm_fits(family, norm):
    check_norm(family, norm)


@pytest.mark.parametrize("norm", sorted(set(NORMS) - {"none", "batch"}))
def test_norms_without_buffers_fit(norm):
    """In place of all families, one that norms in a unit, and one by itself."""
    for family in ("convnet", "densenet"):
        check_norm(family, norm)


def check_norm(family, norm):
    model, size = FAMILIES[family].clone(norm=NORMS[norm]), size_of(family)
    if family == "alexnet":
        size = 40
    if family == "vgg":
        size = 64

    def train(image):
        variables = functional.init(model, KEY, image)
        return functional.forward(model, variables, KEY, image)[0], variables

    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    logits, (params, buffers) = jax.eval_shape(train, image)
    assert logits.shape == (2, 10)
    names = [
        jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    assert any("norm" in name for name in names) == (norm != "none")
    computed = {"filters"} if family == "whitened" else set()
    assert set(buffers) - computed == ({"batch_stats"} if norm == "batch" else set())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_activation_is_the_one_given(family):
    model = FAMILIES[family].clone(activation=jnp.tanh)
    predict = functools.partial(functional.predict, model, drawn(family))
    jaxpr = str(jax.make_jaxpr(predict)(images(2, size_of(family))))
    assert "tanh" in jaxpr
    assert "relu" not in jaxpr


@pytest.mark.parametrize("family", FAMILIES)
def test_features_have_the_names_of_the_parameters(family):
    model, batch = FAMILIES[family], images(2, size_of(family))
    found = jax.eval_shape(
        lambda v, x: functional.features(model, v, x), drawn(family), batch
    )
    for layer in drawn(family).params:
        assert any(name.split("/")[0] == layer for name in found), layer
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(found))


@pytest.mark.parametrize(
    "family", [name for name, net in FAMILIES.items() if functional.rates(net)]
)
def test_rates_are_traced_and_zero_switches_them_off(family):
    model, variables = whole(family)
    batch = images(4, size_of(family))

    @jax.jit
    def forward(rates):
        output, _ = functional.forward(model, variables, KEY, batch, **rates)
        return jnp.stack(jax.tree.leaves(output))

    zeros = dict.fromkeys(functional.rates(model), 0.0)
    plain, off = forward({}), forward(zeros)
    np.testing.assert_allclose(off, plain, rtol=1e-4, atol=1e-5)
    for name in zeros:
        on = forward({**zeros, name: 0.9})
        assert float(jnp.max(jnp.abs(on - plain))) > 1e-3, name
        assert np.all(np.isfinite(on)), name
    assert forward._cache_size() == 2  # without rates, and with any


@pytest.mark.parametrize(("stem", "size"), [(1, 32), (2, 64), (4, 128), (8, 224)])
def test_stems_take_images_of_all_sizes(stem, size):
    for family, model in FAMILIES.items():
        most = {"alexnet": 8, "googlenet": 8}.get(family, 4)
        if hasattr(model, "stem") and stem <= most:
            fitted = model.clone(stem=stem)
            assert shapes(fitted, 2, size, size, 3).shape == (2, 10), family


def test_a_stem_that_is_none_says_so():
    for model in FAMILIES.values():
        if hasattr(model, "stem") and type(model).__name__ != "NIN":
            with pytest.raises(ValueError, match="stem is 1, 2"):
                shapes(model.clone(stem=3), 2, 64, 64, 3)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_the_zoo_takes_images_of_that_size(size):
    for name in ("alexnet", "vgg11", "googlenet", "resnet18", "squeezenet1_1", "nin"):
        model = suited(ZOO[name](10), size)
        assert shapes(model, 1, size, size, 3).shape == (1, 10), name
    same = ZOO["resnet18"](10)
    assert suited(same, 224) == same
    assert suited(same, 32).stem == 1
    assert suited(ZOO["vgg11"](10), 32).grid == 1


def test_googlenet_rescales_colours_as_torch_s_weights_expect():
    model, variables = FAMILIES["googlenet"], drawn("googlenet")
    image = images(2, 16)
    factor = jnp.asarray([0.229, 0.224, 0.225])[None, None, None, :] / 0.5
    offset = (jnp.asarray([0.485, 0.456, 0.406])[None, None, None, :] - 0.5) / 0.5
    rescaling = model.clone(rescale=True)
    both = lambda v, x, y: (
        functional.predict(rescaling, v, x),
        functional.predict(model, v, y),
    )
    ours, expected = jax.jit(both)(variables, image, image * factor + offset)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_variants_take_the_attributes_of_their_network():
    for name, function in ZOO.items():
        model = function(7, dtype=jnp.bfloat16, norm=GroupNorm)
        assert model.classes == 7, name
        assert (model.dtype, model.norm) == (jnp.bfloat16, GroupNorm), name


# A bias before a norm: the norm takes it out again. Torch's VGG has it, and we load it.
WITHOUT_GRADIENT = {
    name: [f"conv{b}_{l}/conv/bias" for b in range(1, 6) for l in range(1, 5)]
    for name in ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
}
# They are looped over: to compile their hundreds of blocks takes long.
LOOPED = ("resnet1202", "preact_resnet1001")
# Hundreds of layers make a tenth of the last bit of float32: they train in float64.
DOUBLE = ("preact_resnet164", "preact_resnet200", *LOOPED)
FRESH = "JAXNETS_FRESH"  # set to 1, the campaign forgets which members passed
# The smallest members first: a campaign that is stopped has then seen most of them.
LARGE = (
    *[name for name in ZOO if name.startswith(("vgg", "alexnet", "wide", "resnext"))],
    *["densenet161", "densenet169", "densenet201", "densenet_bc_100_12"],
    *["densenet_100_12", "preact_resnet164", "preact_resnet200", "wrn_28_10"],
    *["densenet_bc_190_40", "densenet_bc_250_24", "fractalnet40", *LOOPED],
)
MEMBERS = sorted(ZOO, key=lambda name: name in LARGE and 1 + LARGE.index(name))


def imported(module, found=None):
    """The names of the modules of jaxnets that a module needs, itself among them."""
    found = set() if found is None else found
    if module not in found:
        found.add(module)
        for node in ast.walk(ast.parse(source(module).read_text())):
            parent = node.module if isinstance(node, ast.ImportFrom) else None
            for alias in node.names if parent else ():
                part = f"{parent}.{alias.name}"  # a module, or a name of its parent
                name = part if source(part).exists() else parent
                if name.startswith("jaxnets.") and source(name).exists():
                    imported(name, found)
    return found


def source(module):
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def passed(name):
    """The file that remembers that a member passed, with this code and these packages.

    Of jaxnets it is what the member and its contract need.
    """
    needed = imported(ZOO[name].__module__) | imported(check_model.__module__)
    needed |= imported(check_members.__module__) | imported(supervised.__module__)
    needed |= imported(classification.__module__)
    digest = hashlib.sha256(f"{sys.version} {jax.__version__}".encode())
    for path in [*map(source, sorted(needed)), Path(__file__)]:
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return files.cache_root() / "zoo" / f"{name}-{digest.hexdigest()[:16]}"


def smallest(model):
    """Side of the smallest images that leave something for every layer to do."""
    name = type(model).__name__
    if isinstance(model, VGG | FractalNet) or name == "LeNet5":
        return 32
    three = isinstance(model, ResidualNetwork) and len(model.depths) == 3
    return 8 if three or name == "MLP" else 16


def measured(model, variables, image):
    """The variables with the statistics of this batch.

    In deep networks the initial ones, 0 and 1, let every sum double the variance.
    """
    if not variables.buffers:
        return variables
    at_once = functools.partial(model.norm, momentum=0.0)
    _, buffers = jax.jit(
        lambda v: functional.forward(model.clone(norm=at_once), v, KEY, image)
    )(variables)
    return Variables(variables.params, buffers)


@pytest.mark.campaign
@pytest.mark.usefixtures("quickly_compiled")
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member(name):
    """The contract, and two sizes, learning, members; what passed is not run again."""
    done = passed(name)
    if done.exists() and os.environ.get(FRESH, "0") == "0":
        pytest.skip(f"passed before, with the same code ({FRESH}=1 runs it again)")
    start = time.process_time()
    model = ZOO[name](10).clone(**({"scan": True} if name in LOOPED else {}))
    model = suited(model, 32)
    channels = 1 if name == "lenet5" else 3
    size = smallest(model)
    image, unused = images(3, size, channels), WITHOUT_GRADIENT.get(name, ())
    variables = once(lambda key: functional.init(model, key, image))(KEY)
    variables = measured(model, variables, image)
    check_model(
        model, image, variables=variables, without_gradient=unused, of_largest=1e-3
    )
    jax.clear_caches()
    if name not in ("mlp", "lenet5"):
        larger = images(1, size + 9, channels)
        logits = jax.jit(lambda v, x: functional.predict(model, v, x))(
            variables, larger
        )
        assert logits.shape == (1, 10)
        assert np.all(np.isfinite(logits))
    wide, tolerances = jnp.float32, {"of_largest": 0.1}
    if name in DOUBLE:
        wide, tolerances = jnp.float64, {"rtol": 1e-6, "atol": 1e-9}
    with jax.enable_x64(wide == jnp.float64):
        variables, image = jax.tree.map(lambda x: x.astype(wide), (variables, image))
        check_trains(model, variables, image, unused, rate=0.01, **tolerances)
    jax.clear_caches()
    done.parent.mkdir(parents=True, exist_ok=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = (
        f"{name}: {time.process_time() - start:.0f} s of CPU, {memory:.1f} GB at most"
    )
    files.write(done, line)
    print(line, flush=True)
