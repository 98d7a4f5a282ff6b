"""What the layers of a network draw their first weights from.

A published network draws what its paper says; where the paper is silent, what torch's
reference of that network draws. Each network's file says which, with the source. The
rate of a paper was chosen for the weights of that paper: Kaiming's variance in dense
layers of 4,096 units diverges at AlexNet's rate, and so do AlexNet's own at another.

A kernel's draw is one of Flax's initialisers, a function of key, shape and dtype. A
bias may depend on how many inputs its layer has, so that its draw is made from that
number: `zeros(fan_in)` is an initialiser.
"""

import functools
from collections.abc import Callable
from typing import TypeAlias

import jax
from jax.nn.initializers import variance_scaling
from jaxtyping import Array

Initializer: TypeAlias = Callable[..., Array]
BiasInitializer: TypeAlias = Callable[[int], Initializer]

# He, Zhang, Ren & Sun, "Delving deep into rectifiers", 2015,
# https://arxiv.org/abs/1502.01852, equation 10: variance 2 / fan_in, where fan_in is
# the number of inputs that one output sees.
kaiming: Initializer = variance_scaling(2.0, "fan_in", "normal")

# The same, uniform, as torch's SqueezeNet has it.
kaiming_uniform: Initializer = variance_scaling(2.0, "fan_in", "uniform")

# Equation 14 there: variance 2 / fan_out keeps the gradient's scale in place of the
# signal's. A kernel in groups counts the outputs of all of them, as in torch.
kaiming_fan_out: Initializer = variance_scaling(2.0, "fan_out", "normal")

# Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural
# networks", 2010, https://proceedings.mlr.press/v9/glorot10a.html, equation 16:
# uniform with variance 2 / (fan_in + fan_out).
xavier: Initializer = jax.nn.initializers.xavier_uniform()

# LeCun, Bottou, Orr & Müller, "Efficient backprop", 1998, equation 16: variance
# 1 / fan_in, here normal, cut at two deviations: Flax's default.
lecun: Initializer = jax.nn.initializers.lecun_normal()

# Uniform with variance 1 / (3 fan_in), which is between -1 / sqrt(fan_in) and that:
# what torch draws where nobody says otherwise.
fan_uniform: Initializer = variance_scaling(1 / 3, "fan_in", "uniform")

# Uniform with variance 1 / fan_in: torch's `kaiming_uniform_` with a gain of 1, of
# layers that no ReLU follows.
unit_uniform: Initializer = variance_scaling(1.0, "fan_in", "uniform")


@functools.cache
def scaled_normal(scale: float) -> Initializer:
    """Normal weights of one standard deviation, whatever the fan.

    AlexNet's 0.01 works for eight layers. In deeper networks the signal vanishes or
    explodes with any such scale, and `kaiming` and `xavier` prevent this. The same
    `scale` gives the same function, so that networks of the same attributes are equal.
    """
    return jax.nn.initializers.normal(scale)


def zeros(fan_in: int) -> Initializer:
    """Biases of zero."""
    return constant(0.0)(fan_in)


@functools.cache
def constant(value: float) -> BiasInitializer:
    """Biases of one value, whatever the fan."""

    def of_fan(fan_in: int) -> Initializer:
        del fan_in
        return jax.nn.initializers.constant(value)

    return of_fan


def bias_uniform(fan_in: int) -> Initializer:
    """Biases drawn as `fan_uniform` draws the kernel beside them, torch's default."""
    bound = fan_in**-0.5
    return functools.partial(jax.random.uniform, minval=-bound, maxval=bound)
