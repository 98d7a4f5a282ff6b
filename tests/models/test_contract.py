"""What holds of every network: one small member a family, the zoo as a campaign."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxnets.models import blocks, functional
from jaxnets.models.blocks import NORMS, Logits
from jaxnets.models.zoo import ZOO, suited
from tests.golden.networks.fill import uniform
from tests.golden.networks.parity import filled
from tests.models.families import FAMILIES

KEY = jax.random.key(0)
# Each program runs once or twice here: compiling it well costs more than it saves.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
SIZES = {"lenet": 32, "vgg": 32, "nin": 16, "alexnet": 32}


def images(count, size, channels=3):
    return jnp.asarray(uniform("contract", (count, size, size, channels)))


def size_of(family):
    return SIZES.get(family, 16)


@functools.cache
def drawn(family):
    """Variables of a family. To compile its initialisers would take seconds."""
    return filled(FAMILIES[family], size_of(family), 3)


@functools.cache
def compiled(family):
    """The function from variables and images to logits."""
    return jit(lambda v, x: functional.predict(FAMILIES[family], v, x))


def shapes(model, *image):
    """Output shape of `model`, without computing it."""
    run = lambda x: model.init_with_output(KEY, x, train=False)[0]
    return jax.eval_shape(run, jax.ShapeDtypeStruct(image, jnp.float32))


def check_gradients(model, variables, image, unused=()):
    """Every parameter gets a gradient from a loss on training outputs."""

    @jit
    def gradients(params, buffers):
        def loss(params):
            whole = variables._replace(params=params, buffers=buffers)
            output, _ = functional.forward(model, whole, KEY, image)
            return sum(jnp.sum(jnp.sin(x + 1)) for x in jax.tree.leaves(output))

        return jax.grad(loss)(params)

    found = gradients(variables.params, variables.buffers)
    for path, gradient in jax.tree_util.tree_leaves_with_path(found):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.all(np.isfinite(gradient)), name
        if not any(name.endswith(end) for end in unused):
            assert np.any(gradient != 0), f"{name} gets no gradient"


def check_learns(model, variables, image, steps=12, rate=0.02):
    """The loss on one repeated batch falls."""
    label = jnp.arange(image.shape[0]) % 10
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate / 10))

    @jit
    def step(variables, state):
        def loss(params):
            whole = variables._replace(params=params)
            logits, buffers = functional.forward(model, whole, KEY, image)
            heads = (
                (logits.main, *logits.auxiliary)
                if isinstance(logits, Logits)
                else [logits]
            )
            losses = [
                optax.softmax_cross_entropy_with_integer_labels(head, label).mean()
                for head in heads
            ]
            return losses[0] + 0.3 * sum(losses[1:]), buffers

        (value, buffers), grads = jax.value_and_grad(loss, has_aux=True)(
            variables.params
        )
        updates, state = rule.update(grads, state)
        params = optax.apply_updates(variables.params, updates)
        return variables._replace(params=params, buffers=buffers), state, value

    state, losses = rule.init(variables.params), []
    for _ in range(steps):
        variables, state, value = step(variables, state)
        losses.append(float(value))
    assert np.all(np.isfinite(losses))
    assert min(losses[-3:]) < losses[0], losses


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_gets_a_gradient(family):
    check_gradients(FAMILIES[family], drawn(family), images(4, size_of(family)))


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_do_not_mind_each_other_in_evaluation(family):
    predict, batch = compiled(family), images(3, size_of(family))
    logits = predict(drawn(family), batch)
    assert logits.shape == (3, 10)
    assert logits.dtype == jnp.float32
    others = predict(drawn(family), batch.at[0].set(0).at[2].multiply(-2))
    np.testing.assert_allclose(others[1], logits[1], rtol=1e-5, atol=1e-6)
    assert np.any(others != logits, axis=1).tolist() == [True, False, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_computes_with_float32_parameters(family):
    half, batch = FAMILIES[family].clone(dtype=jnp.bfloat16), images(3, size_of(family))
    exact = compiled(family)(drawn(family), batch)
    rough = jit(lambda v, x: functional.predict(half, v, x))(drawn(family), batch)
    assert rough.dtype == jnp.float32
    scale = float(jnp.max(jnp.abs(exact)))
    assert 0 < float(jnp.max(jnp.abs(rough - exact))) < 0.1 * scale
    init = lambda: functional.init(half, KEY, batch)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(init))}
    assert kinds == {jnp.dtype("float32")}


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"mlp"}))
@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_fits(family, norm):
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
    assert bool(buffers) == (norm == "batch")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_activation_is_the_one_given(family):
    """With the identity as activation and no norm, most networks are affine in x."""
    calls = []

    def activation(x):
        calls.append(x.shape)
        return jnp.tanh(x)

    shapes(FAMILIES[family].clone(activation=activation), 2, 32, 32, 3)
    assert calls
    jaxpr = str(
        jax.make_jaxpr(
            lambda x: (
                FAMILIES[family]
                .clone(activation=jnp.tanh)
                .init_with_output(KEY, x, train=False)[0]
            )
        )(images(2, 32))
    )
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
    model = FAMILIES[family]
    if family == "googlenet":
        model = model.clone(auxiliary=True)
    variables, batch = filled(model, size_of(family), 3), images(4, size_of(family))

    @jit
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


def test_a_network_works_from_nnx():
    """Through Flax's bridge; `convnet` has both parameters and buffers."""
    model = FAMILIES["convnet"].clone(kernel_init=nnx.initializers.zeros)
    variables, batch = drawn("convnet"), images(2, 16)
    bridge = nnx.bridge.ToNNX(model, rngs=nnx.Rngs(0))
    nnx.bridge.lazy_init(bridge, batch, train=False)
    names = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
    state = {"params": variables.params, **variables.buffers}
    for collection, kind in names.items():
        own = nnx.state(bridge, kind)
        mine = jax.tree.leaves(state[collection])
        assert [x.shape for x in jax.tree.leaves(own)] == [x.shape for x in mine]
        tree = jax.tree.unflatten(jax.tree.structure(own), mine)
        nnx.update(bridge, tree)
    np.testing.assert_allclose(
        bridge(batch, train=False),
        functional.predict(model, variables, batch),
        rtol=1e-5,
        atol=1e-6,
    )


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
    ours = jit(lambda v, x: functional.predict(rescaling, v, x))(variables, image)
    expected = compiled("googlenet")(variables, image * factor + offset)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_variants_take_the_attributes_of_their_network():
    for name, function in ZOO.items():
        model = function(7, dtype=jnp.bfloat16, norm=blocks.GroupNorm)
        assert model.classes == 7, name
        assert (model.dtype, model.norm) == (jnp.bfloat16, blocks.GroupNorm), name


# A bias before a norm: the norm takes it out again. Torch's VGG has it, and we load it.
WITHOUT_GRADIENT = {
    name: [f"conv{b}_{l}/conv/bias" for b in range(1, 6) for l in range(1, 5)]
    for name in ("vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
}


@pytest.mark.campaign
@pytest.mark.parametrize("name", ZOO)
def test_every_member(name):
    """Two sizes, batches of 1 and 3, gradients, learning, bfloat16."""
    channels = 1 if name == "lenet5" else 3
    model = suited(ZOO[name](10), 32)
    batch = images(3, 32, channels)
    variables = jax.jit(lambda key: functional.init(model, key, batch))(KEY)
    predict = jax.jit(lambda v, x: functional.predict(model, v, x))
    whole = predict(variables, batch)
    assert whole.shape == (3, 10)
    assert np.all(np.isfinite(whole))
    alone = predict(variables, batch[:1])
    scale = float(jnp.max(jnp.abs(whole)))
    np.testing.assert_allclose(whole[:1], alone, rtol=1e-3, atol=1e-4 * scale)
    if name not in ("mlp", "lenet5"):
        assert predict(variables, images(1, 48, channels)).shape == (1, 10)
    check_gradients(model, variables, batch, WITHOUT_GRADIENT.get(name, ()))
    check_learns(model, variables, batch)
    half = model.clone(dtype=jnp.bfloat16)
    output = jax.jit(lambda v, x: functional.predict(half, v, x))(variables, batch)
    assert np.all(np.isfinite(output))
    jax.clear_caches()
