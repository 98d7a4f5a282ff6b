"""The classical deep-learning curriculum as pure functions in JAX.

The way of the data: `data` yields a batch; a `tasks` loss runs `models` on it;
`learners` take the gradient and Optax moves the parameters; `run` repeats, records and
checkpoints; `analysis` looks at what was learned; `sweeps` repeats the whole thing.

Nothing is imported here: `from jaxnets.models.lenet import lenet5` says where a name
lives, and `import jaxnets` costs nothing.
"""

__version__ = "0.1.0"
