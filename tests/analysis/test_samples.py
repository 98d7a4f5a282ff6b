from typing import NamedTuple

import numpy as np
import pytest

from jaxnets.analysis.distances import quality
from jaxnets.analysis.samples import judged

pytestmark = pytest.mark.host


class Look(NamedTuple):
    features: np.ndarray
    shares: np.ndarray


def look(images):
    """Two features: the mean of the upper and of the lower half; two classes."""
    upper, lower = np.mean(images[:, :2], (1, 2, 3)), np.mean(images[:, 2:], (1, 2, 3))
    share = np.mean(upper > lower)
    return Look(np.stack([upper, lower], axis=1), np.array([share, 1 - share]))


def test_samples_and_training_images_are_measured_against_the_test_images():
    rng = np.random.default_rng(0)
    test, train, fake = (rng.random((n, 4, 4, 1)) for n in (30, 50, 30))
    found = judged(look, fake, test, train)
    wanted = look(test).features
    assert found["test"] == quality(wanted, look(fake).features)
    assert found["floor"] == quality(wanted, look(train[:30]).features)
    assert found["classes"]["least"] == look(fake).shares.min()
    assert found["classes"]["share"].tolist() == look(fake).shares.tolist()
