"""Multiply-adds against arithmetic by hand and published tables."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from jaxnets.models.__main__ import main, measured, source
from jaxnets.models.zoo import ZOO
from jaxnets.ops.conv import conv
from jaxnets.ops.cost import multiply_adds


def test_products_count_and_nothing_else():
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
    assert multiply_adds(lambda a, b: jnp.tanh(a @ b) + 1, a, b) == 3 * 5 * 7
    batch = jax.ShapeDtypeStruct((2, 3, 5), jnp.float32)
    product = lambda a, b: jnp.einsum("bij,jk->bik", a, b)
    assert multiply_adds(product, batch, b) == 2 * 3 * 5 * 7


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (2, 2), (4, 1)])
def test_a_convolution_counts_its_taps(groups, stride):
    x, kernel = jnp.ones((2, 9, 9, 4)), jnp.ones((3, 3, 4 // groups, 8))
    run = lambda x, k: conv(x, k, groups=groups, stride=(stride, stride))
    side = (9 - 3) // stride + 1
    expected = 2 * side * side * 8 * 9 * 4 // groups
    assert multiply_adds(run, x, kernel) == expected


def test_loops_and_branches_count_what_runs():
    x = jnp.ones((4, 4))
    looped = lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=6)[0]
    assert multiply_adds(looped, x) == 6 * 64
    either = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x, x)
    assert multiply_adds(either, x) == 2 * 64
    assert multiply_adds(jax.jit(lambda x: jax.checkpoint(looped)(x)), x) == 6 * 64


# What torchvision publishes beside its weights, in thousand millions.
PUBLISHED = {
    "alexnet": 0.714,
    "vgg11": 7.609,
    "googlenet": 1.498,
    "resnet18": 1.814,
    "squeezenet1_1": 0.349,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_cost_what_is_published(name):
    assert measured(name)[1] == pytest.approx(PUBLISHED[name] * 1e9, abs=0.5e6)


def test_resnet50_costs_what_the_docstring_says():
    assert measured("resnet50") == (25_557_032, 4_089_184_256)


def test_every_network_has_a_source():
    assert all(source(name).startswith("https://") for name in ZOO)
    assert source("alexnet_2012").startswith("https://papers.nips.cc/")
    assert source("resnet110") == source("resnet20")


def test_the_listing_names_what_it_is_asked(capsys):
    main(["lenet5"])
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2
    assert rows[1].split()[:4] == ["lenet5", "32x32x1", "61,706", "0.4M"]
    with pytest.raises(SystemExit) as stop:
        main(["lenet6"])
    assert stop.value.code == 2
    assert "lenet6" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such signal")
def test_the_list_may_be_cut_short():
    names = ["lenet5", "small_convnet", "nin"]
    listing = subprocess.Popen(
        [sys.executable, "-m", "jaxnets.models", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert listing.stdout.readline().startswith("network")
    listing.stdout.close()
    assert listing.stderr.read() == ""
    listing.stderr.close()
    assert listing.wait() == -13  # SIGPIPE
