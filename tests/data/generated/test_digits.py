import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxnets.data.dataset import DataError, checked
from jaxnets.data.generated.digits import FOLDS, digits

pytestmark = pytest.mark.host


def test_the_scans_are_scikit_learns():
    dataset = digits()
    greys, target = load_digits(return_X_y=True)
    for split in dataset.splits.values():
        index = np.array([int(name) for name in split.ids])
        images = np.asarray(split.columns["image"]).reshape(len(split), 64)
        np.testing.assert_array_equal(np.round(images / (255 / 16)), greys[index])
        np.testing.assert_array_equal(split.columns["label"], target[index])


def test_the_splits_are_disjoint_whole_and_stratified():
    everything = []
    for fold in range(FOLDS):
        dataset = checked(digits(fold=fold))
        ids = [set(split.ids) for split in dataset.splits.values()]
        assert sum(map(len, ids)) == len(set.union(*ids)) == 1797
        everything += dataset.test.ids
        counts = np.bincount(dataset.test.columns["label"], minlength=10)
        assert counts.min() >= 34
        assert counts.max() <= 37
    assert len(set(everything)) == len(everything) == 1797


def test_the_split_never_changes():
    # Another digest is another data set: results would no longer be comparable.
    assert digits().test.ids[:5] == ["0", "12", "36", "41", "47"]
    assert digits().digest.startswith("6f3e708f8ed0a39f")


def test_the_statistics_are_those_of_the_training_split():
    dataset = digits()
    images = np.asarray(dataset.train.columns["image"]) / 255
    np.testing.assert_allclose(dataset.mean, [images.mean()], rtol=1e-9)
    np.testing.assert_allclose(dataset.std, [images.std()], rtol=1e-9)


def test_there_is_no_sixth_fold():
    with pytest.raises(DataError, match="0 to 4"):
        digits(fold=5)
