"""The language experiment, in a folder `language` of its own."""

from experiments.language import Config, main
from jaxnets.run.command import command

if __name__ == "__main__":
    command(main, Config)
