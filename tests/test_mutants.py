"""Planted faults are noticed by the tests of their area: what the suite protects.

    uv run pytest -m campaign tests/test_mutants.py

Each fault is planted alone in a copy of the tree, and the tests of its area run there
until the first one fails. Outcomes are kept in the cache folder under the digest of the
tree, so that a campaign that was stopped continues; `JAXNETS_FRESH=1` forgets them.
`python -m tests.mutants.table` prints them.
"""

import os
import shutil
import sys

import pytest

from tests.mutants import runs
from tests.mutants.core import FAULTS as CORE
from tests.mutants.fault import plant
from tests.mutants.shell import FAULTS as SHELL

FAULTS = [*CORE, *SHELL]


@pytest.fixture
def copied(tmp_path):
    """A copy of what the suite needs, to plant a fault in."""
    for name in runs.PARTS:
        source, target = runs.ROOT / name, tmp_path / "tree" / name
        if source.is_dir():
            skipped = shutil.ignore_patterns("__pycache__", "runs")
            shutil.copytree(source, target, ignore=skipped)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    return tmp_path / "tree"


def test_faults_are_told_apart_and_half_of_them_happened():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 60
    assert sum(fault.history is not None for fault in FAULTS) >= len(FAULTS) / 2


@pytest.mark.campaign
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_applies(fault, copied):
    """Where it no longer does, it protects nothing: find its new form."""
    assert plant(copied, fault).exists()
    assert runs.area(copied, fault.tests)


@pytest.mark.campaign
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_noticed(fault, copied):
    done = outcome(repr(fault), fault.tests, copied, lambda: plant(copied, fault))
    assert done.caught_by, done.output


@pytest.mark.campaign
@pytest.mark.parametrize("stem", sorted({s for f in FAULTS for s in f.tests}))
def test_an_area_passes_without_a_fault(stem, copied):
    """The copy itself fails no test, so that what fails there is due to a fault."""
    done = outcome(f"no fault: {stem}", (stem,), copied)
    assert done.caught_by is None, done.output


def outcome(name, tests, copied, prepare=lambda: None):
    """The recorded outcome of this tree, or a new one, which is recorded."""
    done = runs.recorded(name, tests)
    if done is None or os.environ.get("JAXNETS_FRESH", "0") != "0":
        prepare()
        done = runs.run(copied, tests, python=sys.executable)
        runs.record(name, tests, done)
    return done
