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
    # An experiment that can be swept has a SPACE; none is imported to find out.
    files = [
        path
        for path in Path(__file__).parent.glob("*.py")
        if "\nSPACE = " in path.read_text(encoding="utf-8")
    ]
    command(
        {
            p.stem: functools.partial(importlib.import_module, f"experiments.{p.stem}")
            for p in files
        }
    )
