"""Does it pay to learn from results, and to stop what is worse?

    uv run experiments/studies/search.py
    uv run experiments/studies/search.py --data digits --seeds 2 --trials 8 --epochs 1

On the same number of steps, seed by seed: the best validation cross-entropy that TPE
finds against random search's, with a bootstrap interval of the mean difference (Efron,
"Bootstrap methods", 1979); and the steps that successive halving takes until it has
found what random search ends with, as a share of random search's. Learning rate, weight
decay and dropout of `experiments/classify.py` are searched. Writes
`runs/search/search.png`; a search that is there already is gone on with.
"""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np

from experiments import classify
from jaxnets import files
from jaxnets.plots.parts import png
from jaxnets.plots.runs import comparison
from jaxnets.ranges import Count
from jaxnets.run import compilation, settings
from jaxnets.run.command import study
from jaxnets.run.folder import RunError
from jaxnets.sweeps import plans
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.groups import Group
from jaxnets.sweeps.ledger import Ledger
from jaxnets.sweeps.plans import Definition
from jaxnets.sweeps.space import LogUniform, Uniform
from jaxnets.sweeps.work import Workshop, work

FOLDER = Path("runs/search")
SPACE = {
    "learning_rate": LogUniform(1e-5, 1.0),
    "weight_decay": LogUniform(1e-4, 1.0),
    "dropout": Uniform(0.0, 0.8),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """What is compared, and on what."""

    data: str = "glyphs"  # data set, as in classify
    model: str = "small_convnet"  # network, as in classify
    epochs: Count = 2  # passes over the training split in a run of full length
    batch_size: Count = 256  # examples in a step
    trials: Count = 32  # settings in a random search and in a search by TPE
    batch: Count = 8  # settings that TPE proposes at once
    bracket: Count = 27  # settings that successive halving compares
    members: Count = 16  # settings that are trained together, as one program
    seeds: Count = 10  # searches of each kind, from seed 0
    # how members are run, as in sweep.py; auto: the fastest, by measurement
    mode: str = "auto"


def main(config: Config) -> dict[str, list[float]]:
    """Returns the results of every search; says and draws them."""
    compilation.use_cache()
    best: dict[str, list[float]] = {"random": [], "tpe": []}
    shares = []
    for seed in range(config.seeds):
        groups: dict[str, Group] = {}  # what is loaded and compiled, once a seed
        full = config.trials
        random = searched(config, "random", "full", seed, full, groups)
        learned = searched(config, "tpe", "full", seed, full, groups)
        best["random"].append(lowest(random))
        best["tpe"].append(lowest(learned))
        brackets = config.bracket * -(-full // config.bracket)
        halved = searched(config, "random", "halving", seed, brackets, groups)
        spent = sum(steps for steps, _ in random)
        shares.append(reached(halved, lowest(random)) / spent)
        print(
            f"seed {seed}: random {best['random'][-1]:.4f}, tpe {best['tpe'][-1]:.4f}, "
            f"halving takes {shares[-1]:.2f} of the steps",
            flush=True,
        )
    gains = np.subtract(best["random"], best["tpe"])
    low, high = bootstrapped(gains)
    verdict = "a gain" if low > 0 else "a loss" if high < 0 else "no gain is shown"
    print(
        f"TPE lowers the validation cross-entropy by {gains.mean():.4f}, 95 % interval "
        f"{low:.4f} to {high:.4f} over {config.seeds} seeds: {verdict}"
    )
    found = [share for share in shares if math.isfinite(share)]
    middle = float(np.median(shares))
    print(
        f"halving takes {middle:.2f} of random search's steps (median; aim 0.33) to "
        f"its best; {len(shares) - len(found)} of {len(shares)} never came there"
    )
    FOLDER.mkdir(parents=True, exist_ok=True)
    label = f"best validation cross-entropy on {config.data}"
    png(comparison(best, label=label), FOLDER / "search.png")
    found_all = {**best, "halving_share": shares}
    text = files.dump_json({"config": settings.to_json(config), **found_all}, indent=1)
    files.write(FOLDER / "search.json", text + "\n")
    return found_all


def searched(
    config: Config,
    method: str,
    schedule: str,
    seed: int,
    trials: int,
    groups: dict[str, Group],
) -> list[tuple[int, float]]:
    """Does a search; returns member-steps and lowest result of every unit, in order.

    Raises:
        RunError: If no setting came to its end.
    """
    one = classify.Config(
        model=config.model,
        data=config.data,
        epochs=config.epochs,
        batch_size=config.batch_size,
        reports=1,  # only the ends of rungs are looked at
        seed=seed,
        data_seed=seed,
    )
    batch = config.bracket if schedule == "halving" else config.batch
    definition = Definition(
        experiment="classify",
        groups={"all": settings.to_json(one)},
        space=spaces.to_json(SPACE),
        method=method,
        schedule=schedule,
        trials=trials,
        members=config.members,
        batch=batch,
        mode=config.mode,
        seed=seed,
    )
    plain = json.loads(files.dump_json(dataclasses.asdict(definition)))
    path = FOLDER / f"{method}-{schedule}-{settings.identity(plain)}"
    path.mkdir(parents=True, exist_ok=True)
    quiet = lambda text: None
    shop = Workshop(definition, classify, {"all": one}, path, quiet, groups=groups)  # type: ignore[arg-type]
    ledger = Ledger(path, "classify", plain, 1)
    try:
        agenda = work(shop, ledger, publish=True)
        outcomes = ledger.outcomes()
    finally:
        ledger.close()
    assert agenda.complete  # noqa: S101
    found = in_order(definition, outcomes)
    if not found:
        reasons = [out["failed"] for out in outcomes.values() if "failed" in out]
        raise RunError(f"no setting came to its end: {'; '.join(reasons[:1])}")
    return found


def in_order(
    definition: Definition, outcomes: plans.Outcomes
) -> list[tuple[int, float]]:
    """Member-steps and lowest score of every unit, in the order of the agenda."""
    known = {n: o for n, o in outcomes.items() if n.endswith("settle")}
    found = []
    while not (agenda := plans.agenda(definition, known)).complete:
        for unit in agenda.open:
            known[unit.name] = outcome = outcomes[unit.name]
            scores = [plans.score(definition, runs) for runs in outcome["results"]]
            found.append((int(outcome["member_steps"]), min(scores)))
    return found


def lowest(units: list[tuple[int, float]]) -> float:
    """The best score of a search."""
    return min(score for _, score in units)


def reached(units: list[tuple[int, float]], goal: float) -> float:
    """The member-steps until a score is as low as the goal; infinite if none is."""
    spent = itertools.accumulate(steps for steps, _ in units)
    for steps, (_, score) in zip(spent, units, strict=True):
        if score <= goal:
            return float(steps)
    return math.inf


def bootstrapped(values: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """The 95 % percentile interval of the mean."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    study(main)
