"""Shapes of a hyperparameter over time: functions of the step with a peak of 1.

A shape times `hyper.learning_rate` is a schedule. The peak stays outside because it is
traced, and Optax's own schedules branch in Python on theirs.
"""

import warnings
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax

from jaxnets.errors import UserError
from jaxnets.ranges import RangeError

Shape = optax.Schedule  # step -> factor in [0, 1]


def constant() -> Shape:
    """1 for ever: the length of the run does not matter."""
    return optax.constant_schedule(1.0)


def cosine(steps: int, *, final: float = 0.0) -> Shape:
    """Half a cosine from 1 to `final`, which it keeps after `steps`.

    Loshchilov & Hutter, "SGDR", 2016, https://arxiv.org/abs/1608.03983, equation 5,
    without restarts.
    """
    return optax.cosine_decay_schedule(1.0, max(steps, 1), alpha=final)


def stepwise(boundaries: Sequence[int], *, factor: float = 0.1) -> Shape:
    """Multiplied by `factor` at each of the `boundaries`, in steps.

    He et al., "Deep residual learning", 2015, https://arxiv.org/abs/1512.03385,
    section 4.2: divided by 10 at 32,000 and 48,000 of 64,000 steps.
    """
    return optax.piecewise_constant_schedule(1.0, dict.fromkeys(boundaries, factor))


def warmed_up(shape: Shape, steps: int) -> Shape:
    """Rises in a line to 1 over `steps`, then follows `shape` from its beginning.

    Goyal et al., "Accurate, large minibatch SGD", 2017,
    https://arxiv.org/abs/1706.02677, section 2.2. Step t of the rise has t + 1 parts of
    `steps`: the first one already moves, the last one has the full rate.
    """
    if steps < 1:
        return shape
    rise = optax.linear_schedule(1 / steps, 1.0, max(steps - 1, 1))
    return optax.join_schedules([rise, shape], [steps])


class ScheduleWarning(UserError, UserWarning):
    """A schedule that does not fit into its run; the message says what is done."""


def over(
    steps: int, shape: Callable[[int], Shape], *, warmup: int | float = 0
) -> Shape:
    """Returns the schedule of a whole run: a linear rise, then `shape` for the rest.

    A rise as long as the run would never reach the peak. It is shortened to half of the
    run, with a `ScheduleWarning`.

    Args:
        steps: Updates of the whole run, those of the rise included.
        shape: From the number of the remaining updates to their shape.
        warmup: Updates of the rise, or its share of the run; see `rise`.

    Raises:
        RangeError: As `rise`.
    """
    updates = rise(warmup, steps)
    if updates and updates >= steps:
        warnings.warn(
            f"warm-up: {updates} updates do not fit into a run of {steps}, so it takes "
            f"{steps // 2}; more --epochs make room for all of it",
            ScheduleWarning,
            stacklevel=2,
        )
        updates = steps // 2
    return warmed_up(shape(steps - updates), updates)


def rise(warmup: int | float, steps: int) -> int:
    """Returns the updates of a warm-up.

    Args:
        warmup: Their number; below 1, their share of the run, at least one; 0: none.
        steps: Updates of the whole run.

    Raises:
        RangeError: If it is more than 1 and not a whole number.
    """
    if 0 < warmup < 1:
        return max(round(warmup * steps), 1)
    if warmup != int(warmup):
        raise RangeError(
            "--warmup takes a whole number of updates, or a share of the run below 1, "
            f"not {warmup:g}"
        )
    return int(warmup)


def linear(steps: int, *, final: float = 0.0) -> Shape:
    """A line from 1 to `final`, which it keeps after `steps`."""
    return optax.linear_schedule(1.0, final, max(steps, 1))


def exponential(steps: int, *, final: float, every: int = 1) -> Shape:
    """Falls by the same factor each `every` steps, to `final` after `steps`."""
    factor = final ** (every / max(steps, 1))
    return optax.exponential_decay(1.0, every, factor, staircase=True)


def parted(steps: int, shares: Sequence[float], *, factor: float = 0.1) -> Shape:
    """`stepwise` at these shares of `steps`; those that come too early are one."""
    boundaries = [max(1, round(steps * share)) for share in shares]
    falls = {at: factor ** boundaries.count(at) for at in boundaries}
    return optax.piecewise_constant_schedule(1.0, falls)


def rising(steps: int) -> Shape:
    """From 0 in a line to 1 over `steps`, which it keeps.

    Bengio et al., "Scheduled sampling", 2015, https://arxiv.org/abs/1506.03099, section
    2.4, linear decay: here of the share of draws, 1 minus that of true tokens.
    """
    return optax.linear_schedule(0.0, 1.0, max(steps, 1))


def inverse_sigmoid(steps: float | int) -> Shape:
    """From nearly 0 to 1, as a sigmoid: 1 - k / (k + exp(t / k)), where k is `steps`.

    Bengio et al., ibid.: inverse sigmoid decay of the share of true tokens. It begins
    with 1 / (k + 1), reaches a half at k log k, and is steepest there.
    """

    def shape(step: object) -> jax.Array:
        # exp(t / k) would be infinite for late t; its logarithm never is.
        return jax.nn.sigmoid(jnp.asarray(step) / steps - jnp.log(float(steps)))

    return shape


# For command lines: name to a function of the number of steps. The plateau rule keeps
# the shape constant; it lowers the rate by what it observes.
SHAPES: dict[str, Callable[[int], Shape]] = {
    "constant": lambda steps: constant(),
    "plateau": lambda steps: constant(),
    "cosine": cosine,
    "linear": linear,
    # ResNet and DenseNet on CIFAR; the usual 30 and 60 of 90 epochs; Wide ResNet.
    "step": lambda steps: parted(steps, (1 / 2, 3 / 4)),
    "thirds": lambda steps: parted(steps, (1 / 3, 2 / 3)),
    "fifths": lambda steps: parted(steps, (0.3, 0.6, 0.8), factor=0.2),
    # FractalNet; LeNet-5; GoogLeNet, by 4 % every 8 of 250 epochs.
    "halving": lambda steps: parted(steps, (1 / 2, 3 / 4, 7 / 8, 15 / 16)),
    "exponential": lambda steps: exponential(steps, final=1 / 50),
    "fading": lambda steps: exponential(
        steps, final=0.96 ** (250 / 8), every=max(1, steps * 8 // 250)
    ),
}

# Likewise, for what is to rise: the share of a decoder's own draws, say.
RISES: dict[str, Callable[[int], Shape]] = {
    "constant": lambda steps: constant(),
    "linear": lambda steps: rising(steps // 2),
    "sigmoid": lambda steps: inverse_sigmoid(max(steps / 12, 2.0)),
}
