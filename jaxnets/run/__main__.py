"""Takes the weights out of a run: `python -m jaxnets.run export RUN_DIR FILE`.

FILE ends in .safetensors or .npz. It holds what the run is judged by, the averaged
parameters where there are some, under torch's names: torch reads it, and so does
`--pretrained FILE`.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from jaxnets.models import weights
from jaxnets.models.zoo import ZOO
from jaxnets.run.checkpoints import Checkpoints
from jaxnets.run.command import exits
from jaxnets.run.console import show
from jaxnets.run.folder import RunError, read_settings
from jaxnets.types import Variables


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the file and says what is in it; what goes wrong ends with status 1."""
    parser = argparse.ArgumentParser(prog="python -m jaxnets.run", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("export", help="write the weights of a run to a file")
    command.add_argument("run", type=Path, metavar="RUN_DIR", help="folder of the run")
    command.add_argument(
        "file", type=Path, metavar="FILE", help="file to write, .safetensors or .npz"
    )
    command.add_argument(
        "--member",
        type=int,
        help="network of an ensemble to export, counted from 0; required for ensembles",
    )
    chosen = parser.parse_args(arguments)
    with exits():
        count = export(chosen.run, chosen.file, member=chosen.member)
        show(f"{count:,} numbers of {chosen.run}  ->  {chosen.file}", sys.stdout)


def export(run: Path, file: Path, *, member: int | None = None) -> int:
    """Writes the weights that a run is judged by; returns how many numbers they are.

    Args:
        run: The folder of a run whose configuration names a network of the zoo.
        file: Ends in `.safetensors` or `.npz`.
        member: Which network of an ensemble, counted from 0.

    Raises:
        RunError: If there is no run, its network is not in the zoo, or there is no
            such member.
        CheckpointError: If no checkpoint is intact.
        WeightsError: If `file` is of another kind.
    """
    described = read_settings(run)
    config = described["config"]
    if config.get("model") not in ZOO:
        raise RunError(
            f"{run} is a run of {described['experiment']}, whose network is not in the "
            "zoo; `python -m jaxnets.models` lists those that can be exported"
        )
    _, leaves = Checkpoints(run / "checkpoints", sweep=False).leaves()
    variables = _variables(leaves)
    members = config.get("members", 1)
    if members == 1 and member is not None:
        raise RunError(f"{run} has one network: leave out --member {member}")
    if members > 1:
        if member is None or not 0 <= member < members:
            raise RunError(f"{run} has {members} networks: choose one with --member")
        variables = {path: rows[member] for path, rows in variables.items()}
    trees = unflatten_dict(variables)
    whole = Variables(trees["params"], trees.get("buffers", {}))
    # Names do not depend on the number of classes.
    weights.save(ZOO[config["model"]](1), whole, file)
    return sum(array.size for array in variables.values())


def _variables(leaves: Mapping[str, np.ndarray]) -> dict[tuple[str, ...], Any]:
    """`("params", "conv0", "kernel")` to its array, averaged where there is a mean."""
    pattern = re.compile(r"^(?P<owner>.*)\.(?P<kind>params|buffers)(?P<keys>\[.*\])$")
    owners: dict[str, dict[tuple[str, ...], Any]] = {}
    for name, array in leaves.items():
        if (found := pattern.match(name)) and found["owner"].endswith(
            ("variables", "average")
        ):
            keys = re.findall(r"\['([^']*)'\]", found["keys"])
            owner = owners.setdefault(found["owner"].rsplit(".", 1)[-1], {})
            owner[found["kind"], *keys] = array
    chosen = owners.get("average", owners.get("variables"))
    if not chosen:
        raise RunError("the checkpoint holds no variables of a network")
    return chosen


if __name__ == "__main__":
    main()
