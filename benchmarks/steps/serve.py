"""What a worker of `benchmarks/speed.py` and its parent say to each other.

A worker is a process of its own, so that every library has its own threads, memory and
compilation. It builds one workload, takes the first step, says so in a line of JSON,
and then takes as many steps as each line of its standard input asks for. Nothing here
needs more than the standard library: torch's environment has no package of ours.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# What all three libraries build: rows in a step, and the sizes that go with it.
SIZES: dict[str, dict[str, Any]] = {
    "mlp": {"rows": 128, "side": 28, "channels": 1, "widths": (512, 512)},
    "lenet5": {"rows": 128, "side": 28, "channels": 1},
    "convnet": {"rows": 128, "side": 28, "channels": 1, "filters": (32, 64)},
    "resnet20": {"rows": 128, "side": 32, "channels": 3, "blocks": 3},
    "resnet18": {"rows": 32, "side": 32, "channels": 3},
    "vgg11": {"rows": 32, "side": 32, "channels": 3, "hidden": 512},
    "lstm": {"rows": 32, "times": 64, "units": 256, "vocabulary": 64},
    "captioner": {
        **{"rows": 32, "times": 20, "units": 256, "embedding": 128, "attention": 64},
        **{"vocabulary": 100, "places": 64, "features": 192},
    },
    "vae": {"rows": 128, "side": 28, "channels": 1, "units": 400, "latent": 20},
    "dcgan": {"rows": 64, "side": 28, "channels": 1, "features": 32, "noise": 64},
}


class Built(NamedTuple):
    """A workload, ready to be run.

    Attributes:
        run: Takes so many training steps, and returns when they are done.
        parameters: How many are trained.
        more: Whatever else the parent should know.
    """

    run: Callable[[int], None]
    parameters: int
    more: Mapping[str, Any] = {}


def serve(build: Callable[[str, dict[str, Any]], Built]) -> None:
    """Builds the workload of the command line, and runs it as the parent asks."""
    began = time.perf_counter()
    built = build(sys.argv[1], json.loads(sys.argv[2]))
    built.run(1)
    first = time.perf_counter() - began
    _say(first=first, parameters=built.parameters, peak=_peak(), **built.more)
    for line in sys.stdin:
        steps = int(line)
        wall, cpu = time.perf_counter(), time.process_time()
        built.run(steps)
        spent = time.perf_counter() - wall, time.process_time() - cpu
        _say(wall=spent[0] / steps, cpu=spent[1] / steps, peak=_peak())


def _peak() -> int:
    """The most memory that the process had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()
