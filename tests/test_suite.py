"""What the suite promises about itself: nothing is left out of both of its runs."""

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
