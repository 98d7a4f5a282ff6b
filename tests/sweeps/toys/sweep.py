"""Sweeps of the toy experiment, as a command."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import net

from jaxnets.sweeps.command import command

if __name__ == "__main__":
    command({"net": lambda: net})
