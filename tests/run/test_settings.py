import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pytest

from jaxnets import files
from jaxnets.run import settings


class Hyper(NamedTuple):
    rate: float = 1e-3
    clip: float = float("inf")


@dataclasses.dataclass(frozen=True)
class Config:
    epochs: Annotated[int, settings.Extendable] = 3
    model: Literal["a", "b"] = "a"
    widths: tuple[int, ...] = (3, 4)
    pair: tuple[int, float] = (1, 2.0)
    data: Path | None = None
    name: str = "x"
    fast: Annotated[bool, settings.Neutral] = False
    hyper: Hyper = Hyper()


def test_a_configuration_survives_json():
    config = Config(widths=(7,), data=Path("a/b"), hyper=Hyper(0.1 + 0.2))
    text = files.dump_json(settings.to_json(config))
    json.loads(text, parse_constant=pytest.fail)  # strict: no bare Infinity
    assert settings.from_json(Config, json.loads(text)) == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "c"}, "config.model is 'c'"),
        ({"epochs": 2.5}, "config.epochs"),
        ({"epochs": True}, "config.epochs"),
        ({"fast": 1}, "config.fast"),
        ({"hyper": {"rate": 1.0}}, "config.hyper: clip is on one side only"),
        ({"unknown": 1}, "unknown is on one side only"),
        ({"pair": [1]}, "config.pair has 1 entries, not 2"),
        ({"name": ["os", "system"]}, "config.name"),
    ],
)
def test_anything_else_is_refused(change, words):
    plain = json.loads(files.dump_json(settings.to_json(Config())))
    with pytest.raises(ValueError, match=words):
        settings.from_json(Config, {**plain, **change})


def test_differences_name_the_setting_and_both_values():
    before = settings.to_json(Config())
    now = settings.to_json(Config(epochs=5, hyper=Hyper(0.1)))
    assert settings.differences(before, now) == {
        "epochs": "3, now 5",
        "hyper.rate": "0.001, now 0.1",
    }


def test_the_identity_moves_with_every_setting():
    base = settings.identity(settings.to_json(Config()))
    assert base == settings.identity(settings.to_json(Config()))
    for change in ({"epochs": 4}, {"hyper": Hyper(2.0)}, {"data": Path("q")}):
        assert settings.identity(settings.to_json(Config(**change))) != base


def test_the_fields_that_may_grow_or_differ():
    assert settings.extendable(Config) == {"epochs"}
    assert settings.neutral(Config) == {"fast"}


def test_a_configuration_holds_plain_values_only():
    with pytest.raises(TypeError, match="cannot hold"):
        settings.to_json({"model": object()})
