"""Search the hyperparameters of an experiment: many settings in one program.

    uv run experiments/sweep.py classify --members 16
    uv run experiments/sweep.py classify --seeds 3 --space.learning-rate 1e-4..1e-1
    uv run experiments/sweep.py classify --method tpe --trials 64 --plan halving
    uv run experiments/sweep.py classify --grid model=convnet,mlp --epochs 10
    uv run experiments/sweep.py classify --members 16 --worker  # in another terminal

Settings are compared on the validation split; the winner becomes an ordinary run folder
and is scored on the test split, once. A killed sweep goes on with the same command.
"""

import functools
import importlib
from pathlib import Path

from jaxnets.sweeps.command import command

if __name__ == "__main__":
    here = Path(__file__)
    names = [p.stem for p in here.parent.glob("*.py") if p.stem[0] != "_" and p != here]
    command(
        {
            n: functools.partial(importlib.import_module, f"experiments.{n}")
            for n in names
        }
    )
