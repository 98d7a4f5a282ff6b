"""What to change in a configuration whose training went wrong, as flags."""

import dataclasses
from typing import Any

from jaxnets.learners.schedules import rise
from jaxnets.run import settings

STEADY = "steady"  # a recipe that is meant for small data and any network


def diverged(config: Any, step: int, steps: int) -> list[str]:
    """Flags against a training whose numbers grow until they are not finite.

    Args:
        config: Of the run; flags are proposed for the settings that it has.
        step: In which it went wrong, from 0. Only a warm-up that reaches that far is
            proposed.
        steps: Of the whole run.
    """
    found = _steady(config)
    for name in (
        "learning_rate",
        "ratio",
    ):  # a GAN's discriminator has a rate of its own
        if now := _setting(config, name):
            found.append(_flag(name, now / 10, now))
    now = _setting(config, "warmup")
    if now is not None:
        batches = _setting(config, "accumulate") or 1
        updates = steps // batches
        longer = max(2 * rise(now, updates), updates // 10)
        if step // batches < 2 * longer < updates:
            found.append(_flag("warmup", longer, now))
    now = _setting(config, "clip_norm")
    if now is not None:
        found.append(_flag("clip_norm", now / 10 if now else 1.0, now))
    return found


def stalled(config: Any) -> list[str]:
    """Flags against a loss that never moved from where it began."""
    now = _setting(config, "learning_rate")
    higher = [_flag("learning_rate", 10 * now, now)] if now else []
    return _steady(config) + higher + unfinished(config)


def unfinished(config: Any) -> list[str]:
    """Flags for a training whose loss still falls."""
    now = _setting(config, "epochs")
    return [_flag("epochs", 2 * now, now)] if now else []


def collapsed(config: Any, steps: int) -> list[str]:
    """Flags against a code that tells nothing of the image.

    Args:
        config: Of the run.
        steps: Of the whole run.
    """
    found = []
    beta, warmup = (_setting(config, name) for name in ("beta", "beta_warmup"))
    if beta:
        found.append(_flag("beta", min(beta / 10, 1.0), beta))
    if warmup is not None and warmup < steps // 4:
        found.append(_flag("beta_warmup", steps // 4, warmup))
    if _setting(config, "free_nats") == 0:
        found.append(_flag("free_nats", 0.05, 0))
    return found


def sentence(flags: list[str]) -> str:
    """`Try --learning-rate 0.001 (now 0.01), or ...`; nothing for no flags."""
    return f"Try {', or '.join(flags)}" if flags else ""


def _steady(config: Any) -> list[str]:
    """The steady recipe, where the experiment has one that this run is not."""
    there = STEADY in settings.choices(type(config), "recipe")
    if not there or config.recipe == STEADY:
        return []
    found = f"--recipe {STEADY}"
    if hasattr(config, "preset"):
        own, steady = (
            dataclasses.replace(config, recipe=recipe).preset()
            for recipe in (config.recipe, STEADY)
        )
        if dataclasses.replace(steady, recipe=config.recipe) == own:
            return []  # another name stands for the same numbers
        if hasattr(config, "adjusted"):
            own = own.adjusted(config)
        if _setting(config, "learning_rate") != _setting(own, "learning_rate"):
            found += " without --learning-rate"  # a flag wins over every recipe
    return [found]


def _setting(config: Any, name: str) -> Any:
    """A number of a configuration or of its hyperparameters; None where it has none."""
    holder = config if hasattr(config, name) else config.hyper
    return getattr(holder, name, None)


def _flag(name: str, value: float | int, now: float | int) -> str:
    return f"--{name.replace('_', '-')} {value:g} (now {now:g})"
