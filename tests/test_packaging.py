"""What users install and import: the public names, and the wheel."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import jaxnets
from jaxnets.models import __all__ as CAPTIONERS
from jaxnets.models.zoo import ZOO

ROOT = Path(__file__).parents[1]
REEXPORTED = {"jaxnets.models": {*CAPTIONERS}, "jaxnets.models.zoo": {*ZOO}}
# A fork of the warm parent has loaded modules of the package: it loads them once more.
AFRESH = """
import sys
for name in [name for name in sys.modules if name.split(".")[0] == "jaxnets"]:
    del sys.modules[name]
"""
TRAINS = """
import jax, jaxnets, optax
from typing import NamedTuple

from jaxnets.data.generated.digits import digits
from jaxnets.data.feeds.images import image_feeds
from jaxnets.learners.supervised import supervised
from jaxnets.models.zoo import mlp
from jaxnets.tasks.classification import classification

class Hyper(NamedTuple):
    learning_rate: float = 1e-2
    dropout: float = 0.0
    label_smoothing: float = 0.0

feed = image_feeds(digits(), batch_size=32, seed=0).train
learner = supervised(classification(mlp(10)), lambda h: optax.adam(h.learning_rate))
state = jax.jit(learner.init)(jax.random.key(0), Hyper(), feed(0))
step, losses = jax.jit(learner.step), []
for i in range(8):
    state, metrics = step(state, feed(i))
    losses.append(metrics["loss"].compute())
assert losses[-1] < losses[0], losses
print(jaxnets.__file__)
"""


def modules():
    """Each module of the package with its file."""
    for path in sorted((ROOT / "jaxnets").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def public(text):
    """The functions, classes and constants that this code defines for others."""
    names = set()
    for node in ast.parse(text).body:
        targets = getattr(node, "targets", [getattr(node, "target", node)])
        names |= {getattr(t, "name", getattr(t, "id", "_")) for t in targets}
    return {name for name in names if not name.startswith("_")} - {"TYPE_CHECKING"}


def imports():
    """For each module the statement that imports all of its public names."""
    for module, path in modules():
        names = public(path.read_text()) | REEXPORTED.get(module, set())
        names = ", ".join(sorted(names))
        yield f"from {module} import {names}" if names else f"import {module}"


def test_every_public_name_can_be_imported(warm, tmp_path, environment):
    lines = list(imports())
    assert "from jaxnets.models.lenet import LeNet5, lenet5" in lines
    program = AFRESH + "\n".join(lines)
    done = warm.run(["-c", program], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.host
def test_a_package_offers_no_names_of_its_modules():
    found = [(module, path) for module, path in modules() if path.stem == "__init__"]
    assert len(found) > 10
    for module, path in found:
        text = path.read_text()
        assert not public(text), module
        for line in re.findall(r"^(?:from|import) jaxnets.*$", text, re.M):
            assert re.search(r" as _\w+$", line), (module, line)


@pytest.mark.host
def test_one_version_is_named_everywhere():
    citation = (ROOT / "CITATION.cff").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == jaxnets.__version__
    assert project["version"] == jaxnets.__version__


@pytest.mark.campaign
def test_each_module_can_be_the_first_import(tmp_path, environment):
    for line in imports():
        command = [sys.executable, "-c", line]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (line, done.stderr)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as users install it: the wheel, and the folder that it is put in."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv, which builds the wheel, is not on the path")
    folder = tmp_path_factory.mktemp("wheel")
    source, installed = folder / "source", folder / "installed"
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "jaxnets", source / "jaxnets", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)

    def ran(*command):
        subprocess.run([uv, *command], check=True, capture_output=True, cwd=folder)

    ran("build", "--wheel", "--out-dir", folder, source)
    (built,) = folder.glob("*.whl")
    ran("pip", "install", "--no-deps", "--offline", "--target", installed, built)
    return built, installed


def test_the_wheel_is_whole_typed_and_trains_elsewhere(
    wheel, warm, tmp_path, environment
):
    built, installed = wheel
    with zipfile.ZipFile(built) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    expected = {path.relative_to(ROOT).as_posix() for _, path in modules()}
    assert names == expected | {"jaxnets/py.typed"}
    program = f"import sys\nsys.path.insert(0, {str(installed)!r})\n{AFRESH}{TRAINS}"
    done = warm.run(["-c", program], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(installed / "jaxnets" / "__init__.py")]


# Reports are pictures, which take most of the time.
OWN = """
sys.path.insert(0, ".")
import own, jaxnets
from jaxnets.run import report
from jaxnets.sweeps import report as sweep_report
from jaxnets.sweeps.command import command as sweep

report.write, sweep_report._figures = lambda *given: None, lambda *given: {}
print(jaxnets.__file__)
run = lambda *flags: own.command(own.main, own.Config, ["--epochs", "2", *flags])
run("--dry-run")
run("--run-dir", "whole")
load, own.load = own.load, lambda config: load(config)._replace(validation=None)
try:
    run("--run-dir", "killed", "--checkpoint-every", "5")
except AttributeError:  # no validation data at the first report
    own.load = load
run("--run-dir", "killed")
sweep({"own": lambda: own}, ["own", "--members=2", "--epochs=1", "--mode=vmap"])
"""


def test_an_experiment_elsewhere_runs_resumes_and_is_swept(
    wheel, warm, tmp_path, environment
):
    shutil.copy(ROOT / "tests" / "toys" / "own.py", tmp_path)
    program = f"import sys\nsys.path.insert(0, {str(wheel[1])!r})\n{AFRESH}{OWN}"
    done = warm.run(["-c", program], cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(str(wheel[1]))
    assert "own: dry run, nothing is written" in done.stdout
    assert "resumed at step 20  ->  killed" in done.stdout
    for name in ("metrics.jsonl", "result.json"):
        whole = (tmp_path / "whole" / name).read_bytes()
        assert whole == (tmp_path / "killed" / name).read_bytes()
    (swept,) = (tmp_path / "runs" / "sweeps" / "own").glob("*/result.json")
    assert json.loads(swept.read_text())["test"]["accuracy"] > 0.5
