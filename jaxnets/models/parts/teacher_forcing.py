"""Teacher forcing: a decoder reads a given sequence, or, at a rate, its own draws.

- Williams & Zipser, "A learning algorithm for continually running fully recurrent
  neural networks", Neural Computation 1(2), 1989,
  https://doi.org/10.1162/neco.1989.1.2.270: teacher forcing. The network is fed the
  right output of the step before, and not its own.
- Bengio, Vinyals, Jaitly & Shazeer, "Scheduled sampling for sequence prediction with
  recurrent neural networks", 2015, https://arxiv.org/abs/1506.03099, section 2.4: a
  coin for each token decides whether the network is fed its own draw.

No gradient passes through a draw.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree, Shaped

from jaxnets.models.parts.blocks import Rate, off
from jaxnets.types import Key

Projected = tuple[Array, ...]  # of a word, what enters the recurrent product


def step_keys(key: Key, times: Int[Array, " t"]) -> Shaped[Array, "t ..."]:
    """The key of each step, `fold_in(key, time)`."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, times)


def teacher_forced(
    module: nn.Module,
    state: PyTree,
    token: Int[Array, "b t"],
    *,
    read: Callable[[Any, Array], tuple[Array, Projected]],
    advance: Callable[[Any, PyTree, Projected, Key | None], tuple[PyTree, PyTree]],
    logits: Callable[..., Float[Array, "b vocabulary"]],
    vocabulary: int,
    keys: Shaped[Array, "t ..."] | None = None,
    sampling: Rate = 0,
) -> tuple[Float[Array, "b t e"], PyTree]:
    """Runs a decoder over all tokens, as one compiled loop.

    The functions are given the module first, since the loop binds it anew.

    Args:
        module: The decoder, bound: its parameters are shared between steps.
        state: Before the first token.
        token: `<start>` and the tokens that are given.
        read: Of tokens, their vectors and what the recurrent product has of them. It
            must not depend on the state: all steps are one call unless tokens are
            drawn.
        advance: From a state, what `read` returned and a key to the state after the
            token, and a tuple of whatever is wanted of each step.
        logits: From the vector of a token and the first two entries of that tuple. It
            is called here only if tokens are drawn.
        vocabulary: Number of logits.
        keys: One a step, as from `step_keys`; `advance` gets a key of its own from it.
            None: nothing is drawn.
        sampling: Probability that a token is not the given one but drawn from the
            logits of the step before, each token but the first by itself.

    Returns:
        The vectors of the tokens that were read, and what `advance` made of each step,
        with a time axis: `[b, t, ...]`.
    """
    batch, times = token.shape
    draws = keys is not None and not off(sampling)
    # One matrix product for all steps, unless a step depends on the draw before.
    given = (token.T, *read(module, token.T))

    def body(module: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
        state, said = carry
        time, key, (token, word, projected) = inputs
        if draws:
            coin, draw, key = jax.random.split(key, 3)
            own = (jax.random.uniform(coin, (batch,)) < sampling) & (time > 0)
            token = jnp.where(own, jax.random.categorical(draw, said), token)
            word, projected = read(module, token)
        state, made = advance(module, state, projected, key)
        if draws:
            after = jax.lax.stop_gradient(logits(module, word, *made[:2]))
            said = after.astype(said.dtype)
        return (state, said), (word, made)

    scan = nn.scan(body, variable_broadcast="params", split_rngs={"params": False})
    said = jnp.zeros((batch, vocabulary if draws else 0))
    _, made = scan(module, (state, said), (jnp.arange(times), keys, given))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), made)
