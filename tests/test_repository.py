"""What the project promises about itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_importing_the_package_imports_nothing_heavy():
    program = (
        "import sys, time\n"
        "before = set(sys.modules)\n"
        "import jaxnets\n"
        "print(*(set(sys.modules) - before))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["jaxnets"]


def test_the_command_line_does_not_wait_for_what_it_may_not_need():
    program = "import sys, jaxnets.run.session; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    slow = {"matplotlib", "orbax", "sklearn", "tensorboardX", "tensorflow_datasets"}
    assert not loaded & slow


FORBIDDEN = {
    "jaxnets/ops/conv.py": "import os",
    "jaxnets/tasks/classification.py": "import jaxnets.files",
    "jaxnets/models/lenet.py": "import jaxnets.data.generated.digits",
    "jaxnets/data/generated/digits.py": "import jaxnets.run.session",
    "jaxnets/data/store/cache.py": "import jaxnets.data.files.images",
    "jaxnets/learners/base.py": "import matplotlib",
    "jaxnets/run/loop.py": "import tensorflow_datasets",
    "jaxnets/run/report.py": "import matplotlib",
    "jaxnets/run/console.py": "import jaxnets.evaluation.captions",
    "jaxnets/evaluation/samples.py": "import matplotlib",
    "jaxnets/analysis/distances.py": "import jaxnets.tasks.base",
    "jaxnets/scores/ngrams.py": "import os",
    "jaxnets/run_lengths.py": "import os",
    "jaxnets/data/text.py": "import jaxnets.models.lenet",
    "jaxnets/metrics.py": "import jaxnets.ops.pool",
    "jaxnets/errors.py": "import jaxnets.types",
    "jaxnets/plots/parts.py": "import jaxnets.run.loop",
    "jaxnets/models/mlp.py": "import jaxnets.models.lenet",
    "jaxnets/models/parts/blocks.py": "import jaxnets.models.parts.grid",
}


@pytest.mark.host
def test_the_import_contracts_hold_and_each_can_break(tmp_path):
    lint = Path(sys.executable).parent / "lint-imports"
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("jaxnets", "experiments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def linted():
        # Wide enough that no line is broken.
        environment = {"PYTHONPATH": str(tmp_path), "PATH": "", "COLUMNS": "200"}
        command = [lint, "--no-cache"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout

    status, said = linted()
    assert status == 0, said
    assert "0 broken" in said
    planted = []
    for name, line in FORBIDDEN.items():
        target = tmp_path / name
        target.write_text(f"{target.read_text()}\n{line}\n")
        module = name.removesuffix(".py").replace("/", ".")
        planted.append(f"{module} -> {line.removeprefix('import ')}")
    status, said = linted()
    assert status == 1
    assert "0 kept" in said, "a contract does not notice any of these"
    for pair in planted:
        assert re.search(rf"{re.escape(pair)} \(l\.\d+\)", said), (pair, said)


def test_functional_is_the_only_seam_to_flax_collections():
    bridge = ROOT / "jaxnets" / "testing" / "models.py"  # calls Flax's own, as users do
    for path in (ROOT / "jaxnets").rglob("*.py"):
        if ROOT / "jaxnets" / "models" not in path.parents and path != bridge:
            found = re.findall(r"mutable=|\.apply\(|rngs=", path.read_text())
            assert not found, path


def test_no_file_opens_a_pickle():
    risky = r"import pickle|allow_pickle=True|\beval\(|\bexec\(|torch\.load\((?!{)"
    for name in ("jaxnets", "experiments", "benchmarks"):
        for path in (ROOT / name).rglob("*.py"):
            assert not re.search(risky, path.read_text()), path


def test_every_package_is_in_the_readmes_tree():
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "jaxnets").iterdir():
        if path.is_dir() and (path / "__init__.py").exists():
            assert f"{path.name}/" in text, path.name


def test_the_python_of_the_readme_runs(tmp_path, warm, surroundings):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert len(blocks) == 2
    program = "\n".join(blocks).replace("steps=200", "steps=20").replace("=50", "=10")
    program += "\nassert len(states.variables.params['output']['bias']) == 8\n"
    done = warm.run(["-c", program], cwd=tmp_path, env=surroundings(), true_start=True)
    assert done.returncode == 0, done.stderr
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    assert steps[:2] == ["10", "20"]
    assert list(tmp_path.iterdir()) == []


def test_the_readme_shows_the_experiment_that_the_tests_install():
    shown = (ROOT / "tests" / "toys" / "own.py").read_text()
    assert f"```py\n{shown}```" in (ROOT / "README.md").read_text()
