"""Weights in and out: exact round trips, strict reports, files that lie."""

import json
import pickle
import re
import struct
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from jaxnets.models import functional, weights
from jaxnets.models.convnet import ConvNet
from jaxnets.models.densenet import DenseNet
from jaxnets.models.resnet import cifar_resnet, resnet18
from jaxnets.models.weights import WeightsError
from jaxnets.models.zoo import ZOO
from tests.golden.networks.fill import fill
from tests.golden.networks.parity import filled, shapes
from tests.models.families import FAMILIES

NET = ConvNet(10, (4, 6), (0, 1))


@pytest.fixture(scope="module")
def variables():
    return filled(NET, 8, 3)


@pytest.fixture(scope="module")
def template():
    return shapes(NET, 8, 3)


def same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_round_trip_is_exact(tmp_path, variables, template, suffix):
    path = tmp_path / f"net{suffix}"
    weights.save(NET, variables, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    same(weights.load(NET, template, path), variables)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_goes_out_and_in(family):
    model = FAMILIES[family]
    variables = filled(model, 32, 3)
    arrays = weights.to_torch(model, variables)
    whole = {**variables._asdict()}
    assert len(arrays) == len(jax.tree.leaves(whole))
    assert all("/" not in name for name in arrays)
    same(weights.from_torch(model, shapes(model, 32, 3), arrays), variables)


@pytest.mark.parametrize(
    "name", ["vgg16_bn", "alexnet", "squeezenet1_0", "densenet121"]
)
def test_names_are_torchvision_s(name):
    """A few that only the right name gives; `test_parity` has all of them."""
    model = ZOO[name](1000)
    found = weights.torch_shapes(model, shapes(model, 64, 3))
    expected = {
        "vgg16_bn": {
            "features.40.weight": (512, 512, 3, 3),
            "classifier.6.bias": (1000,),
        },
        "alexnet": {"features.10.bias": (256,), "classifier.1.weight": (4096, 9216)},
        "squeezenet1_0": {
            "features.12.expand3x3.weight": (256, 64, 3, 3),
            "classifier.1.weight": (1000, 512, 1, 1),
        },
        "densenet121": {
            "features.denseblock4.denselayer16.conv2.weight": (32, 128, 3, 3),
            "features.norm5.running_var": (1024,),
        },
    }[name]
    assert {key: found[key] for key in expected} == expected


def test_missing_unused_and_misshapen_arrays_are_named(variables, template):
    arrays = weights.to_torch(NET, variables)
    arrays["extra.weight"] = arrays.pop("conv0.norm.running_var")
    arrays["conv1.conv.weight"] = arrays["conv1.conv.weight"][:5]
    with pytest.raises(WeightsError) as error:
        weights.from_torch(NET, template, arrays)
    message = str(error.value)
    assert "missing, 1: conv0.norm.running_var (4,)" in message
    assert "unused, 1: extra.weight (4,)" in message
    assert "conv1.conv.weight is (5, 4, 3, 3), not (6, 4, 3, 3)" in message


def test_a_head_is_new_only_when_asked(variables):
    arrays = weights.to_torch(NET, variables)
    other = NET.clone(classes=3)
    fresh = filled(other, 8, 3)
    with pytest.raises(
        WeightsError, match=re.escape("output.weight is (10, 6), not (3, 6)")
    ):
        weights.from_torch(other, fresh, arrays)
    loaded = weights.from_torch(other, fresh, arrays, new_head=True)
    same(loaded.params["output"], fresh.params["output"])
    same(loaded.params["conv0"], variables.params["conv0"])
    same(loaded.buffers, variables.buffers)
    headless = {k: v for k, v in arrays.items() if not k.startswith("output")}
    same(weights.from_torch(other, fresh, headless, new_head=True), loaded)
    wrong = {**arrays, "conv0.conv.weight": arrays["conv1.conv.weight"]}
    with pytest.raises(WeightsError, match="conv0"):
        weights.from_torch(other, fresh, wrong, new_head=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_network_has_a_head(family):
    params = shapes(FAMILIES[family].clone(classes=7), 32, 3).params
    mask = jax.tree.leaves(weights.head_mask(params))
    rows = zip(jax.tree.leaves(params), mask, strict=True)
    assert {leaf.shape[-1] for leaf, head in rows if head} == {7}


def test_the_tenth_convolution_is_no_head_beside_a_last_layer():
    layer = {"kernel": np.zeros((1, 2)), "bias": np.zeros(2)}
    own = {"conv10": layer, "output": layer}
    mask = weights.head_mask(own)
    assert not any(jax.tree.leaves(mask["conv10"]))
    assert all(jax.tree.leaves(mask["output"]))
    assert all(jax.tree.leaves(weights.head_mask({"conv10": layer})))  # SqueezeNet's


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_cifar_resnets_take_the_common_names(projection, parallel):
    model = cifar_resnet(10, 1, projection=projection)
    variables = filled(model, 8, 3)
    public = {}
    for name, array in weights.to_torch(model, variables).items():
        common = re.sub(r"^fc\.", "linear.", name).replace("downsample", "shortcut")
        public["module." * parallel + common] = array
        if "running_var" in name:
            count = name.replace("running_var", "num_batches_tracked")
            public["module." * parallel + count] = np.int64(7)
    assert any("linear.weight" in name for name in public)
    same(weights.from_torch(model, shapes(model, 8, 3), public), variables)


@pytest.mark.parametrize(
    ("prefix", "counters"),
    [
        ("_orig_mod.", ()),
        ("module.", ("n_averaged",)),
        ("model.", ("model.conv0.norm.num_batches_tracked", "model.n_averaged")),
        ("state_dict.model._orig_mod.", ("state_dict.epoch.n_averaged",)),
        ("", ("conv0.norm.num_batches_tracked",)),
    ],
)
def test_what_wrappers_put_in_front_of_every_name_is_left_out_and_said(
    variables, template, capsys, prefix, counters
):
    arrays = weights.to_torch(NET, variables)
    wrapped = {prefix + name: array for name, array in arrays.items()}
    wrapped |= dict.fromkeys(counters, np.int64(7))
    same(weights.from_torch(NET, template, wrapped), variables)
    said = capsys.readouterr().out
    assert said.startswith("weights: left out ")
    assert (f"the prefix {prefix} of every name" in said) == bool(prefix)
    assert (f"{len(counters)} counters of torch" in said) == bool(counters)
    same(weights.from_torch(NET, template, arrays), variables)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("prefix", ["model.", "state_dict.ema.module."])
def test_a_prefix_that_only_some_names_have_is_not_left_out(
    variables, template, prefix
):
    arrays = weights.to_torch(NET, variables)
    wrapped = {prefix + name: array for name, array in arrays.items()}
    wrapped["loss.weight"] = np.ones(3, np.float32)
    words = rf"that begin with {re.escape(prefix)} fit: save only those in a file"
    with pytest.raises(WeightsError, match=words):
        weights.from_torch(NET, template, wrapped)


def test_old_densenet_files_load():
    model = DenseNet(10, (1, 1), growth=4, stem_features=8)
    variables = filled(model, 32, 3)
    old = {
        re.sub(r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3", name): array
        for name, array in weights.to_torch(model, variables).items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    same(weights.from_torch(model, shapes(model, 32, 3), old), variables)


def test_two_names_for_one_array_are_refused():
    model = cifar_resnet(10, 1)
    arrays = weights.to_torch(model, filled(model, 8, 3))
    arrays["linear.bias"] = arrays["fc.bias"]
    with pytest.raises(
        WeightsError, match=r"linear.bias and fc.bias both mean fc.bias"
    ):
        weights.from_torch(model, shapes(model, 8, 3), arrays)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_other_floats_become_float32(tmp_path, variables, template, kind):
    arrays = weights.to_torch(NET, variables)
    rounded = {
        k: np.asarray(jnp.asarray(v).astype(kind))
        if kind != "float64"
        else v.astype(kind)
        for k, v in arrays.items()
    }
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors.numpy.save(rounded))
    loaded = weights.load(NET, template, path)
    assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {jnp.dtype("float32")}
    expected = {k: v.astype(np.float32) for k, v in rounded.items()}
    same(weights.to_torch(NET, loaded), expected)


def test_integers_are_refused(variables, template):
    arrays = weights.to_torch(NET, variables)
    arrays["output.bias"] = np.arange(10)
    with pytest.raises(WeightsError, match="bias holds int64"):
        weights.from_torch(NET, template, arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused_by_name(variables, template, value):
    arrays = weights.to_torch(NET, variables)
    arrays["output.bias"] = np.full(10, value, np.float64)
    with pytest.raises(WeightsError, match="bias holds NaN or infinity as float32"):
        weights.from_torch(NET, template, arrays)


@pytest.mark.parametrize("name", [".", "/", "W"])
def test_what_is_no_file_of_weights_is_refused(template, name):
    with pytest.raises(WeightsError, match=r"neither .safetensors nor .npz"):
        weights.load(NET, template, Path(name))


def test_eight_bits_are_refused_by_name(tmp_path, variables, template):
    head = {"output.bias": {"dtype": "F8_E4M3", "shape": [10], "data_offsets": [0, 10]}}
    text = json.dumps(head).encode()
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(10))
    with pytest.raises(WeightsError, match="bias holds F8_E4M3: convert the file"):
        weights.load(NET, template, path)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pkl"])
def test_a_pickle_is_refused_with_the_way_out(tmp_path, template, suffix):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / f"net{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError) as error:
        weights.load(NET, template, path)
    lines = str(error.value).splitlines()[-2:]
    assert "import torch, safetensors.torch" in lines[0]
    assert "weights_only=True" in lines[1]
    assert str(path.with_suffix(".safetensors")) in lines[1]
    assert not (tmp_path / "ran").exists()


def test_a_pickle_inside_an_npz_is_refused(tmp_path, template):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "net.npz"
    np.savez(path, **{"output.bias": np.array([Bomb()], object)})
    with pytest.raises(WeightsError, match="no plain array"):
        weights.load(NET, template, path)
    assert not (tmp_path / "ran").exists()


def test_an_npz_that_lies_about_its_size_is_refused(tmp_path, variables, template):
    arrays = weights.to_torch(NET, variables)
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as stream:
                shape = (10**13,) if name == "output.bias" else array.shape
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
                stream.write(array.tobytes())
    with pytest.raises(WeightsError, match=r"output.bias.npy is no plain array"):
        weights.load(NET, template, path)


def test_a_safetensors_that_lies_about_its_size_is_refused(tmp_path, template):
    path = tmp_path / "net.safetensors"
    entry = {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}
    header = json.dumps({"output.bias": entry}).encode()
    for prefix in (struct.pack("<Q", len(header)), struct.pack("<Q", 2**60)):
        path.write_bytes(prefix + header + bytes(16))
        with pytest.raises(WeightsError, match="damaged"):
            weights.load(NET, template, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_damage_is_noticed(tmp_path, variables, template, suffix):
    path = tmp_path / f"net{suffix}"
    weights.save(NET, variables, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-1], b"junk" + whole[4:200]):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError):
            weights.load(NET, template, path)


def test_other_files_are_refused(tmp_path, variables, template):
    with pytest.raises(WeightsError, match="neither"):
        weights.load(NET, template, tmp_path / "net.onnx")
    with pytest.raises(WeightsError, match="neither"):
        weights.save(NET, variables, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="no file"):
        weights.load(NET, template, tmp_path / "net.npz")


def test_loaded_weights_give_other_logits(variables, template):
    """The numbers reach the network: no array is dropped on the way."""
    image = jnp.ones((1, 8, 8, 3))
    arrays = weights.to_torch(NET, variables)
    predict = jax.jit(lambda v: functional.predict(NET, v, image))
    before = predict(variables)
    for name in arrays:
        changed = {**arrays, name: arrays[name] + 1}
        after = predict(weights.from_torch(NET, template, changed))
        assert np.any(before != after), name


def test_torch_reads_what_is_written(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file

    from tests.golden.networks import make_references

    model = resnet18(10)
    weights.save(model, filled(model, 32, 3), tmp_path / "net.safetensors")
    net = make_references.network("resnet18").float()
    state = load_file(tmp_path / "net.safetensors")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    net.load_state_dict(state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert set(state) == {k for k in before if "num_batches" not in k}
    assert np.array_equal(state["fc.bias"], fill("fc.bias", (10,)))
