"""A run whose first evaluation never ends."""

import dataclasses
import time

import small

from jaxnets.run.command import command
from jaxnets.run.session import Run
from jaxnets.run.verbs import Verbs


@dataclasses.dataclass(frozen=True)
class Config(small.Config):
    """As small."""


def main(config, verbs=Verbs()):
    data = small.load(config)
    with Run(config, verbs) as run:
        learner = small.build(config, data)
        for _ in run.train(learner, data.train, steps=60, every=20):
            print("evaluating", flush=True)
            while True:
                time.sleep(0.02)
                if run._signals.received:
                    print("asked to stop", flush=True)


if __name__ == "__main__":
    command(main, Config)
