"""Captioners and what they look at, against equations written out and differences."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnets.models import encoders, functional, weights
from jaxnets.models.captioner import ImageCaptioner
from jaxnets.models.parts.caption_decoders import DECODERS, SoftAttentionCaptioner
from jaxnets.models.parts.grid import GridNet, LayerOf
from jaxnets.models.parts.recurrent import RNNCell
from jaxnets.models.zoo import ZOO
from tests.golden.networks.fill import uniform
from tests.golden.networks.parity import filled
from tests.models import captions_by_hand as by_hand
from tests.models.families import FAMILIES
from tests.models.numbers import numbered

ANNOTATIONS = jnp.asarray(2 * uniform("annotations", (2, 3, 5)))
IMAGES = jnp.asarray(uniform("images", (2, 64, 64, 3)))
TOKENS = jnp.array([[1, 4, 6, 5], [1, 7, 2, 0]])
WHERE = jnp.array([[-0.5, 0.3], [0.5, -0.6], [0.1, 0.9]])  # of the three locations


def small(kind, **changes):
    return DECODERS[kind](8, features=4, embedding=6, attention=3, **changes)


@functools.cache
def made(kind, *, placed=False, **changes):
    model = small(kind, **changes)
    inputs = (ANNOTATIONS, TOKENS, WHERE if placed else None)
    # As far as positions lie apart, so that neighbours count.
    return model, numbered(model, *inputs, middles={"reach": 0.7})


@functools.partial(jax.jit, static_argnums=0)
def predicted(model, variables, *inputs):
    return functional.predict(model, variables, *inputs)


@pytest.mark.parametrize(
    "how", [{}, {"reads_first": True}, {"reads_first": True, "deep": True}]
)
@pytest.mark.parametrize("kind", ["none", "soft"])
def test_a_captioner_follows_the_equations(kind, how):
    model, variables = made(kind, **how)
    output = predicted(model, variables, ANNOTATIONS, TOKENS)
    vector = kind == "none"
    twin = functools.partial(by_hand.caption, vector=vector, **how)
    for row in range(2):
        logits, weights, _ = twin(variables.params, ANNOTATIONS[row], TOKENS[row])
        np.testing.assert_allclose(output.logits[row], logits, rtol=2e-4, atol=2e-5)
        np.testing.assert_allclose(output.attended.weights[row], weights, atol=1e-5)


@pytest.mark.parametrize("reads_first", [False, True])
@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.one_python
def test_a_captioner_remembers_where_it_looked(placed, reads_first):
    how = {"reads_first": reads_first}
    model, variables = made("soft", placed=placed, places=2, **how)
    where = WHERE if placed else None
    # Two sentences about each image, and the image only once.
    tokens = jnp.concatenate([TOKENS, TOKENS[::-1, :1], TOKENS], axis=1)
    tokens = jnp.stack([tokens, (tokens * 3 + 1) % 8], axis=1).reshape(4, -1)
    output = predicted(model, variables, ANNOTATIONS, tokens, where)
    twin = functools.partial(by_hand.caption, where=where, **how)
    for row in range(4):
        image = ANNOTATIONS[row // 2]
        logits, weights, _ = twin(variables.params, image, tokens[row])
        np.testing.assert_allclose(output.logits[row], logits, rtol=2e-4, atol=5e-5)
        np.testing.assert_allclose(output.attended.weights[row], weights, atol=1e-5)
    # It matters where it looked: the same word again is another step.
    blank = jax.tree.map(jnp.zeros_like, variables.params["remembered"])
    params = {**variables.params, "remembered": {**blank, "reach": jnp.ones(3)}}
    forgetful = predicted(
        model, variables._replace(params=params), ANNOTATIONS, tokens, where
    )
    looked = (output.attended.weights, forgetful.attended.weights)
    assert np.abs(np.subtract(*looked)).max() > 0.01


def test_one_vector_has_no_places():
    model, variables = made("none")
    output = predicted(small("none", places=2), variables, ANNOTATIONS, TOKENS, WHERE)
    expected = predicted(model, variables, ANNOTATIONS, TOKENS)
    np.testing.assert_array_equal(output.logits, expected.logits)


def test_hard_attention_looks_at_the_most_probable_location_when_nothing_is_drawn():
    model, variables = made("hard")
    output = predicted(model, variables, ANNOTATIONS, TOKENS)
    best = np.asarray(output.attended.weights).argmax(-1)
    logits, _, _ = by_hand.caption(
        variables.params, ANNOTATIONS[0], TOKENS[0], locations=best[0]
    )
    np.testing.assert_allclose(output.logits[0], logits, rtol=2e-4, atol=2e-5)
    assert not output.drawn.any()


def test_hard_attention_draws_locations_with_their_probabilities():
    model, variables = made("hard")

    @jax.jit
    @jax.vmap
    def draw(key):
        output, _ = functional.forward(model, variables, key, ANNOTATIONS, TOKENS)
        return output.drawn, output.attended.used[:, 0], output.attended.weights[:, 0]

    drawn, used, weights = map(
        np.asarray, draw(jax.random.split(jax.random.key(3), 4000))
    )
    assert abs(drawn.mean() - 0.5) < 0.02
    assert set(np.unique(used[drawn])) == {0.0, 1.0}
    np.testing.assert_allclose(used[~drawn], weights[~drawn])  # the expected value
    for row in range(2):
        share = used[:, row][drawn[:, row]].mean(0)
        np.testing.assert_allclose(share, weights[0, row], atol=0.04)


@pytest.mark.parametrize(
    ("kind", "reads_first", "places"),
    [
        ("none", False, 0),
        ("soft", True, 2),
        ("hard", False, 1),
        pytest.param("soft", False, 0, marks=pytest.mark.campaign),
        pytest.param("hard", False, 0, marks=pytest.mark.campaign),
        pytest.param("hard", True, 0, marks=pytest.mark.campaign),
    ],
)
def test_words_one_by_one_are_the_words_at_once(kind, reads_first, places):
    model, variables = made(kind, reads_first=reads_first, places=places)
    call = functools.partial(functional.method, model, variables)

    @jax.jit
    def both():
        memory, carry = call("start", ANNOTATIONS)

        def step(carry, token):
            carry, logits, attended = call("step", memory, carry, token)
            return carry, (logits, attended.weights)

        one_by_one = jax.lax.scan(step, carry, TOKENS.T)[1]
        at_once = functional.predict(model, variables, ANNOTATIONS, TOKENS)
        return one_by_one, at_once.logits

    (logits, weights), at_once = both()
    np.testing.assert_allclose(np.swapaxes(logits, 0, 1), at_once, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sum(weights, axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("seen", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("computed", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.one_python
def test_annotations_may_be_of_another_type(kind, computed, seen):
    model = small(kind, dtype=computed, reads_first=True)
    _, variables = made(kind)
    output = predicted(model, variables, ANNOTATIONS.astype(seen), TOKENS)
    exact = predicted(small(kind, reads_first=True), variables, ANNOTATIONS, TOKENS)
    if kind != "hard":  # which may look elsewhere for the sake of a rounded number
        scale = float(jnp.max(jnp.abs(exact.logits)))
        np.testing.assert_allclose(output.logits, exact.logits, atol=0.03 * scale)
    assert output.logits.dtype == jnp.float32
    assert np.all(np.isfinite(output.logits))


@pytest.mark.parametrize("places", [pytest.param(0, marks=pytest.mark.campaign), 2])
def test_the_gradient_of_soft_attention_is_that_of_finite_differences(places):
    with jax.enable_x64(True):
        model = small("soft", dtype=jnp.float64, places=places)
        _, variables = made("soft", placed=bool(places), places=places)
        wide = lambda x: np.asarray(x, np.float64)
        variables, image = jax.tree.map(wide, (variables, ANNOTATIONS))
        where = jnp.asarray(wide(WHERE)) if places else None
        rng = np.random.default_rng(0)
        scale = rng.normal(size=(2, 4, 8))

        @jax.jit
        @functools.partial(jax.value_and_grad, argnums=(0, 1))
        def value(params, image):
            output = functional.predict(
                model, variables._replace(params=params), image, TOKENS, where
            )
            # Both what is said and where it looks.
            looked = jnp.sum(output.attended.weights[..., 0] ** 2)
            return jnp.sum(scale * output.logits) + looked

        point = (variables.params, image)
        _, slope = value(*point)
        for _ in range(4):
            way = jax.tree.map(lambda x: rng.normal(size=x.shape), point)
            far = jax.tree.map(lambda x, d: x + 1e-5 * d, point, way)
            back = jax.tree.map(lambda x, d: x - 1e-5 * d, point, way)
            (ahead, _), (behind, _) = value(*far), value(*back)
            pairs = zip(jax.tree.leaves(slope), jax.tree.leaves(way), strict=True)
            along = sum(np.sum(np.asarray(g) * d) for g, d in pairs)
            np.testing.assert_allclose(
                along, (float(ahead) - float(behind)) / 2e-5, rtol=1e-6
            )


def test_an_rnn_decodes_too_and_parameters_are_as_many_as_the_equations_have():
    model = SoftAttentionCaptioner(8, 4, 6, 3, cell=RNNCell)
    shapes = jax.eval_shape(
        lambda k: functional.init(model, k, ANNOTATIONS, TOKENS), jax.random.key(0)
    )
    count = sum(x.size for x in jax.tree.leaves(shapes.params))
    d, h, m, a, k = 5, 4, 6, 3, 8
    cell = (m + d + h + 2) * h
    attention = (h + 1 + d + 1) * a
    first = (d + 1) * h + (h + 1) * h
    deep = k * m + (h + 1) * m + d * m + (m + 1) * k
    assert count == cell + attention + first + deep + (h + 1)


def test_scheduled_sampling_feeds_what_the_model_says():
    model, variables = made("soft")
    other = TOKENS.at[:, 1:].set(3)
    run = jax.jit(
        lambda token, rate: (
            functional.forward(
                model, variables, jax.random.key(0), ANNOTATIONS, token, sampling=rate
            )[0].logits
        )
    )
    # Always its own words: what was given after the first does not matter.
    assert np.array_equal(run(TOKENS, 1.0), run(other, 1.0))
    plain = predicted(model, variables, ANNOTATIONS, TOKENS).logits
    np.testing.assert_allclose(run(TOKENS, 0.0), plain, rtol=1e-4, atol=1e-5)
    assert not np.allclose(run(TOKENS, 0.0), run(other, 0.0))
    assert run._cache_size() == 1  # the rate is traced


@pytest.mark.one_python
def test_what_it_feeds_is_drawn_from_what_it_said():
    model, variables = made("none")
    batch = 3000
    image = jnp.repeat(ANNOTATIONS[:1], batch, axis=0)
    token = jnp.full((batch, 2), 1)
    output, _ = jax.jit(
        lambda: functional.forward(
            model, variables, jax.random.key(5), image, token, sampling=jnp.float32(1)
        )
    )()
    # The second logits tell which word was fed.
    words = jnp.stack([jnp.full(8, 1), jnp.arange(8)], axis=1)
    each = predicted(
        model, variables, jnp.repeat(ANNOTATIONS[:1], 8, axis=0), words
    ).logits[:, 1]
    gaps = np.abs(np.asarray(output.logits)[:, 1][:, None] - np.asarray(each)[None])
    fed = np.bincount(gaps.max(-1).argmin(-1), minlength=8) / batch
    np.testing.assert_allclose(fed, jax.nn.softmax(output.logits[0, 0]), atol=0.035)


@pytest.fixture(scope="module")
def grid():
    model = GridNet(norm=None)
    return model, numbered(model, IMAGES), IMAGES


def test_a_cell_sees_its_receptive_field_and_nothing_else(grid):
    model, variables, image = grid

    @jax.jit
    def seen(image):
        cell = lambda x: jnp.sum(functional.predict(model, variables, x)[0, 4, 3] ** 2)
        return jnp.abs(jax.grad(cell)(image)).sum((0, 3))

    rows, columns = (np.flatnonzero(np.asarray(seen(image)).sum(k)) for k in (1, 0))
    # Cells are 8x8 pixels; nine more on every side make 26.
    assert (rows[0], rows[-1] + 1) == (32 - 9, 40 + 9)
    assert (columns[0], columns[-1] + 1) == (24 - 9, 32 + 9)
    assert model.receptive_field == 26
    shaped = jax.eval_shape(lambda v: functional.predict(model, v, image), variables)
    assert shaped.shape == (2, 8, 8, 192)


def test_the_grid_has_the_parameters_that_it_states():
    image = jnp.zeros((2, 64, 64, 3))
    shapes = jax.eval_shape(
        lambda k: functional.init(GridNet(), k, image), jax.random.key(0)
    )
    count = sum(x.size for x in jax.tree.leaves(shapes.params))
    assert f"{count:,} parameters" in (GridNet.__doc__ or "")


def test_a_layer_of_a_network_is_what_the_network_computes():
    network = FAMILIES["squeezenet"]
    image = IMAGES[:, :16, :16]
    model = LayerOf(network, "fire4/squeeze1x1")
    inner = filled(network, 16, 3)
    variables = inner._replace(params={"network": inner.params})

    @jax.jit
    def both():
        expected = functional.features(network, inner, image)["fire4/squeeze1x1"]
        return functional.predict(model, variables, image), expected

    np.testing.assert_array_equal(*both())
    with pytest.raises(ValueError, match=r"only .*fire4/squeeze1x1"):
        jax.eval_shape(
            lambda k: functional.init(LayerOf(network, "fire99"), k, image),
            jax.random.key(0),
        )


def test_features_computed_beforehand_need_no_encoder(grid):
    encoder, _, image = grid
    image = image[:, :16, :24]
    decoder = small("soft")
    whole, rest = ImageCaptioner(encoder, decoder), ImageCaptioner(None, decoder)
    variables = numbered(whole, image, TOKENS)
    inside = lambda *names: variables._replace(
        params={name: variables.params[name] for name in names}
    )

    @jax.jit
    def ways():
        own = variables._replace(params=variables.params["encoder"])
        cells = functional.predict(encoder, own, image)
        return (
            functional.predict(whole, variables, image, TOKENS).logits,
            functional.predict(rest, inside("decoder"), cells, TOKENS).logits,
            functional.predict(rest, inside("decoder"), cells[:, 0, 0], TOKENS),
        )

    at_once, apart, vector = ways()
    np.testing.assert_allclose(apart, at_once, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(vector.attended.weights, 1)  # the only annotation


def test_captioners_can_be_had_from_the_package():
    import jaxnets.models
    from jaxnets.models import SoftAttentionCaptioner as offered
    from jaxnets.models.parts.caption_decoders import SoftAttentionCaptioner as own

    assert offered is own
    with pytest.raises(AttributeError, match="no attribute 'Transformer'"):
        _ = jaxnets.models.Transformer


def test_an_encoder_may_have_learned_other_classes(tmp_path):
    ten, thousand = ZOO["lenet5"](10), ZOO["lenet5"](1000)
    given, image = filled(ten, 32, 3), IMAGES[:1, :32, :32]
    weights.save(ten, given, tmp_path / "ten.npz")
    layer, head = "f6", "output"
    model = LayerOf(thousand, layer)
    inside = encoders.pretrained(model, 32, tmp_path / "ten.npz")

    @jax.jit
    def both():
        expected = functional.features(ten, given, image)
        assert {layer, head} < set(expected), sorted(expected)
        return functional.features(thousand, inside, image)[layer], expected[layer]

    np.testing.assert_array_equal(*both())
    for looked in ("", head):  # where the classes themselves are looked at
        model = LayerOf(ZOO["lenet5"](1000), looked)
        with pytest.raises(weights.WeightsError, match="10"):
            encoders.pretrained(model, 32, tmp_path / "ten.npz")
