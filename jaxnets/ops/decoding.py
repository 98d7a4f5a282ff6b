"""Sequences out of a network that says what may come next: greedy, sampled, beams.

- Sutskever, Vinyals & Le, "Sequence to sequence learning with neural networks", 2014,
  https://arxiv.org/abs/1409.3215, section 3.2: beam search, finished hypotheses apart.
- Wu et al., "Google's neural machine translation system", 2016,
  https://arxiv.org/abs/1609.08144, equation 14: `length_penalty`. Their coverage
  penalty and their pruning are left out.
- Nguyen, Baker, Neo, Roush, Kirsch & Shwartz-Ziv, "Turning up the heat: min-p sampling
  for creative and coherent LLM outputs", 2024, https://arxiv.org/abs/2407.01082: what
  `likely` keeps, here of beams. A beam that may take any word prefers sentences that
  begin oddly and then go on without a choice.
- Holtzman, Buys, Du, Forbes & Choi, "The curious case of neural text degeneration",
  2019, https://arxiv.org/abs/1904.09751, equations 2 and 3: `nucleus`.

The network is a function `step(state, token) -> (state, logits, notes)` of rows: the
state after a token, the logits of the next one, and anything worth keeping about how
they came about, attention weights say. Every leaf of `state` and `notes` has one row a
sequence. The functions are pure, of static shapes, and meant to be called inside `jit`.

Tokens are numbered as in `jaxnets.data.text`. Decoding begins with `<start>`, which is
no part of the result. `<pad>` and `<start>` are never produced: their probability goes
to the other tokens, in proportion.

Nothing wrong looks like a success: a sequence that meets a NaN (or infinity) in its
logits gets the score NaN and never an `<end>`.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from jaxnets.ranges import Positive, PositiveShare, Share, within
from jaxnets.types import Key, Scalar

PAD, START, END, UNKNOWN = 0, 1, 2, 3
"""The special tokens of every vocabulary."""
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
"""How they are written."""

Step: TypeAlias = Callable[[Any, Any], tuple[Any, Any, Any]]


class Sequences(NamedTuple):
    """The `n` best sequences of each row, best first; `greedy`, `sampled` give one."""

    token: Int[Array, "b n t"]  # up to `<end>`, which is there; then `<pad>`
    score: Float[Array, "b n"]  # log-probability in nats, length-normalised in `beam`
    length: Int[Array, "b n"]  # tokens, with `<end>`
    notes: PyTree  # leaves [b n t ...], zero after the end


class Decoding(NamedTuple):
    """A way to decode, for command lines.

    `sharpness` is for the network that makes the `step`: it multiplies the attribute of
    that name (`jaxnets.models.parts.attention`).
    """

    decode: Literal["greedy", "sampled", "beam"] = "greedy"  # how sequences are decoded
    # beam search: sequences that are followed at once
    beams: Annotated[int, within(1, 10_000)] = 5
    # beam search: exponent of the length penalty; 0: none
    alpha: Annotated[float, within(0, 100)] = 0.6
    # beam search: least probability of a token as a share of the largest one; 0: no
    # limit
    min_p: Share = 0.0
    # sampling: divisor of the logits; near 0: nearly greedy
    temperature: Positive = 1.0
    # sampling: probability mass of the most probable tokens that are drawn from; 1: all
    top_p: PositiveShare = 1.0
    # factor of the attention's scores before the softmax; larger: narrower attention
    sharpness: Positive = 1.0

    @property
    def rows(self) -> int:
        """How many rows of the network one sequence takes; see `repeated`."""
        return self.beams if self.decode == "beam" else 1

    def __call__(self, step: Step, state: PyTree, steps: int, key: Key) -> Sequences:
        """Decodes; see the function of that name."""
        if self.decode == "beam":
            alpha, min_p = self.alpha, self.min_p
            return beam(step, state, steps, self.beams, alpha=alpha, min_p=min_p)
        if self.decode == "sampled":
            heat, top_p = self.temperature, self.top_p
            return sampled(step, state, steps, key, temperature=heat, top_p=top_p)
        return greedy(step, state, steps)


GREEDY = Decoding()


def greedy(
    step: Step, state: PyTree, steps: int, *, never: Sequence[int] = (PAD, START)
) -> Sequences:
    """The most probable token, again and again; among equal ones the first.

    Args:
        step: Of the network.
        state: Before `<start>`.
        steps: The most tokens of a sequence, `<end>` included.
        never: Tokens that are not produced.
    """

    def choose(logp: Float[Array, "b vocabulary"], time: Any) -> Int[Array, " b"]:
        del time
        return jnp.argmax(logp, axis=-1).astype(jnp.int32)

    return _unrolled(step, state, steps, choose, never)


def sampled(
    step: Step,
    state: PyTree,
    steps: int,
    key: Key,
    *,
    temperature: Scalar | float = 1.0,
    top_p: Scalar | float = 1.0,
    never: Sequence[int] = (PAD, START),
) -> Sequences:
    """Draws from the network: token t of all rows from `fold_in(key, t)`.

    The score is the log-probability under the network itself, at temperature 1 and
    without truncation.

    Args:
        step: Of the network.
        state: Before `<start>`.
        steps: The most tokens of a sequence, `<end>` included.
        key: Decides the draws, and nothing else does.
        temperature: Divides the logits, above 0: small is nearly greedy. May be traced.
        top_p: Of the `nucleus`, taken after the temperature; 1 keeps all. May be
            traced.
        never: Tokens that are not produced.
    """

    def choose(logp: Float[Array, "b vocabulary"], time: Any) -> Int[Array, " b"]:
        draw = jax.random.fold_in(key, time)
        return jax.random.categorical(draw, nucleus(logp / temperature, top_p)).astype(
            jnp.int32
        )

    return _unrolled(step, state, steps, choose, never)


def nucleus(
    logits: Float[Array, "b vocabulary"], top_p: Scalar | float
) -> Float[Array, "b vocabulary"]:
    """The logits of the fewest tokens that hold `top_p` of the probability, else -inf.

    The most probable token is always kept. Among equal ones the first comes first.
    """
    order = jnp.argsort(-logits, axis=-1, stable=True)
    ranked = jnp.take_along_axis(
        jax.nn.softmax(logits, axis=-1), order, axis=-1, mode="promise_in_bounds"
    )
    before = jnp.cumsum(ranked, axis=-1) - ranked
    # Rounding must not drop the tail where all is wanted.
    kept = (before < top_p) | (jnp.asarray(top_p) >= 1)
    kept = kept.at[:, 0].set(True)
    rank = jnp.argsort(order, axis=-1)
    inside = jnp.take_along_axis(kept, rank, axis=-1, mode="promise_in_bounds")
    return jnp.where(inside, logits, -jnp.inf)


def likely(
    logits: Float[Array, "*b vocabulary"], min_p: Scalar | float
) -> Float[Array, "*b vocabulary"]:
    """The logits of tokens with `min_p` of the largest probability or more, else -inf.

    Args:
        logits: Or log-probabilities.
        min_p: The share, in [0, 1]; at 0 all are kept. May be traced.
    """
    least = jnp.max(logits, axis=-1, keepdims=True) + jnp.log(min_p)
    return jnp.where(logits >= least, logits, -jnp.inf)


def length_penalty(
    length: Int[Array, "..."] | int, alpha: Scalar | float
) -> Float[Array, "..."]:
    """What a log-probability is divided by: ((5 + length) / 6)^alpha; 1 at alpha 0.

    The length counts `<end>`.
    """
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


class _Open(NamedTuple):
    """Sequences without `<end>` so far: rows of the network."""

    state: Any  # [b * n, ...]
    token: Any  # [b, n, t]
    score: Any  # [b, n]: log-probability; -inf where there is none
    notes: Any  # [b, n, t, ...]


class _Finished(NamedTuple):
    """Sequences with `<end>`: only better finished ones displace them."""

    token: Any  # [b, n, t]
    score: Any  # [b, n]: normalised; -inf where there is none
    length: Any  # [b, n]
    notes: Any  # [b, n, t, ...]


def beam(
    step: Step,
    state: PyTree,
    steps: int,
    beams: int,
    *,
    alpha: Scalar | float = 0.0,
    min_p: Scalar | float = 0.0,
    never: Sequence[int] = (PAD, START),
) -> Sequences:
    """Beam search: follows the `beams` most probable open sequences of each row.

    Where `<end>` is among the `beams` best continuations of the open sequences, that
    sequence joins the finished ones, of which the `beams` best by normalised score are
    kept; the open places are filled with the best continuations that do not end. The
    search goes on until no open sequence can become better than the finished ones, or
    to `steps`. Open sequences come after all finished ones in the result; where there
    are not enough of both, the score is -inf and the length 0.

    One beam at alpha 0 is `greedy`. A beam that is wide enough is an exhaustive search.

    Args:
        step: Of the network; it is called on `b * beams` rows, the beams of a row one
            after the other. What it closes over must be `repeated` as well.
        state: Before `<start>`, `b` rows.
        steps: The most tokens of a sequence, `<end>` included.
        beams: How many.
        alpha: Of `length_penalty`: 0 prefers short sequences, Wu et al. found 0.6 to
            0.7 best. May be traced.
        min_p: Of `likely`: what is less probable than this share of the most probable
            token is not followed. 0 follows everything, 1 is `greedy`. May be traced.
        never: Tokens that are not produced.
    """
    rows = _rows(state)
    shape = (rows, beams)
    opened, note = repeated(state, beams), _notes(step, repeated(state, beams))
    notes = jax.tree.map(
        lambda x: jnp.zeros((*shape, steps, *x.shape[1:]), x.dtype), note
    )
    empty = jnp.full((*shape, steps), PAD, jnp.int32)
    none = jnp.full(shape, -jnp.inf, jnp.float32)
    # All beams begin alike: only the first one counts.
    first = jnp.where(jnp.arange(beams)[None, :] == 0, 0.0, none)
    start = (
        jnp.int32(0),
        _Open(opened, empty, first, notes),
        _Finished(empty, none, jnp.zeros(shape, jnp.int32), notes),
        jnp.zeros(rows, bool),
    )

    def settled(time: Any, open_: _Open, finished: _Finished) -> Bool[Array, " b"]:
        longest = length_penalty(steps, alpha)
        penalty = jnp.maximum(longest, length_penalty(time + 1, alpha))
        hope = jnp.max(open_.score, axis=1) / penalty  # scores are below 0
        return jnp.min(finished.score, axis=1) >= hope

    def going(carry: Any) -> Bool[Array, ""]:
        time, open_, finished, broken = carry
        return (time < steps) & ~jnp.all(settled(time, open_, finished) | broken)

    def body(carry: Any) -> Any:
        time, open_, finished, broken = carry
        last = jnp.where(
            time == 0, START, open_.token[:, :, jnp.maximum(time - 1, 0)]
        ).reshape(-1)
        after, logits, note = step(open_.state, last)
        logp = log_probabilities(logits, never).reshape(rows, beams, -1)
        real = (open_.score > -jnp.inf) & ~settled(time, open_, finished)[:, None]
        broken = broken | jnp.any(real & jnp.any(jnp.isnan(logp), axis=-1), axis=1)
        logp = likely(jnp.where(jnp.isnan(logp), -jnp.inf, logp), min_p)
        total = open_.score[:, :, None] + logp
        notes = jax.tree.map(
            lambda kept, new: kept.at[:, :, time].set(
                new.reshape(*shape, *new.shape[1:]), mode="promise_in_bounds"
            ),
            open_.notes,
            note,
        )
        grown = open_._replace(state=after, notes=notes)
        finished = _finished(grown, total, finished, time, alpha)
        return time + 1, _followed(grown, total, time), finished, broken

    _, open_, finished, broken = jax.lax.while_loop(going, body, start)
    return _ranked(open_, finished, broken, steps, alpha)


def repeated(tree: PyTree, beams: int) -> PyTree:
    """Every row `beams` times, one after the other: what `beam` calls `step` on."""
    return jax.tree.map(lambda x: jnp.repeat(x, beams, axis=0), tree)


def log_probabilities(
    logits: Float[Array, "b vocabulary"], never: Sequence[int] = (PAD, START)
) -> Float[Array, "b vocabulary"]:
    """Log-probabilities in nats, -inf for tokens that are `never` to be produced.

    A row with a NaN or a positive infinity is all NaN.
    """
    logits = logits.astype(jnp.float32)
    banned = jnp.isin(jnp.arange(logits.shape[-1]), jnp.array(list(never), jnp.int32))
    sound = jnp.all(logits < jnp.inf, axis=-1, keepdims=True)  # False for NaN
    logp = jax.nn.log_softmax(jnp.where(banned[None, :], -jnp.inf, logits), axis=-1)
    return jnp.where(sound, logp, jnp.nan)


def _unrolled(
    step: Step,
    state: PyTree,
    steps: int,
    choose: Callable[[Any, Any], Any],
    never: Sequence[int],
) -> Sequences:
    rows = _rows(state)
    notes = jax.tree.map(
        lambda x: jnp.zeros((rows, steps, *x.shape[1:]), x.dtype), _notes(step, state)
    )
    start = (
        jnp.int32(0),
        state,
        jnp.full(rows, START, jnp.int32),
        jnp.ones(rows, bool),
        Sequences(
            jnp.full((rows, steps), PAD, jnp.int32),
            jnp.zeros(rows, jnp.float32),
            jnp.zeros(rows, jnp.int32),
            notes,
        ),
    )

    def going(carry: Any) -> Bool[Array, ""]:
        time, _, _, open_, _ = carry
        return (time < steps) & jnp.any(open_)

    def body(carry: Any) -> Any:
        time, state, last, open_, made = carry
        state, logits, note = step(state, last)
        logp = log_probabilities(logits, never)
        sound = ~jnp.any(jnp.isnan(logp), axis=-1)
        chosen = jnp.where(open_ & sound, choose(logp, time), PAD)
        gain = jnp.take_along_axis(
            logp, chosen[:, None], axis=-1, mode="promise_in_bounds"
        )[:, 0]
        gain = jnp.where(sound, gain, jnp.nan)
        made = Sequences(
            made.token.at[:, time].set(chosen, mode="promise_in_bounds"),
            made.score + jnp.where(open_, gain, 0.0),
            made.length + (open_ & sound).astype(jnp.int32),
            jax.tree.map(
                lambda kept, new: kept.at[:, time].set(
                    jnp.where(_wide(open_ & sound, new), new, jnp.zeros_like(new)),
                    mode="promise_in_bounds",
                ),
                made.notes,
                note,
            ),
        )
        return time + 1, state, chosen, open_ & sound & (chosen != END), made

    *_, made = jax.lax.while_loop(going, body, start)
    return jax.tree.map(lambda x: x[:, None], made)


def _finished(
    open_: _Open, total: Array, finished: _Finished, time: Array, alpha: Any
) -> _Finished:
    """The best of the finished sequences and those that `<end>` finishes now."""
    rows, beams, _ = total.shape
    best, _ = jax.lax.top_k(total.reshape(rows, -1), min(beams, total[0].size))
    ending = total[:, :, END]
    among = (ending >= best[:, -1:]) & (ending > -jnp.inf)
    score = jnp.where(among, ending / length_penalty(time + 1, alpha), -jnp.inf)
    token = open_.token.at[:, :, time].set(END, mode="promise_in_bounds")
    length = jnp.full((rows, beams), 1, jnp.int32) + time
    new = _Finished(token, score, length, open_.notes)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, new)
    _, places = jax.lax.top_k(both.score, beams)
    return _taken(both, places)


def _followed(open_: _Open, total: Array, time: Array) -> _Open:
    """The best continuations that do not end."""
    rows, beams, vocabulary = total.shape
    going = total.at[:, :, END].set(-jnp.inf).reshape(rows, -1)
    score, places = jax.lax.top_k(going, beams)
    parent, chosen = places // vocabulary, places % vocabulary
    apart = jax.tree.map(lambda x: x.reshape(rows, beams, *x.shape[1:]), open_.state)
    state, token, notes = _taken((apart, open_.token, open_.notes), parent)
    state = jax.tree.map(lambda x: x.reshape(rows * beams, *x.shape[2:]), state)
    token = token.at[:, :, time].set(chosen, mode="promise_in_bounds")
    return _Open(state, token, score, notes)


def _ranked(
    open_: _Open, finished: _Finished, broken: Array, steps: int, alpha: Any
) -> Sequences:
    """Finished sequences, then open ones; nothing where a NaN was met."""
    rows, beams = open_.score.shape
    score = open_.score / length_penalty(steps, alpha)
    length = jnp.full((rows, beams), steps, jnp.int32)
    rest = _Finished(open_.token, score, length, open_.notes)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), finished, rest)
    late = jnp.arange(2 * beams)[None, :] >= beams
    missing = both.score == -jnp.inf
    order = jnp.lexsort((-both.score, jnp.where(missing, 2, late)), axis=1)
    best = _taken(both, order[:, :beams])
    lost = (best.score == -jnp.inf) | broken[:, None]
    length = jnp.where(lost, 0, best.length)
    inside = jnp.arange(steps)[None, None, :] < length[:, :, None]
    return Sequences(
        jnp.where(lost[:, :, None], PAD, best.token),
        jnp.where(broken[:, None], jnp.nan, best.score),
        length,
        jax.tree.map(
            lambda x: jnp.where(_wide(inside, x), x, jnp.zeros_like(x)), best.notes
        ),
    )


def _taken(tree: Any, places: Int[Array, "b n"]) -> Any:
    """The chosen entries of axis 1 of every leaf."""
    return jax.tree.map(
        lambda x: jnp.take_along_axis(
            x, _wide(places, x), axis=1, mode="promise_in_bounds"
        ),
        tree,
    )


def _wide(flags: Array, like: Array) -> Array:
    """`flags` with axes of length 1 added, to go with `like`."""
    return flags.reshape(*flags.shape, *(1,) * (like.ndim - flags.ndim))


def _rows(state: PyTree) -> int:
    return jax.tree.leaves(state)[0].shape[0]


def _notes(step: Step, state: PyTree) -> PyTree:
    token = jax.ShapeDtypeStruct((_rows(state),), jnp.int32)
    return jax.eval_shape(step, state, token)[2]
