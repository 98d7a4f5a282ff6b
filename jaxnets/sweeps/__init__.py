"""Many settings of one experiment: spaces, populations, search, workers.

In a notebook, the results of a sweep are a data frame:

    from jaxnets.sweeps.results import table
    table("runs/sweeps/classify/TIME-ID")

An experiment declares its search space with the ranges of `jaxnets.sweeps.space`, which
imports neither JAX nor Optuna.
"""
