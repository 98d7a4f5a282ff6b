"""Does every network learn, from its own first weights, on small images?

    uv run experiments/studies/zoo.py --data FOLDER --models vgg16 --recipes steady
    uv run experiments/studies/zoo.py --data FOLDER

A cell is a network, a recipe of `experiments/classify.py` and a seed, trained for a
number of steps that two cores do in five minutes or less; validation is scored once, at
its end, so that a rate that waits for a plateau never falls. `runs/zoo/CELL.json` holds
the metrics of every step; a cell that is there already is not trained again, and is
refused if it is of other data or steps. Prints all that is there as one table.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import jax

from experiments import classify, recipes
from jaxnets import files
from jaxnets.models.zoo import ZOO
from jaxnets.once import once
from jaxnets.ranges import Count, CountOrZero, RangeError
from jaxnets.run import compilation, loop
from jaxnets.run.command import study
from jaxnets.run.folder import RunError
from jaxnets.run.records import numbers

FOLDER = Path("runs/zoo")

# A network of every family: examples in a step, and steps.
PLAN = {
    "mlp": (64, 1500),
    "lenet5": (64, 3000),
    "alexnet": (64, 250),
    "alexnet_2012": (64, 150),
    "vgg11": (64, 750),
    "vgg11_bn": (64, 400),
    "vgg16": (32, 580),
    "vgg16_bn": (64, 250),
    "nin": (64, 290),
    "googlenet": (16, 100),
    "googlenet_2014": (8, 200),
    "resnet18": (32, 150),
    "resnet50": (32, 60),
    "resnet20": (64, 600),
    "preact_resnet20": (64, 600),
    "wrn_16_4": (32, 200),
    "resnext50_32x4d": (16, 120),
    "densenet_40_12": (32, 250),
    "densenet121": (32, 80),
    "squeezenet1_1": (64, 600),
    "fractalnet20": (32, 100),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is trained, and on what."""

    data: str = "glyphs"  # data set, as in classify
    models: tuple[str, ...] = tuple(PLAN)  # networks that are trained, as in classify
    # recipes that each network is trained by, as in classify
    recipes: tuple[str, ...] = ("steady", "paper")
    seeds: Count = 1  # runs of each network and recipe, from seed 0
    # training steps of every network; 0: as many as the study's own table says
    steps: CountOrZero = 0


def main(config: Config) -> list[dict[str, Any]]:
    """Returns every cell that is there; trains those that are asked for and are not.

    Raises:
        RangeError: If there is no such network or recipe.
        RunError: If a cell that is asked for is there with other data or steps.
    """
    for asked, there in (config.models, ZOO), (config.recipes, recipes.CHOICES):
        if unknown := [name for name in asked if name not in there]:
            raise RangeError(f"there is no {unknown[0]}; there are {', '.join(there)}")
    compilation.use_cache()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for recipe in config.recipes:
        for seed in range(config.seeds):
            for model in config.models:
                path = FOLDER / f"{model}-{recipe}-{seed}.json"
                if path.exists():
                    _check_same(path, config, model)
                else:
                    found = trained(config, model, recipe, seed)
                    files.write(path, files.dump_json(found) + "\n")
                    print(row(found), flush=True)
    cells = [files.read_json(path) for path in sorted(FOLDER.glob("*-*-*.json"))]
    print("\n".join([*HEAD, *(row(cell) for cell in cells)]))
    return cells


def _check_same(path: Path, config: Config, model: str) -> None:
    cell, steps = files.read_json(path), config.steps or PLAN.get(model, (64, 300))[1]
    asked = {"data": config.data, "steps": steps}
    for name, value in asked.items():
        if (there := cell.get(name, value)) != value:
            raise RunError(
                f"{path} has {name} {there}, not {value}: move it to another folder, "
                f"or use --{name} {there}"
            )


def settled(config: Config, model: str, recipe: str, seed: int) -> classify.Config:
    """The settings that the recipe gives, for the examples in a step of the table."""
    batch, _ = PLAN.get(model, (64, 300))
    asked = classify.Config(
        model=model, recipe=recipe, data=config.data, seed=seed, data_seed=seed
    )
    chosen = dataclasses.replace(asked.preset(), batch_size=batch, epochs=1)
    return chosen.adjusted(chosen)


def trained(config: Config, model: str, recipe: str, seed: int) -> dict[str, Any]:
    """One cell: the settings, metrics of every step, the validation score."""
    one = settled(config, model, recipe, seed)
    _, steps = PLAN.get(model, (64, 300))
    steps = config.steps or steps
    print("\n".join(recipes.remarks(one)), flush=True)
    data = classify.load(one)
    feed = dataclasses.replace(data.train, length=steps)  # a pass, for the schedule
    learner = classify.build(one, data._replace(train=feed))
    state = once(learner.init)(jax.random.key(seed), one.hyper, feed(0))
    found: dict[str, Any] = {
        **{"model": model, "recipe": recipe, "seed": seed, "steps": steps},
        **{"batch_size": one.batch_size, "rate": one.hyper.learning_rate},
        **{"data": config.data, "classes": len(data.dataset.classes)},
    }
    seen, began = [], time.monotonic()
    try:
        for pause in loop.train(learner, state, feed, steps=steps, every=1):
            state = pause.state
            seen.append(numbers(pause.metrics))
            if pause.step % max(steps // 10, 1) == 0:
                shown = f"{pause.step} of {steps}, loss {seen[-1]['loss']:.3f}"
                print(f"{model}, {recipe}: {shown}", flush=True)
        found["validation"] = numbers(loop.evaluate(learner, state, data.validation))
    except loop.NonFiniteError as error:
        found["error"] = str(error)
    found["seconds"] = time.monotonic() - began
    for name in "loss", "gradient_norm":
        found[name] = [metrics[name] for metrics in seen]
    return found


HEAD = (
    "| network | recipe | seed | rate | batch | steps | training loss "
    "| validation accuracy | gradient norm, step 1 | seconds | |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def row(cell: dict[str, Any]) -> str:
    """A line of the table; the training loss is the mean of the last tenth."""
    loss, steps = cell["loss"], cell["steps"]
    last = loss[-max(steps // 10, 1) :]
    mean = sum(last) / len(last) if len(loss) == steps else math.nan
    note = cell.get("error", "")
    if abs(mean / math.log(cell["classes"]) - 1) < 0.02:
        note = "as equal probabilities"
    accuracy = cell.get("validation", {}).get("accuracy", math.nan)
    parts = [
        f"`{cell['model']}`",
        f"{cell['recipe']}",
        f"{cell['seed']}",
        f"{cell['rate']:.3g}",
        f"{cell['batch_size']}",
        f"{steps}",
        f"{mean:.3f}",
        f"{accuracy:.1%}".replace("%", " %"),
        f"{cell['gradient_norm'][0]:.3g}" if loss else "",
        f"{cell['seconds']:.0f}",
        note,
    ]
    return f"| {' | '.join(parts)} |"


if __name__ == "__main__":
    study(main)
