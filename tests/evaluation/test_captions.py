"""Describing a picture with a run whose training data is gone, under any name."""

import json
import types

import numpy as np
import pytest

from jaxnets.data.feeds.captions import kept_feeds
from jaxnets.evaluation.captions import _plain_name, kept_data
from jaxnets.run.checkpoints import Checkpoints
from jaxnets.run.folder import RunError
from jaxnets.run.restoring import refuse_other_metadata
from jaxnets.run.verbs import Describing

KEPT = {
    "vocabulary": ["<pad>", "<start>", "<end>", "<unk>", "cat", "dog"],
    "longest": 9,
    "mean": [0.5, 0.1, 1 / 3],
    "std": [0.25, 0.5, 0.1],
}


def test_what_the_newest_intact_checkpoint_keeps_stands_in_for_the_data(tmp_path):
    config = types.SimpleNamespace(
        encoder="whitened", layer="", weights=None, frozen=False, side=4, epochs=3
    )
    verbs = Describing(evaluate=tmp_path)
    assert kept_data(config, Describing()) is None
    assert kept_data(config, verbs) is None
    (tmp_path / "config.json").write_text(
        json.dumps({"experiment": "caption", "config": {}, "began": {"steps": 21}})
    )
    store = Checkpoints(tmp_path / "checkpoints")
    for step, metadata in ((1, {"vocabulary": KEPT["vocabulary"]}), (2, KEPT), (3, {})):
        store.keep = 3
        store.save(step, {"a": np.zeros(2)}, {"metadata": metadata})
    (tmp_path / "checkpoints/3/record.json").write_text("{}")  # damaged
    found = kept_data(config, verbs)
    assert found is not None
    assert found.kept == KEPT
    assert found.train.length == 7
    assert found.train.prepared.image.shape == (1, 4, 4, 3)
    (tmp_path / "checkpoints/2/record.json").write_text("{}")
    assert kept_data(config, verbs) is None  # an earlier version kept too little


def test_a_checkpoint_of_an_earlier_version_is_not_refused_for_what_it_lacks(tmp_path):
    old = {"keeps": {"vocabulary": KEPT["vocabulary"]}}  # as it was called then
    refuse_other_metadata(tmp_path, old, KEPT)
    with pytest.raises(RunError, match="another vocabulary"):
        refuse_other_metadata(tmp_path, old, {**KEPT, "vocabulary": ["<pad>"]})
    now = {"metadata": KEPT}
    with pytest.raises(RunError, match="another longest"):
        refuse_other_metadata(tmp_path, now, old["keeps"])
    made = kept_feeds(KEPT, 4, 1, lambda captions: captions)
    assert made is not None
    refuse_other_metadata(tmp_path, now, made.kept)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("photo", "photo"),
        ("IMG_2034 (1)", "IMG_2034 _1_"),
        ("Zoë's dog", "Zoë_s dog"),
        (".hidden", "_hidden"),
        ("", "_"),
        ("a/b\\c:d*e?$f[g]\n\x1b", "a_b_c_d_e__f_g___"),
        ("\udcff", "_"),
        ("日" * 99, "日" * 66),
    ],
)
def test_any_name_of_a_picture_gives_a_name_that_every_system_takes(name, plain):
    assert _plain_name(name) == plain
