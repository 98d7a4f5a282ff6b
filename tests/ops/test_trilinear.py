"""Convolution under every transformation, against `lax.conv_general_dilated`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnets.ops import conv_forms
from jaxnets.ops.conv import conv, conv_transpose
from jaxnets.ops.conv_forms import IMAGE, KERNEL, OUTPUT, Geometry
from jaxnets.ops.cost import multiply_adds

CASES = {
    "same": ((8, 9, 5), (3, 3, 5, 6), {"padding": "SAME"}),
    "valid": ((12, 9, 6), (3, 2, 6, 4), {}),
    "small maps": ((4, 4, 5), (3, 3, 5, 6), {"padding": "SAME"}),
    "tiny maps": ((2, 2, 5), (3, 3, 5, 6), {"padding": "SAME"}),
    "grey": ((12, 12, 1), (5, 5, 1, 3), {"padding": ((2, 2), (2, 2))}),
    "stride": ((9, 8, 4), (3, 3, 4, 6), {"stride": (2, 2), "padding": "SAME"}),
    "stem": (
        (17, 16, 3),
        (7, 7, 3, 4),
        {"stride": (2, 3), "padding": ((3, 3), (2, 0))},
    ),
    "projection": ((8, 7, 4), (1, 1, 4, 6), {"stride": (2, 2)}),
    "dilation": ((9, 9, 4), (3, 3, 4, 6), {"dilation": (2, 1), "padding": "SAME"}),
    "groups": ((9, 9, 4), (3, 3, 2, 6), {"groups": 2, "padding": "SAME"}),
    "four groups": (
        (8, 7, 8),
        (3, 3, 2, 12),
        {"groups": 4, "stride": (2, 1), "padding": "SAME"},
    ),
    "depthwise": ((7, 8, 5), (3, 3, 1, 10), {"groups": 5, "padding": "SAME"}),
}


def drawn(*shape):
    seed = sum(shape)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def lax_conv(x, kernel, **options):
    return lax.conv_general_dilated(
        x,
        kernel,
        options.get("stride", (1, 1)),
        options.get("padding", "VALID"),
        rhs_dilation=options.get("dilation", (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=options.get("groups", 1),
    )


def gradients(f):
    return jax.grad(lambda x, k: jnp.sum(jnp.sin(f(x, k)) ** 2), (0, 1))


def curvature(f, *along):
    """A product with the Hessian, forward over reverse."""
    return lambda x, k: jax.jvp(gradients(f), (x, k), along)[1]


def twice_reversed(f, *along):
    product = lambda x, k: sum(
        jnp.vdot(a, b) for a, b in zip(gradients(f)(x, k), along, strict=True)
    )
    return jax.grad(product, (0, 1))


def everything(f, x, kernel):
    """What each transformation makes of `f`, by name."""
    along = (jnp.cos(x), jnp.cos(kernel))
    images, kernels = (
        jnp.stack([x, x**2, along[0]]),
        jnp.stack([kernel, *2 * [along[1]]]),
    )
    of_members = lambda x, k: jnp.sin(jax.vmap(f, (None, 0))(x, k)).sum()
    return {
        "value": f(x, kernel),
        "forward": jax.jvp(f, (x, kernel), along),
        "reverse": gradients(f)(x, kernel),
        "forward over reverse": curvature(f, *along)(x, kernel),
        "reverse over reverse": twice_reversed(f, *along)(x, kernel),
        "members": jax.vmap(gradients(f))(images, kernels),
        "members, curvature": jax.vmap(curvature(f, *along))(images, kernels),
        "members of one batch": jax.vmap(gradients(f), (None, 0))(x, kernels),
        "batches of one member": jax.vmap(gradients(f), (0, None))(images, kernel),
        "reverse of members": jax.grad(of_members, (0, 1))(x, kernels),
        "nested": jax.vmap(jax.vmap(f, (None, 0)), (0, 0))(
            images, jnp.stack([kernels] * 3)
        ),
        "scanned": lax.scan(
            lambda sum_, x: (sum_ + gradients(f)(x, kernel)[1], None), kernel, images
        )[0],
    }


def of_members(f, x, kernel):
    """What training a network and a population needs."""
    images, kernels = (jnp.stack([a, a**2, jnp.cos(a)]) for a in (x, kernel))
    return {
        "value": f(x, kernel),
        "reverse": gradients(f)(x, kernel),
        "members": jax.vmap(gradients(f))(images, kernels),
    }


# Of the others' geometries the rules of derivatives know nothing.
WHOLE = ("same", "tiny maps", "stem", "groups")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case in WHOLE else pytest.mark.campaign)
        for case in CASES
    ],
)
def test_every_transformation_is_lax_s(case):
    compare(case, everything)


@pytest.mark.parametrize("case", sorted(set(CASES) - set(WHOLE)))
def test_gradients_are_lax_s(case):
    compare(case, of_members)


def compare(case, made):
    shape, kernel_shape, options = CASES[case]
    with jax.enable_x64(True):
        x, kernel = drawn(4, *shape), drawn(*kernel_shape)
        ours, theirs = jax.jit(
            lambda x, k: [
                made(lambda x, k, f=f: f(x, k, **options), x, k)
                for f in (conv, lax_conv)
            ]
        )(x, kernel)
        for name, value in theirs.items():
            for mine, other in zip(
                jax.tree.leaves(ours[name]), jax.tree.leaves(value), strict=True
            ):
                tolerance = 1e-10 * float(jnp.max(jnp.abs(other)))
                np.testing.assert_allclose(mine, other, 0, tolerance, err_msg=name)


@pytest.mark.parametrize("wanted", [IMAGE, KERNEL, OUTPUT])
@pytest.mark.parametrize(
    ("side", "channels", "groups"),
    [(32, 16, 1), (8, 64, 1), (4, 96, 1), (8, 12, 3), (8, 8, 8)],
)
def test_float32_is_lax_s_and_what_other_devices_get(wanted, side, channels, groups):
    ends = ((1, 1), (1, 1))
    geometry = Geometry((side, side), (3, 3), (1, 1), ends, (1, 1), groups)
    image = jnp.float32(drawn(8, side, side, channels))
    kernel = jnp.float32(drawn(3, 3, channels // groups, channels))
    pair = [image, kernel, image]
    del pair[wanted]
    ours = jax.jit(lambda *a: conv_forms.on_cpu(wanted, geometry, *a))(*pair)
    theirs = jax.jit(lambda *a: conv_forms.portable(wanted, geometry, *a))(*pair)
    tolerance = 1e-5 * float(jnp.max(jnp.abs(theirs)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def test_a_chunk_is_not_the_batch(monkeypatch):
    geometry = Geometry((6, 6), (3, 3), (1, 1), ((1, 1), (1, 1)))
    image, gradient = jnp.float32(drawn(6, 6, 6, 8)), jnp.float32(drawn(6, 6, 6, 4))
    whole = conv_forms.on_cpu(KERNEL, geometry, image, gradient)
    for cached in (1, 2**15):  # one image at a time, two or three
        monkeypatch.setattr(conv_forms, "CACHED", cached)
        parts = conv_forms.on_cpu(KERNEL, geometry, image, gradient)
        np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-4)


def test_kernels_in_bfloat16_are_summed_in_float32():
    """65,536 ones: sums in bfloat16 would stop at 256."""
    image = jnp.ones((16, 64, 64, 8), jnp.bfloat16)
    kernel = jnp.zeros((1, 1, 8, 2), jnp.bfloat16)
    gradient = jax.grad(lambda k: conv(image, k).astype(jnp.float32).sum())(kernel)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(jnp.float32), 2.0**16)


def test_other_devices_get_lax_and_nothing_else():
    f = jax.grad(lambda x, k: conv(x, k, stride=(2, 2), padding="SAME").sum(), (0, 1))
    x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 4, 6))
    trace = jax.jit(f).trace(x, kernel)
    elsewhere = trace.lower(lowering_platforms=("cuda",)).as_text()
    assert elsewhere.count("stablehlo.convolution") == 2
    assert "stablehlo.while" not in elsewhere
    assert "dot_general" not in elsewhere
    assert "dot_general" in trace.lower(lowering_platforms=("cpu",)).as_text()


def test_no_convolution_has_groups_on_a_cpu():
    """Their kernel gradient would take hundreds of times as long."""
    f = lambda x, k: conv(x, k, padding="SAME", groups=4).sum()
    x, kernel = jnp.ones((2, 8, 8, 8)), jnp.ones((3, 3, 2, 12))
    text = jax.jit(jax.grad(f, (0, 1))).lower(x, kernel).as_text()
    assert "feature_group_count = 1 " in text
    assert "group_count = 4" not in text


def test_multiplications_are_counted():
    x, kernel = jnp.ones((2, 8, 8, 4)), jnp.ones((3, 3, 2, 6))
    run = lambda x, k: conv(x, k, padding="SAME", groups=2)
    assert multiply_adds(run, x, kernel) == 2 * 64 * 6 * 9 * 2
    both = jax.grad(lambda x, k: run(x, k).sum(), (0, 1))
    assert multiply_adds(both, x, kernel) == 3 * 2 * 64 * 6 * 9 * 2
    many = jax.vmap(run, (0, 0))
    stacked = jnp.stack([x] * 3), jnp.stack([kernel] * 3)
    assert multiply_adds(many, *stacked) == 3 * multiply_adds(run, x, kernel)
    up = lambda x, k: conv_transpose(x, k, stride=(2, 2), padding=((1, 1), (1, 1)))
    assert multiply_adds(up, x, jnp.ones((4, 4, 4, 6))) == 2 * 64 * 16 * 4 * 6


@pytest.mark.parametrize("shape", [(0, 8, 8, 4), (2, 2, 8, 4)])
def test_nothing_to_convolve_is_nothing(shape):
    x, kernel = jnp.ones(shape), jnp.ones((3, 3, 4, 6))
    assert conv(x, kernel).shape == lax_conv(x, kernel).shape
    for gradient, like in zip(gradients(conv)(x, kernel), (x, kernel), strict=True):
        np.testing.assert_array_equal(gradient, jnp.zeros_like(like))


def test_channels_that_do_not_fit_say_so():
    with pytest.raises(ValueError, match="kernel of 3 channels to 6, in 1 groups"):
        conv(jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 3, 6)))
