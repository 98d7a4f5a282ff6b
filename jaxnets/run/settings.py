"""Configurations as JSON and back, without running any code; and their differences."""

import dataclasses
import hashlib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tyro

from jaxnets import files, ranges


class Extendable:
    """Marks the field of a `Config` that says how long a run is.

    `epochs: Annotated[int, Extendable] = 30` may grow in a named run folder, as long as
    the compiled step does not depend on it, as it does under a cosine schedule.
    """


class Judging:
    """Marks a field that training does not know of: how sentences are written, say.

    `decoding: Annotated[Decoding, Judging]` may be another one with `--evaluate`.
    """


class Neutral:
    """Marks a field that no bit of a result depends on: where pixels are kept, say.

    `pictures: Annotated[Keep, Neutral] = "auto"` may be another one in a named run
    folder, and with `--evaluate`.
    """


def one_of(names: Iterable[str]) -> Any:
    """A mark for a field that takes one of these names.

    As in `model: Annotated[str, one_of(ZOO)] = "convnet"`.
    """
    return tyro.conf.arg(
        constructor=tyro.extras.literal_type_from_choices(list(names)),
        # tyro shows the default of a constructor as the list of its words.
        help_behavior_hint=lambda shown: "(default: " + shown.strip("[]'") + ")",
    )


def to_json(config: Any) -> Any:
    """Plain dictionaries, lists and numbers of a frozen dataclass of settings.

    Raises:
        TypeError: If a field holds something else.
    """
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = dataclasses.fields(config)
        return {field.name: to_json(getattr(config, field.name)) for field in fields}
    if names := getattr(config, "_fields", None):  # a NamedTuple
        return {name: to_json(getattr(config, name)) for name in names}
    if isinstance(config, dict):
        return {str(key): to_json(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [to_json(value) for value in config]
    if isinstance(config, Path):
        return str(config)
    config = ranges.scalar(config)
    if config is None or isinstance(config, bool | int | float | str):
        return config
    raise TypeError(f"a configuration cannot hold {config!r}")


def from_json(kind: Any, value: Any, where: str = "config") -> Any:
    """What `to_json` was given, from what it returned; the types say how.

    Raises:
        ValueError: If a field is unknown, missing or of another type.
    """
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return from_json(inside[0], value, where)
    if origin is typing.Literal:
        if value in inside:
            return value
        raise ValueError(f"{where} is {value!r}, not one of {inside}")
    if origin in (typing.Union, types.UnionType):
        return _from_union(inside, value, where)
    if origin in (tuple, list) and isinstance(value, list):
        many = origin is list or (len(inside) == 2 and inside[1] is ...)
        each = [inside[0]] * len(value) if many else list(inside)
        if len(each) != len(value):
            raise ValueError(f"{where} has {len(value)} entries, not {len(each)}")
        rows = zip(each, value, strict=True)
        return origin(from_json(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(rows))
    structured: Any = getattr(kind, "_fields", None) or dataclasses.is_dataclass(kind)
    if structured and isinstance(value, dict):
        hints = typing.get_type_hints(kind, include_extras=True)
        if set(hints) != set(value):
            odd = sorted(set(hints) ^ set(value))
            raise ValueError(f"{where}: {', '.join(odd)} is on one side only")
        parts = {n: from_json(h, value[n], f"{where}.{n}") for n, h in hints.items()}
        return typing.cast(Any, kind)(**parts)
    if kind is float and (isinstance(value, int) or value in ("inf", "-inf", "nan")):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is type(None) and value is None:
        return None
    if kind in (bool, int, float, str) and type(value) is kind:
        return value
    raise ValueError(f"{where} is {value!r}, which is no {kind}")


def _from_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    for kind in kinds:
        try:
            return from_json(kind, value, where)
        except ValueError:
            continue
    raise ValueError(f"{where} is {value!r}, which is none of {kinds}")


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: `{"hyper.learning_rate": 0.001, ...}`."""
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= flat(inner, f"{prefix}.{name}" if prefix else name)
    return found


def differences(before: Any, now: Any) -> dict[str, str]:
    """`{"hyper.learning_rate": "0.001, now 0.01"}` for every setting that differs."""
    old, new = flat(before), flat(now)
    return {
        name: f"{old.get(name, 'absent')}, now {new.get(name, 'absent')}"
        for name in [*old, *(n for n in new if n not in old)]
        if old.get(name, "absent") != new.get(name, "absent")
    }


def field_of(name: str) -> str:
    """The field of a `Config` that a name in `differences` belongs to."""
    return name.split(".")[0]


def extendable(kind: type) -> set[str]:
    """The names of the fields marked `Extendable`."""
    return _marked(kind, Extendable)


def judging(kind: type) -> set[str]:
    """The names of the fields marked `Judging`."""
    return _marked(kind, Judging)


def neutral(kind: type) -> set[str]:
    """The names of the fields marked `Neutral`."""
    return _marked(kind, Neutral)


def choices(kind: type, field: str) -> tuple[str, ...]:
    """The names that a field takes which is marked by `one_of`; none for other fields.

    Args:
        kind: A `Config`.
        field: Of it; it may be missing.
    """
    hint = typing.get_type_hints(kind, include_extras=True).get(field)
    marks = [getattr(m, "constructor_factory", None) for m in typing.get_args(hint)]
    return tuple(name for mark in marks if mark for name in typing.get_args(mark()))


def _marked(kind: type, mark: type) -> set[str]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {n for n, h in hints.items() if mark in typing.get_args(h)}


def identity(value: Any) -> str:
    """Eight hexadecimal digits that settle what a run is."""
    text = files.dump_json(dict(sorted(flat(value).items())))
    return hashlib.sha256(text.encode()).hexdigest()[:8]
