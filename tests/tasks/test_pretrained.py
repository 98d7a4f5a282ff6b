"""Training that begins with the weights of a file."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import classify
from jaxnets.learners import optimizers, schedules
from jaxnets.models import functional, weights
from jaxnets.models.convnet import ConvNet
from jaxnets.models.weights import WeightsError
from jaxnets.once import once
from jaxnets.run import report
from jaxnets.run.checkpoints import Checkpoints
from jaxnets.run.folder import RunError
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs
from jaxnets.tasks.classification import classification
from jaxnets.tasks.pretrained import pretrained
from jaxnets.types import ImageBatch
from tests.golden.networks.parity import filled

KEY = jax.random.key(1)
NET = ConvNet(10, (4, 6), (0, 1))
BATCH = ImageBatch(
    jnp.zeros((2, 8, 8, 3)), jnp.zeros(2, jnp.int32), jnp.ones(2, jnp.bool_)
)
FEED = types.SimpleNamespace(prepared=BATCH)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "net.safetensors"
    weights.save(NET, filled(NET, 8, 3), path)
    return path


def test_the_first_variables_are_the_file_s(file):
    task = pretrained(classification(NET), NET, FEED, file)
    found = once(task.init)(KEY, BATCH)
    jax.tree.map(np.testing.assert_array_equal, found, filled(NET, 8, 3))


def test_a_new_head_is_drawn_and_the_rest_is_the_file_s(file):
    other = NET.clone(classes=7)
    with pytest.raises(WeightsError, match=r"output\.weight is"):
        pretrained(classification(other), other, FEED, file)
    task = pretrained(classification(other), other, FEED, file, new_head=True)
    found, drawn = task.init(KEY, BATCH), functional.init(other, KEY, BATCH.image)
    given = filled(NET, 8, 3)
    for name, layer in found.params.items():
        source = drawn if name == "output" else given
        jax.tree.map(np.testing.assert_array_equal, layer, source.params[name])
    jax.tree.map(np.testing.assert_array_equal, found.buffers, given.buffers)


def test_another_key_draws_another_head(file):
    task = pretrained(classification(NET), NET, FEED, file, new_head=True)
    first, second = (task.init(jax.random.key(i), BATCH).params for i in (1, 2))
    assert not np.allclose(first["output"]["kernel"], second["output"]["kernel"])
    np.testing.assert_array_equal(
        first["conv0"]["conv"]["kernel"], second["conv0"]["conv"]["kernel"]
    )


def test_the_backbone_learns_at_its_share_of_the_rate():
    hyper = classify.Hyper(learning_rate=0.5, backbone_rate=0.1)
    extras = optimizers.Extras(head=weights.head_mask)
    rule = optimizers.composed(optimizers.descent, schedules.constant(), extras)(hyper)
    params = functional.init(NET, KEY, BATCH.image).params
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = rule.update(ones, rule.init(params), params)
    for name, layer in updates.items():
        expected = -0.5 if name == "output" else -0.05
        for leaf in jax.tree.leaves(layer):
            np.testing.assert_allclose(leaf, expected, rtol=1e-6)


def test_a_deep_convnet_s_tenth_layer_is_no_head():
    deep = ConvNet(10, (2,) * 12, ())
    mask = weights.head_mask(functional.init(deep, KEY, BATCH.image).params)
    heads = {name for name, layer in mask.items() if any(jax.tree.leaves(layer))}
    assert heads == {"output"}


@pytest.mark.one_python
def test_classify_begins_with_a_file_and_refuses_another_later(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
    monkeypatch.setattr(Run, "figure", lambda *picture: None)
    monkeypatch.setattr(report, "write", lambda *written: None)
    net = ConvNet(5, (24, 48, 64, 64))
    path = tmp_path / "net.npz"
    weights.save(net, filled(net, 8, 1), path)
    config = dataclasses.replace(
        classify.Config("small_convnet", pretrained=path, epochs=1, reports=1),
        augment="none",
        hyper=classify.Hyper(backbone_rate=0.0, average_decay=0.0, weight_decay=0.0),
    )
    with pytest.raises(WeightsError, match="new_head"):
        classify.main(config, Verbs(run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    config = dataclasses.replace(config, new_head=True)
    classify.main(config, Verbs(run_dir=tmp_path / "run"))
    _, leaves = Checkpoints(tmp_path / "run" / "checkpoints", sweep=False).leaves()
    for layer, same in [("conv3']['conv", True), ("output", False)]:
        kernel = leaves[f".variables.params['{layer}']['kernel']"]
        whole = filled(net, 8, 1).params
        given = whole["conv3"]["conv"] if same else whole["output"]
        unmoved = kernel.shape == given["kernel"].shape and np.array_equal(
            kernel, given["kernel"]
        )
        assert unmoved == same, layer
    again = {n: a + 1 for n, a in weights.to_torch(net, filled(net, 8, 1)).items()}
    np.savez(path, **again)
    (tmp_path / "run" / "result.json").unlink()  # as if it were stopped at the end
    with pytest.raises(RunError, match="another pretrained"):
        classify.main(config, Verbs(run_dir=tmp_path / "run"))
