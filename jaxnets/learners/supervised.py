"""Descent on a task, by whatever rule Optax provides."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from jaxnets.learners.base import Learner
from jaxnets.learners.layerwise import gradient_norms
from jaxnets.metrics import Metrics
from jaxnets.tasks.base import Task
from jaxnets.tasks.hyper import check, reading
from jaxnets.types import Key, Scalar, Variables


class TrainState(NamedTuple):
    """Everything a run needs in order to go on; also exactly what is checkpointed."""

    step: Int[Array, ""]
    key: Key  # never consumed: step t draws from fold_in(key, t)
    variables: Variables
    optimizer: optax.OptState
    hyper: Any  # float32 scalars, owned by this state


def supervised(
    task: Task, optimizer: Callable[[Any], optax.GradientTransformation]
) -> Learner:
    """Minimises `task.loss`.

    The hyperparameters are part of the state, and `optimizer` is called with them while
    `step` is traced. So changing a learning rate does not recompile, a population is a
    `vmap`, and a checkpoint knows what it was trained with.

    Besides the task's metrics, every step reports `gradient_norm`, the 2-norm over all
    parameters: it is what tells that a gradient stopped being finite.

    `init` raises `HyperError` if `hyper` lacks a field that the task or the optimizer
    reads, or misspells an optional one (`jaxnets.tasks.hyper`).

    Args:
        task: What to minimise.
        optimizer: Builds the gradient transformation from hyperparameters, which may be
            traced. It must not branch on their values in Python, as
            `optax.warmup_cosine_decay_schedule` does on its peak. Rules that ask for
            `value`, `grad` and `value_fn` get them: line searches, Newton's method.
    """

    def init(key: Key, hyper: Any, batch: Any) -> TrainState:
        check(hyper, task.reads)
        init_key, step_key = jax.random.split(key)
        # Copies: `step` may be jitted with its state donated, and the caller keeps
        # using the hyperparameters it passed.
        hyper = jax.tree.map(lambda x: jnp.array(x, jnp.float32), hyper)
        with reading(hyper, "the optimizer"):
            rule = optimizer(hyper)
        variables = task.init(init_key, batch)
        opt_state = rule.init(variables.params)
        return TrainState(jnp.int32(0), step_key, variables, opt_state, hyper)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        params, buffers = state.variables

        def objective(params: PyTree) -> tuple[Scalar, tuple[PyTree, Metrics]]:
            return task.loss(Variables(params, buffers), batch, key, state.hyper)

        (value, (buffers_after, metrics)), grads = jax.value_and_grad(
            objective, has_aux=True
        )(params)
        rule = optax.with_extra_args_support(optimizer(state.hyper))
        updates, opt_state = rule.update(
            grads,
            state.optimizer,
            params,
            value=value,
            grad=grads,
            value_fn=lambda params: objective(params)[0],
        )
        norms = gradient_norms(grads)
        after = state._replace(
            step=state.step + 1,
            variables=Variables(optax.apply_updates(params, updates), buffers_after),
            optimizer=opt_state,
        )
        return after, {**metrics, **norms}

    def evaluate(state: TrainState, batch: Any, key: Key) -> Metrics:
        return task.evaluate(state.variables, batch, key)

    def predict(state: TrainState, batch: Any, key: Key) -> PyTree:
        return task.predict(state.variables, batch, key)

    return Learner(init, step, evaluate, predict, task.trivial)
