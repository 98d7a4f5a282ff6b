import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxnets.data import text
from jaxnets.ops import decoding
from jaxnets.ops.decoding import (
    END,
    PAD,
    SPECIAL,
    START,
    UNKNOWN,
    beam,
    greedy,
    nucleus,
    sampled,
)

VOCABULARY, STEPS, ROWS, HIDDEN = 5, 4, 3, 6
WORDS = range(END, VOCABULARY)  # what may be produced


def weights(seed=0):
    """Of a random recurrent network, whose state depends on every token before."""
    rng = np.random.default_rng(seed)
    drawn = {
        "into": 1.5 * rng.normal(size=(VOCABULARY, HIDDEN)),
        "across": rng.normal(size=(HIDDEN, HIDDEN)),
        "out": rng.normal(size=(HIDDEN, VOCABULARY)),
        "first": rng.normal(size=(ROWS, HIDDEN)),
    }
    return {name: value.astype(np.float32) for name, value in drawn.items()}


BIAS = np.array([0, 0, -1, 0, 0], np.float32)  # ends are not too likely


def network(weights):
    def step(state, token):
        chosen = weights["into"].at[token].get(mode="fill", fill_value=jnp.nan)
        state = jnp.tanh(state @ weights["across"] + chosen)
        note = {"state": state, "token": token}
        return state, state @ weights["out"] + BIAS[None, :], note

    return step


def follow(seed, row, tokens):
    """The log-probabilities and states of a sequence, in float64 by hand."""
    made = {name: value.astype(np.float64) for name, value in weights(seed).items()}
    state, last, total, states = made["first"][row], START, [], []
    for token in tokens:
        state = np.tanh(state @ made["across"] + made["into"][last])
        logits = state @ made["out"] + BIAS
        logits[[PAD, START]] = -np.inf
        total.append(log_softmax(logits)[token])
        states.append(state)
        last = token
    return np.array(total), np.array(states)


@functools.cache
def _beam(beams):
    return on_host(
        lambda w, alpha, min_p: beam(
            network(w), w["first"], STEPS, beams, alpha=alpha, min_p=min_p
        )
    )


def searched(beams, alpha, seed=0, min_p=0.0, **changed):
    return _beam(beams)({**on_device(seed), **changed}, alpha, min_p)


@functools.cache
def on_device(seed):
    return jax.tree.map(jnp.asarray, weights(seed))


def on_host(function):
    """As compiled, with results whose parts are had without a program a shape."""
    compiled = jax.jit(function)
    return lambda *inputs: jax.tree.map(np.asarray, compiled(*inputs))


_greedy = on_host(lambda w: greedy(network(w), w["first"], STEPS))
_sampled = on_host(
    lambda w, key, temperature: sampled(
        network(w), w["first"], STEPS, key, top_p=0.95, temperature=temperature
    )
)


def hypotheses(steps=STEPS):
    """Every sequence that ends within `steps`."""
    inner = [w for w in WORDS if w != END]
    for count in range(steps):
        for words in itertools.product(inner, repeat=count):
            yield (*words, END)


def penalty(length, alpha):
    return ((5 + length) ** alpha) / ((5 + 1) ** alpha)


def enumerated(row, alpha, seed=0):
    scored = [
        (follow(seed, row, h)[0].sum() / penalty(len(h), alpha), h)
        for h in hypotheses()
    ]
    return sorted(scored, reverse=True)


def strip(row):
    return tuple(int(t) for t in row if t != PAD)


def test_the_special_tokens_are_the_vocabularys():
    words = text.Vocabulary((*SPECIAL, "word"), "word")
    assert [words.tokens[i] for i in (PAD, START, END, UNKNOWN)] == list(SPECIAL)
    assert words.encode("word other") == [START, 4, UNKNOWN, END]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wide_beam_is_an_exhaustive_search(alpha, seed):
    # 2 words that do not end: 8 open sequences and 3 continuations of each at most.
    found = searched(24, alpha, seed)
    for row in range(ROWS):
        expected = enumerated(row, alpha, seed)
        tokens = [strip(t) for t in found.token[row, : len(expected)]]
        assert tokens == [h for _, h in expected]
        scores = found.score[row, : len(expected)]
        np.testing.assert_allclose(
            scores, [s for s, _ in expected], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_array_equal(
            found.length[row, : len(expected)], [len(h) for _, h in expected]
        )


@pytest.mark.parametrize("min_p", [0.1, 0.4, 0.8])
def test_words_that_are_much_less_likely_are_not_followed(min_p):
    def followed(row, tokens):
        for place, token in enumerate(tokens):
            ways = [follow(0, row, (*tokens[:place], w))[0][-1] for w in WORDS]
            if ways[WORDS.index(token)] < max(ways) + np.log(min_p):
                return False
        return True

    found = searched(24, 0.6, min_p=min_p)
    for row in range(ROWS):
        every = enumerated(row, 0.6)
        expected = [h for _, h in every if followed(row, h)]
        ended = [t for t in map(strip, found.token[row]) if END in t]
        assert ended == expected
        assert len(expected) < len(every)


@pytest.mark.parametrize("seed", range(3))
def test_what_follows_the_likeliest_word_alone_is_greedy(seed):
    wide, narrow = searched(24, 2.0, seed, min_p=1.0), _greedy(on_device(seed))
    np.testing.assert_array_equal(wide.token[:, 0], narrow.token[:, 0])
    assert (np.asarray(wide.score[:, 1:]) == -np.inf).all()


def test_likely_tokens_by_hand():
    logp = jnp.log(jnp.array([0.5, 0.25, 0.2, 0.05]))
    kept = lambda min_p: np.asarray(decoding.likely(logp, min_p)) > -np.inf
    assert kept(0.0).all()
    assert kept(0.45).tolist() == [True, True, False, False]
    assert kept(1.0).tolist() == [True, False, False, False]


def test_the_length_penalty_changes_the_answer():
    length = {
        alpha: np.array([searched(24, alpha, s).length[:, 0] for s in range(4)])
        for alpha in (0.0, 2.0)
    }
    assert (length[2.0] >= length[0.0]).all()
    assert (length[2.0] > length[0.0]).any()


def test_what_is_no_sequence_has_no_length():
    # 15 sequences end within 4 steps and 16 stay open: 31 of 40 places are filled.
    found = searched(40, 0.5)
    finished = found.token == END
    assert np.array_equal(np.sum(np.any(finished, axis=2), axis=1), [15] * ROWS)
    missing = np.asarray(found.score) == -np.inf
    assert np.array_equal(missing.sum(axis=1), [9] * ROWS)
    assert (np.asarray(found.length)[missing] == 0).all()
    assert (np.asarray(found.token)[missing] == PAD).all()
    # Open ones come after the finished ones, and have no `<end>`.
    assert np.asarray(finished).any(axis=2)[:, :15].all()
    assert (np.asarray(found.length)[:, 15:31] == STEPS).all()


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_is_greedy(seed):
    one, other = searched(1, 0.0, seed), _greedy(on_device(seed))
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_greedy_takes_the_most_probable_token(seed):
    found = _greedy(on_device(seed))
    for row in range(ROWS):
        tokens = []
        while END not in tokens and len(tokens) < STEPS:
            ends = [follow(seed, row, (*tokens, w))[0][-1] for w in WORDS]
            tokens.append(WORDS[int(np.argmax(ends))])
        assert strip(found.token[row, 0]) == tuple(tokens)
        assert found.length[row, 0] == len(tokens)
        logp, states = follow(seed, row, tokens)
        np.testing.assert_allclose(found.score[row, 0], logp.sum(), rtol=1e-5)
        notes = found.notes["state"][row, 0]
        np.testing.assert_allclose(notes[: len(tokens)], states, rtol=1e-4, atol=1e-5)
        assert (np.asarray(notes)[len(tokens) :] == 0).all()


def test_wider_beams_find_no_worse():
    for alpha in (0.0, 1.0):
        best = [np.asarray(searched(n, alpha).score[:, 0]) for n in (1, 3, 24)]
        assert (best[0] <= best[2] + 1e-5).all()
        assert (best[1] <= best[2] + 1e-5).all()


@pytest.mark.parametrize("beams", [3, 24])
def test_notes_follow_their_beams(beams):
    found = searched(beams, 0.7)
    for row in range(ROWS):
        for n in range(beams):
            tokens = strip(found.token[row, n])
            if not tokens:
                continue
            logp, states = follow(0, row, tokens)
            length = penalty(len(tokens), 0.7)
            np.testing.assert_allclose(
                found.score[row, n], logp.sum() / length, rtol=1e-5
            )
            notes = jax.tree.map(lambda x: np.asarray(x[row, n]), found.notes)  # noqa: B023
            size = len(tokens)
            np.testing.assert_allclose(
                notes["state"][:size], states, rtol=1e-4, atol=1e-5
            )
            assert tuple(notes["token"][:size]) == (START, *tokens[:-1])
            assert not notes["state"][size:].any()
            assert not notes["token"][size:].any()


@pytest.mark.parametrize("beams", [1, 3])
def test_a_row_does_not_depend_on_the_others(beams):
    found = searched(beams, 0.6)
    others = weights(0)["first"].copy()
    others[[0, 2]] = weights(5)["first"][[0, 2]]
    again = searched(beams, 0.6, first=jnp.asarray(others))
    np.testing.assert_array_equal(again.token[1], found.token[1])
    np.testing.assert_array_equal(again.score[1], found.score[1])
    assert not np.array_equal(again.score[0], found.score[0])
    spoilt = others.copy()
    spoilt[0] = np.nan
    again = searched(beams, 0.6, first=jnp.asarray(spoilt))
    np.testing.assert_array_equal(again.score[1], found.score[1])
    assert np.isnan(again.score[0]).all()


def test_a_finished_hypothesis_is_never_lost():
    # `<end>` at once has probability 0.4; what looks better at first, 0.6, spreads
    # over sequences of which none has more than 0.6 / 3 = 0.2.
    table = np.full((VOCABULARY, VOCABULARY), -50.0, np.float32)
    table[START, [END, 3]] = np.log([0.4, 0.6])
    table[3, [END, 3, 4]] = np.log([1 / 3, 1 / 3, 1 / 3])
    table[4, [END, 3, 4]] = np.log([1 / 3, 1 / 3, 1 / 3])

    def step(state, token):
        logits = jnp.asarray(table).at[token].get(mode="fill", fill_value=0)
        return state, logits, ()

    found = on_host(lambda: beam(step, jnp.zeros((1, 1)), 6, 2))()
    assert strip(found.token[0, 0]) == (END,)
    np.testing.assert_allclose(found.score[0, 0], np.log(0.4), rtol=1e-5, atol=1e-5)
    assert strip(found.token[0, 1]) == (3, END)
    np.testing.assert_allclose(found.score[0, 1], np.log(0.2), rtol=1e-5, atol=1e-5)


def test_a_search_goes_on_while_a_longer_sequence_may_win():
    # `<end>` at once: ln .58 = -.54. In 3, 4, `<end>` the first token has .42 and the
    # others are certain: ln .42 / (8 / 6)^2 = -.49. After two tokens it is still -.64.
    table = np.full((VOCABULARY, VOCABULARY), -50.0, np.float32)
    table[START, [END, 3]] = np.log([0.58, 0.42])
    table[3, 4] = table[4, END] = 0

    def step(state, token):
        logits = jnp.asarray(table).at[token].get(mode="fill", fill_value=0)
        return state, logits, ()

    found = on_host(lambda: beam(step, jnp.zeros((1, 1)), 6, 1, alpha=2.0))()
    assert strip(found.token[0, 0]) == (3, 4, END)
    expected = np.log(0.42) / penalty(3, 2.0)
    np.testing.assert_allclose(found.score[0, 0], expected, rtol=1e-5, atol=1e-5)


def still(logits):
    """A network that gives the same logits whatever came before."""

    def step(state, token):
        rows = jnp.broadcast_to(jnp.asarray(logits), (*token.shape, len(logits)))
        return state, rows, ()

    return step


def test_the_nucleus_is_the_fewest_tokens_that_hold_p():
    probability = np.array([[0.05, 0.4, 0.15, 0.3, 0.1], [0.2, 0.2, 0.2, 0.2, 0.2]])
    logits = jnp.log(jnp.asarray(probability, jnp.float32))
    for top_p, first, second in (
        (0.39, {1}, {0, 1}),
        (0.41, {1, 3}, {0, 1, 2}),
        (0.69, {1, 3}, {0, 1, 2, 3}),
        (0.84, {1, 2, 3}, {0, 1, 2, 3, 4}),
        (0.94, {1, 2, 3, 4}, {0, 1, 2, 3, 4}),
        (1.0, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4}),
        (0.0, {1}, {0}),
    ):
        kept = np.isfinite(nucleus(logits, top_p))
        assert set(np.flatnonzero(kept[0])) == first, top_p
        assert set(np.flatnonzero(kept[1])) == second, top_p


def test_everything_is_kept_at_1_however_small():
    logits = jnp.array([[0.0] + [-30.0] * 9])
    assert np.isfinite(nucleus(logits, 1.0)).all()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.7), (0.5, 0.9)])
def test_frequencies_of_samples_are_the_truncated_probabilities(temperature, top_p):
    logits = np.array([3.0, 3.0, 0.1, 1.0, -0.5, 0.6, -2.0], np.float32)
    rows, never = 20_000, [PAD, START]
    scaled = logits.astype(np.float64) / temperature
    scaled[never] = -np.inf
    probability = np.exp(log_softmax(scaled))
    order = np.argsort(-probability)
    needed = np.searchsorted(np.cumsum(probability[order]), min(top_p, 1 - 1e-12)) + 1
    exact = np.zeros_like(probability)
    exact[order[:needed]] = probability[order[:needed]]
    exact /= exact.sum()

    state, key = jnp.zeros((rows, 1)), jax.random.key(3)
    draw = on_host(
        lambda t, p: sampled(still(logits), state, 1, key, temperature=t, top_p=p)
    )
    found = draw(temperature, top_p)
    counts = np.bincount(np.asarray(found.token).ravel(), minlength=len(logits))
    assert counts[exact == 0].sum() == 0
    deviation = np.sqrt(exact * (1 - exact) / rows)
    assert (np.abs(counts / rows - exact) <= 4.5 * deviation).all()
    # Scored by the network itself, whatever it was drawn from.
    own = logits.astype(np.float64).copy()
    own[never] = -np.inf
    expected = log_softmax(own)[np.asarray(found.token)[:, 0, 0]]
    np.testing.assert_allclose(found.score[:, 0], expected, rtol=1e-5, atol=1e-5)


def test_samples_are_pure_in_the_key_and_follow_the_state():
    made = on_device(0)
    one, again, other = (_sampled(made, jax.random.key(k), 1.0) for k in (0, 0, 1))
    np.testing.assert_array_equal(one.token, again.token)
    assert not np.array_equal(one.token, other.token)
    for row in range(ROWS):
        logp, _ = follow(0, row, strip(one.token[row, 0]))
        np.testing.assert_allclose(one.score[row, 0], logp.sum(), rtol=1e-5)


def test_a_low_temperature_is_greedy():
    cold = _sampled(on_device(0), jax.random.key(0), 1e-3)
    np.testing.assert_array_equal(cold.token, _greedy(on_device(0)).token)


def decoded(which, seed):
    if which == "greedy":
        return _greedy(on_device(seed))
    if which == "sampled":
        return _sampled(on_device(seed), jax.random.key(0), 1.0)
    return searched(3, 0.6, seed)


@pytest.mark.parametrize("which", ["greedy", "sampled", "beam"])
def test_padding_follows_the_end(which):
    found = [decoded(which, seed) for seed in range(6)]
    ends = 0
    for tokens, length in zip(
        np.concatenate([np.asarray(f.token).reshape(-1, STEPS) for f in found]),
        np.concatenate([np.asarray(f.length).ravel() for f in found]),
        strict=True,
    ):
        ended = np.flatnonzero(tokens == END)
        ends += len(ended)
        size = ended[0] + 1 if len(ended) else STEPS
        assert length == size
        assert (tokens[size:] == PAD).all()
        assert (tokens[:size] >= END).all()
    assert 0 < ends < len(found) * ROWS * 3


@pytest.mark.parametrize("which", ["greedy", "sampled", "beam"])
def test_what_is_not_a_number_looks_like_no_success(which):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(VOCABULARY, VOCABULARY)).astype(np.float32)

    def step(state, token):
        logits = jnp.asarray(table).at[token].get(mode="fill", fill_value=0)
        bad = jnp.where((state[:, 1] >= 1) & (state[:, 0] == 1), jnp.nan, 0.0)
        bad = jnp.where((state[:, 1] >= 1) & (state[:, 0] == 2), jnp.inf, bad)
        return state.at[:, 1].add(1.0), logits + bad[:, None], ()

    table[:, END] = -40  # nothing ends before that
    state = jnp.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    found = {
        "greedy": lambda: greedy(step, state, STEPS),
        "sampled": lambda: sampled(step, state, STEPS, jax.random.key(0)),
        "beam": lambda: beam(step, state, STEPS, 3, alpha=0.6),
    }[which]
    found = on_host(found)()
    assert np.isfinite(found.score[0]).all()
    assert np.isnan(found.score[1:]).all()
    assert not (found.token[1:] == END).any()


@pytest.mark.parametrize("which", ["greedy", "sampled", "beam"])
def test_a_choice_on_a_command_line_is_the_function_of_that_name(which):
    made, key = on_device(2), jax.random.key(0)
    how = decoding.Decoding(which, beams=3, alpha=0.6, top_p=0.95)
    found = on_host(lambda w: how(network(w), w["first"], STEPS, key))(made)
    expected = decoded(which, 2)
    assert found.token.shape[1] == how.rows
    np.testing.assert_array_equal(found.token, expected.token)
    np.testing.assert_allclose(found.score, expected.score, rtol=1e-5, atol=1e-6)


def test_tokens_may_be_forbidden():
    logits = np.array([0.0, 0.0, 0.0, 9.0, 1.0], np.float32)
    never = (PAD, START, 3)
    found = on_host(lambda: greedy(still(logits), jnp.zeros((1, 1)), 1, never=never))()
    assert found.token[0, 0, 0] == 4
    expected = log_softmax(np.array([0.0, 1.0]))[1]
    np.testing.assert_allclose(found.score[0, 0], expected, rtol=1e-5, atol=1e-6)


def test_the_penalty_by_hand():
    # Wu et al., equation 14: (5 + 7)^0.6 / (5 + 1)^0.6 = 2^0.6.
    np.testing.assert_allclose(
        decoding.length_penalty(7, 0.6), 1.5157166, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(decoding.length_penalty(31, 0.0), 1.0)
