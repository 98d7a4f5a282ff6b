"""Update rules as functions of the hyperparameters, which may be traced.

Each takes `(hyper, shape)`, reads the fields that its line `Reads:` names, and
multiplies `hyper.learning_rate` by the shape of the schedule. `composed` puts weight
decay, clipping, the plateau rule and accumulation around one of them. Everything that
Optax has comes from Optax.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from jaxnets.learners.plateau import scale_on_plateau
from jaxnets.learners.schedules import SHAPES, ScheduleWarning, Shape, over
from jaxnets.ranges import RangeError
from jaxnets.tasks.hyper import reading
from jaxnets.types import Scalar

Rule = Callable[[Any, Shape], optax.GradientTransformation]


def descent(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Plain steps down the gradient.

    On the whole training set this is GD, on batches SGD (Robbins & Monro, 1951).

    Reads: learning_rate
    """
    return _rate(hyper, shape)


def momentum(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Polyak's heavy ball, 1964: the velocity v <- m v + g, with m `hyper.momentum`.

    Reads: learning_rate, momentum
    """
    return optax.chain(optax.trace(hyper.momentum), _rate(hyper, shape))


def nesterov(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Nesterov's momentum in the form of Sutskever et al., 2013, section 2.

    Reads: learning_rate, momentum
    """
    return optax.chain(optax.trace(hyper.momentum, nesterov=True), _rate(hyper, shape))


def adam(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, 2014, https://arxiv.org/abs/1412.6980, algorithm 1).

    Reads: learning_rate
    """
    return optax.chain(optax.scale_by_adam(), _rate(hyper, shape))


def adamw(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Adam with decoupled decay of the kernels by `hyper.weight_decay`.

    Loshchilov & Hutter, "Decoupled weight decay regularization", 2017,
    https://arxiv.org/abs/1711.05101, algorithm 2, with the decay multiplied by the
    learning rate as in torch and Optax. Biases and norms are not decayed.

    Reads: learning_rate, weight_decay
    """
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(hyper.weight_decay, kernels),
        _rate(hyper, shape),
    )


def newton(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Newton's method with the full Hessian: for some thousand parameters at most.

    The step is -rate (H + damping I)^-1 g, with H of the same batch and the same noise
    as the gradient. With `hyper.newton_damping` 0 and rate 1 it ends on the minimum of
    a quadratic in one step. Where the loss is not convex, enough damping keeps the
    system positive definite (Nocedal & Wright, "Numerical optimization", 2006,
    section 3.4).

    Reads: learning_rate, newton_damping
    """
    return optax.chain(newton_direction(hyper.newton_damping), _rate(hyper, shape))


def muon(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    """Kernels move by their orthogonalised momentum, everything else by NAdam.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/. Every singular value of a kernel's step
    is about 1, times `hyper.learning_rate` and sqrt(max(1, columns / rows)); a kernel
    of a convolution is the matrix from its window to its outputs. Decay is as in
    `adamw`, of kernels only.

    Departures:

    - Two iterations, not five: the kernel is divided by its Schatten 4-norm and not by
      the larger Frobenius norm, and each iteration has the coefficients that are best
      after the one before (Amsel, Persson, Musco & Gower, "The Polar Express", 2025,
      https://arxiv.org/abs/2505.16932, section 3). Singular values of .04 to 1 times
      that norm become .714 to 1.286; Jordan's five make .68 to 1.14 of .01 to 1 times
      the larger one.
    - What moves biases, norms, embeddings and kernels of fewer than 8 rows or columns
      is Adam with Nesterov's momentum (Dozat, "Incorporating Nesterov momentum into
      Adam", 2016) at a tenth of the rate, so that one number drives both.

    Reads: learning_rate, weight_decay
    """
    peak = hyper.learning_rate
    matrix = optax.contrib.MuonDimensionNumbers

    def numbers(params: PyTree) -> PyTree:
        def of(path: Any, leaf: Any) -> Any:
            rows = leaf.size // max(leaf.shape[-1], 1) if leaf.ndim > 1 else 0
            if getattr(path[-1], "key", None) != "kernel" or rows < _LEAST:
                return None
            if leaf.shape[-1] < _LEAST:
                return None
            return matrix(tuple(range(leaf.ndim - 1)), (leaf.ndim - 1,))

        return jax.tree_util.tree_map_with_path(of, params)

    return optax.contrib.muon(
        lambda step: peak * shape(step),
        ns_coeffs=POLAR,
        preconditioning="schatten",
        weight_decay=hyper.weight_decay,
        adam_learning_rate=lambda step: 0.1 * peak * shape(step),
        muon_weight_dimension_numbers=numbers,
    )


_LEAST = 8  # rows and columns of a kernel that is worth orthogonalising

# Of x, x^3 and x^5 in the two iterations of `muon`: the polynomials that are nowhere
# farther from 1 than they must be, the first on [.04, 1], the second on what it makes.
POLAR = ((7.04412, -19.49364, 14.169), (2.70037, -2.00905, 0.45616))

RULES: dict[str, Rule] = {
    "sgd": descent,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "muon": muon,
    "newton": newton,
}

# Their decay is their own, decoupled; the others get an L2 penalty.
DECOUPLED = ("adamw", "muon")


NEWTON_PARAMETERS = 2**14  # whose Hessian takes 1 GiB in float32, solving it 3 GiB


def newton_direction(damping: Scalar | float) -> Any:
    """Replaces the gradient g by (H + damping I)^-1 g; needs `value_fn`.

    Its `init` raises `RangeError` for more than `NEWTON_PARAMETERS` parameters.
    """

    def init(params: PyTree) -> optax.EmptyState:
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        if count > NEWTON_PARAMETERS:
            raise RangeError(
                f"--optimizer newton takes at most {NEWTON_PARAMETERS:,} parameters, "
                f"not {count:,}: the Hessian would need {4 * count**2:,} bytes; take a "
                "smaller network or another --optimizer"
            )
        return optax.EmptyState()

    def update(
        updates: Any, state: Any, params: Any = None, **extra_args: Any
    ) -> tuple[Any, Any]:
        value_fn: Callable[[PyTree], Scalar] = extra_args["value_fn"]
        gradient, _ = ravel_pytree(updates)
        flat, unravel = ravel_pytree(params)
        hessian = jax.hessian(lambda x: value_fn(unravel(x)))(flat)
        system = hessian + damping * jnp.eye(flat.size, dtype=flat.dtype)
        return unravel(jnp.linalg.solve(system, gradient)), state

    return optax.GradientTransformationExtraArgs(init, update)


class Extras(NamedTuple):
    """What goes around a rule. Static: each choice is another program.

    Attributes:
        l2: Add `hyper.weight_decay` times the parameters to the gradient, the L2
            penalty of half that factor; for rules that are not `DECOUPLED`.
        skip_biases: Keep the L2 penalty off biases and norms.
        clip: Clip the 2-norm of the gradient at `hyper.clip_norm`.
        accumulate: Average the gradients of so many batches before each update.
        plateau: Lower the rate by `hyper.plateau_factor` after this many stale
            evaluations; see `plateau.observe`. None: never.
        head: From the parameters to True for those of a new head, else False: the
            others learn `hyper.backbone_rate` times as fast. None: all alike.
    """

    l2: bool = False
    skip_biases: bool = True
    clip: bool = False
    accumulate: int = 1
    plateau: int | None = None
    head: Callable[[PyTree], PyTree] | None = None


def composed(
    rule: Rule, shape: Shape, extras: Extras = Extras()
) -> Callable[[Any], optax.GradientTransformation]:
    """A rule with what goes around it, as a function of the hyperparameters.

    In this order: clip the gradient (Pascanu, Mikolov & Bengio, 2012,
    https://arxiv.org/abs/1211.5063, algorithm 1), add the L2 penalty's gradient, apply
    the rule, scale on a plateau, slow the backbone. Accumulation is around all of it,
    and one update counts as one step of the shape.
    """

    def optimizer(hyper: Any) -> optax.GradientTransformation:
        with reading(hyper, f"the rule {getattr(rule, '__name__', rule)}"):
            core = rule(hyper, shape)
        with reading(hyper, "the optimizer's `Extras`"):
            parts: list[Any] = []
            if extras.clip:
                parts.append(optax.clip_by_global_norm(hyper.clip_norm))
            if extras.l2:
                mask = kernels if extras.skip_biases else None
                parts.append(optax.add_decayed_weights(hyper.weight_decay, mask))
            parts.append(core)
            if extras.plateau is not None:
                parts.append(
                    scale_on_plateau(hyper.plateau_factor, patience=extras.plateau)
                )
            if extras.head is not None:
                parts.append(_slower(hyper.backbone_rate, extras.head))
        whole = optax.chain(*parts) if len(parts) > 1 else parts[0]
        if extras.accumulate == 1:
            return whole
        several: Any = optax.MultiSteps(whole, extras.accumulate)
        return optax.GradientTransformationExtraArgs(several.init, several.update)

    return optimizer


def from_config(
    config: Any, steps: int, head: Callable[[PyTree], PyTree] | None = None
) -> Callable[[Any], optax.GradientTransformation]:
    """The optimizer that an experiment's configuration describes.

    The fields read are `optimizer`, `schedule`, `warmup`, `accumulate`, `skip_biases`,
    `hyper.clip_norm`, where 0 leaves the clip out, and, with a `head`,
    `hyper.backbone_rate`, where 1 leaves all parameters alike.

    Args:
        config: A `Config` with these fields.
        steps: Batches of the whole run.
        head: See `Extras`.

    Raises:
        RangeError: If the run ends before its first update, or Newton's method is to
            accumulate: its Hessian is of one batch.
    """
    updates = _updates(steps, config.accumulate)
    if config.optimizer == "newton" and config.accumulate > 1:
        raise RangeError(
            f"--optimizer newton takes --accumulate 1, not {config.accumulate}: "
            "its Hessian is of one batch; use a larger --batch-size"
        )
    shape = over(updates, SHAPES[config.schedule], warmup=config.warmup)
    extras = Extras(
        l2=config.optimizer not in DECOUPLED,
        skip_biases=config.skip_biases,
        clip=config.hyper.clip_norm > 0,
        accumulate=config.accumulate,
        plateau=5 if config.schedule == "plateau" else None,
        head=None if config.hyper.backbone_rate == 1 else head,
    )
    return composed(RULES[config.optimizer], shape, extras)


def _updates(steps: int, accumulate: int) -> int:
    """How often parameters are updated in a run of so many batches."""
    if accumulate > steps:
        raise RangeError(
            f"--accumulate must be in [1, {steps}], not {accumulate}: the run has "
            f"{steps} batches, and no update would happen"
        )
    if last := steps % accumulate:
        warnings.warn(
            f"accumulation: the last {last} of {steps} batches are not enough for an "
            f"update and change nothing; --accumulate is {accumulate}",
            ScheduleWarning,
            stacklevel=3,
        )
    return steps // accumulate


def _slower(
    factor: Scalar | float, head: Callable[[PyTree], PyTree]
) -> optax.GradientTransformation:
    def others(params: PyTree) -> PyTree:
        return jax.tree.map(lambda own: not own, head(params))

    return optax.masked(optax.scale(factor), others)


def kernels(params: PyTree) -> PyTree:
    """True for what weight decay is meant for: all but biases, scales of norms."""

    def decays(path: Any, leaf: Any) -> bool:
        del leaf
        last = getattr(path[-1], "key", None) if path else None
        return last not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(decays, params)


def _rate(hyper: Any, shape: Shape) -> optax.GradientTransformation:
    peak = hyper.learning_rate  # read here, so that a missing one is seen at once
    return optax.scale_by_learning_rate(lambda step: peak * shape(step))
