"""The weights that come out of a run are those that it was judged by."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from experiments import classify
from jaxnets.models import functional, weights
from jaxnets.models.convnet import small_convnet
from jaxnets.models.weights import WeightsError
from jaxnets.run import loop
from jaxnets.run.__main__ import export, main
from jaxnets.run.folder import RunError
from jaxnets.run.restoring import restored
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs

CONFIG = classify.Config(model="small_convnet", epochs=1, reports=1)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
        patch.setattr("jaxnets.run.report.write", lambda *arguments: None)
        patch.setattr(Run, "figure", lambda *arguments: None)
        classify.main(CONFIG, Verbs(run_dir=folder))
    return folder


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
@pytest.mark.one_python
def test_the_file_gives_the_run_s_own_predictions(done, tmp_path, suffix, capsys):
    file = tmp_path / f"net.{suffix}"
    main(["export", str(done), str(file)])
    assert "numbers of" in capsys.readouterr().out
    data, model = classify.load(CONFIG), small_convnet(10)
    batch = data.test(0)
    draw = lambda key: functional.init(model, key, batch.image)
    loaded = weights.load(model, jax.eval_shape(draw, jax.random.key(7)), file)
    ours = jax.jit(lambda v, x: functional.predict(model, v, x))(loaded, batch.image)
    learner = classify.build(CONFIG, data)
    state, _ = restored(done, learner, data.train)
    theirs = loop.predict(learner, state, data.test)[: len(ours)]
    np.testing.assert_allclose(ours[: len(theirs)], theirs, rtol=1e-4, atol=1e-5)


def test_a_run_of_something_else_is_refused(done, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    stored = json.loads((copy / "config.json").read_text())
    stored["config"]["model"] = "transformer"
    (copy / "config.json").write_text(json.dumps(stored))
    with pytest.raises(RunError, match="not in the zoo"):
        export(copy, tmp_path / "net.npz")
    with pytest.raises(RunError, match="no run folder"):
        export(tmp_path / "nothing", tmp_path / "net.npz")
    with pytest.raises(WeightsError, match="neither"):
        export(done, tmp_path / "net.pth")
    with pytest.raises(SystemExit, match="error: "):
        main(["export", str(tmp_path / "nothing"), "net.npz"])


@pytest.mark.one_python
def test_a_member_of_an_ensemble_is_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxnets.run.compilation.use_cache", lambda: None)
    monkeypatch.setattr("jaxnets.run.report.write", lambda *arguments: None)
    monkeypatch.setattr(Run, "figure", lambda *arguments: None)
    config = dataclasses.replace(CONFIG, model="mlp", members=2)
    classify.main(config, Verbs(run_dir=tmp_path / "run"))
    with pytest.raises(RunError, match="has 2 networks"):
        export(tmp_path / "run", tmp_path / "net.npz")
    kernels = []
    for member in (0, 1):
        export(tmp_path / "run", tmp_path / "net.npz", member=member)
        with np.load(tmp_path / "net.npz") as arrays:
            kernels.append(arrays["dense1.weight"])
            assert len(arrays["output.bias"]) == 10
    assert kernels[0].shape == (512, 64)
    assert not np.allclose(*kernels)
