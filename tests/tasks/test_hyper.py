"""`learner.init` refuses a `Hyper` that does not fit, before it traces anything."""

import doctest
import re
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest

import jaxnets.learners.base
import jaxnets.tasks.base
from jaxnets.learners import schedules
from jaxnets.learners.adversarial import Game, adams, adversarial
from jaxnets.learners.averaged import averaged
from jaxnets.learners.optimizers import RULES, Extras, composed
from jaxnets.learners.population import population
from jaxnets.learners.supervised import supervised
from jaxnets.models.convnet import convnet
from jaxnets.tasks.adversarial import HINGE, R1
from jaxnets.tasks.base import Task
from jaxnets.tasks.classification import classification
from jaxnets.tasks.hyper import HyperError, Reads, check, reading
from jaxnets.testing.tasks import recording
from jaxnets.types import ImageBatch, Variables

KEY = jax.random.key(0)
BATCH = ImageBatch(jnp.zeros((4, 8, 8, 1)), jnp.arange(4), jnp.ones(4, bool))
PARAMS = {"layer": {"kernel": jnp.ones((9, 9)), "bias": jnp.ones(9)}}


def hyper(*names):
    return NamedTuple("Hyper", [(name, float) for name in names])(*[0.1] * len(names))


def untraced(*_):
    raise AssertionError("the task was traced")


def refused(learner, *names):
    with pytest.raises(HyperError) as caught:
        learner.init(KEY, hyper(*names), BATCH)
    return str(caught.value).splitlines()


def documented(rule):
    return set(re.search(r"^ *Reads: (.+)$", rule.__doc__, re.M)[1].split(", "))


EVERY = sorted({field for rule in RULES.values() for field in documented(rule)})


@pytest.mark.parametrize("name", RULES)
def test_the_docstring_of_a_rule_names_what_the_rule_reads(name):
    given, seen = recording(hyper(*EVERY))
    rule = RULES[name](given, schedules.constant())
    eagerly = set(seen)

    def update(params):
        arguments = {"value_fn": lambda p: jnp.sum(p["layer"]["kernel"] ** 2)}
        whole = optax.with_extra_args_support(rule)
        return whole.update(params, rule.init(params), params, **arguments)

    jax.eval_shape(update, PARAMS)
    assert documented(RULES[name]) == eagerly == seen


def test_the_docstring_of_the_rules_of_two_networks_names_what_they_read():
    given, seen = recording(hyper(*EVERY, "ratio", "beta1", "beta2"))
    rules = adams()(given)
    eagerly = set(seen)
    for rule in rules:
        jax.eval_shape(lambda p, r=rule: r.update(p, r.init(p), p), PARAMS)
    assert documented(adams) == eagerly == seen


def test_a_network_is_trained_without_the_fields_that_switch_something_on():
    task = classification(convnet(10))
    learner = supervised(task, lambda hyper: optax.sgd(hyper.learning_rate))
    state = jax.eval_shape(learner.init, KEY, hyper("learning_rate"), BATCH)
    jax.eval_shape(task.loss, state.variables, BATCH, KEY, state.hyper)


class Rated(nn.Module):
    """Its logits depend on a probability, so that a loss shows its value."""

    @nn.compact
    def __call__(self, image, *, train, dropout=0.0):
        return image.reshape(len(image), -1) * (1 + dropout)


def test_an_absent_field_is_off():
    images = jnp.arange(64.0).reshape(4, 4, 4, 1) % 7
    loss = lambda given: classification(Rated()).loss(
        Variables({}, {}), BATCH._replace(image=images), KEY, given
    )[0]
    off = hyper("dropout", "label_smoothing")._replace(dropout=0.0, label_smoothing=0.0)
    cases = (off, hyper(), hyper("label_smoothing"), hyper("dropout"))
    expected, absent, *others = jax.jit(lambda: [loss(given) for given in cases])()
    assert absent == expected
    assert expected not in others


def test_a_missing_field_is_named_with_its_reader_before_anything_is_traced():
    task = Task(untraced, untraced, untraced, untraced, reads=Reads("fit", ("a", "b")))
    learner = supervised(task, lambda hyper: optax.sgd(hyper.learning_rate))
    assert refused(learner, "learning_rate", "b") == [
        "Hyper has no field a, which fit reads: add `a: float`, with a default, to the "
        "fields of Hyper"
    ]
    assert len(refused(learner, "learning_rate")) == 2
    assert "field learning_rate, which the optimizer" in refused(learner, "a", "b")[0]
    for rule, extras, names, message in [
        ("adamw", Extras(), ["learning_rate"], "weight_decay, which the rule adamw"),
        ("muon", Extras(), ["weight_decay"], "learning_rate, which the rule muon"),
        ("sgd", Extras(clip=True), ["learning_rate"], "clip_norm, which the optimizer"),
    ]:
        optimizer = composed(RULES[rule], schedules.constant(), extras)
        lines = refused(supervised(task, optimizer), "a", "b", *names)
        assert message in lines[0]


def test_wrappers_and_adversaries_check_what_they_read():
    task = Task(untraced, untraced, untraced, untraced)
    inner = supervised(task, lambda hyper: optax.sgd(hyper.learning_rate))
    assert (
        "average_decay, which averaged" in refused(averaged(inner), "learning_rate")[0]
    )
    many = population(inner)
    with pytest.raises(HyperError, match="learning_rate"):
        many.init(
            jax.random.split(KEY, 2),
            jax.tree.map(lambda x: jnp.ones(2), hyper("a")),
            BATCH,
        )
    game = adversarial(Game(None, None, HINGE, R1), adams())
    assert "r1, which the penalty" in refused(game, "learning_rate")[0]
    assert "beta1, which the update rules" in refused(game, "learning_rate", "r1")[0]


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("dropuot", "dropout"),
        ("dropot", "dropout"),
        ("dropouts", "dropout"),
        ("drop0ut", "dropout"),
        ("label_smothing", "label_smoothing"),
        ("dropin", None),
        ("out", None),
        ("momentum", None),
    ],
)
def test_a_misspelt_optional_field_is_refused(field, meant):
    reads = Reads("classification", ("rate",), ("dropout", "label_smoothing"))
    if meant is None:
        return check(hyper("rate", field), reads)
    with pytest.raises(HyperError, match=f"{field}: did you mean {meant}"):
        check(hyper("rate", field), reads)
    return check(hyper("rate", field, meant), reads)


def test_errors_of_other_objects_pass_unchanged():
    given = hyper("rate")
    with pytest.raises(AttributeError, match="other"), reading(given, "someone"):
        _ = hyper("rate").other
    with pytest.raises(HyperError, match="other, which"), reading(given, "someone"):
        _ = given.other


@pytest.mark.parametrize("module", [jaxnets.tasks.base, jaxnets.learners.base])
def test_the_examples_of_the_docstrings_run(module):
    failed, count = doctest.testmod(module)
    assert count > 10
    assert not failed
