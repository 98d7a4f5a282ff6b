"""Parameters are drawn by one program: one an operation would be dozens."""

import jax
import pytest

from jaxnets.models import functional


@pytest.fixture(scope="module", autouse=True)
def _drawn_at_once():
    with pytest.MonkeyPatch.context() as patch:
        whole = jax.jit(functional.init, static_argnums=0)
        patch.setattr(functional, "init", whole)
        yield
