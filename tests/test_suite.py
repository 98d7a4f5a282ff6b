"""What the suite promises about itself: every package has its types checked."""

import re
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.host
ROOT = Path(__file__).parents[1]


def checked(text):
    """The packages whose types one run checks, named as after `import`."""
    names = re.search(r"--jaxtyping-packages=(\S+?),beartype.beartype", text)[1]
    found = names.split(",")
    assert found == sorted(set(found))
    return {name.split(".")[1] for name in found}


def test_the_types_of_every_module_are_checked_in_one_run_of_the_two():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    options = " ".join(settings["tool"]["pytest"]["ini_options"]["addopts"])
    script = (ROOT / ".ci" / "run").read_text()
    packages = re.search(r"^core=(\S+)$", script, re.M)[1]
    first = checked(options)
    second = checked(script.replace("$core", packages))
    modules = {
        path.stem
        for path in (ROOT / "jaxnets").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert first | second == modules - {"__init__"}
    assert not first & second


def test_host_modules_need_no_package_whose_types_the_second_run_checks():
    """The second run leaves them out, so nothing would check these types."""
    script = (ROOT / ".ci" / "run").read_text()
    packages = re.search(r"^core=(\S+)$", script, re.M)[1]
    second = checked(script.replace("$core", packages))
    alone = {"metrics", "types", "ops", "models", "tasks", "learners", "once"}
    assert second == alone  # each has test modules that are not `host`
    for name in second - {"types", "once"}:
        paths = [*(ROOT / "tests").glob(f"{name}/**/test_*.py")]
        paths += (ROOT / "tests").glob(f"test_{name}.py")
        assert paths, name
        marked = [path for path in paths if "mark.host" in path.read_text()]
        assert not marked, name
