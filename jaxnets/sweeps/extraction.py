"""One member of a sweep as an ordinary run folder.

It holds what a lone run of the same configuration would have left before its last
lines: settings, metrics, a checkpoint. The experiment's own `main` then goes on from
there, as from any checkpoint: it draws, scores the test split, and writes the report.
"""

import json
from pathlib import Path
from typing import Any

from jaxnets import files
from jaxnets.run import folder as folders
from jaxnets.run import records, restoring, settings
from jaxnets.run.checkpoints import Checkpoints
from jaxnets.run.experiment import experiment_of
from jaxnets.run.folder import RunError
from jaxnets.run.verbs import Verbs
from jaxnets.sweeps import members, plans
from jaxnets.sweeps.plans import Definition, Finished
from jaxnets.sweeps.work import Workshop, rows, state_of


def best_replica(definition: Definition, done: Finished) -> int:
    """The replica with the best validation score."""
    sign = -1 if definition.maximise[0] else 1
    firsts = [float("inf") if row[0] is None else sign * row[0] for row in done.results]
    return firsts.index(min(firsts))


def taken_out(shop: Workshop, done: Finished, replica: int, path: Path) -> Any:
    """Makes the run folder of one member, and ends the run there.

    Where the member's state is not on this machine, the configuration is trained anew.
    A folder that is there already is gone on with.

    Args:
        shop: Of the sweep.
        done: The setting.
        replica: Which of its seeds.
        path: Of the run folder.

    Returns:
        What the run has in result.json, the test scores among it.
    """
    definition, group = shop.definition, shop.group(done.group)
    row = rows(definition, group, done.values)[replica]
    config = group.settings(row.values, row.seed, row.data_seed)
    if not (path / "result.json").exists():
        if not Checkpoints(path / "checkpoints", sweep=False).steps():
            try:
                _written(shop, done, replica, config, path)
            except RunError as error:
                shop.say(f"{error}; the configuration is trained anew")
        # `main` loads the data itself, with the test split: free the sweep's own first.
        shop.groups.clear()
        group.experiment.main(config, Verbs(run_dir=path))
    return records.load(path / "result.json")


def _written(
    shop: Workshop, done: Finished, replica: int, config: Any, path: Path
) -> None:
    group, replicas = shop.group(done.group), shop.definition.replicas
    whole, record = state_of(shop.folder, group, done.source, replicas)
    index = done.source.place * replicas + replica
    state = members.row(whole, index).inner
    wanted = {
        "experiment": experiment_of(type(config)),
        "config": settings.to_json(config),
        "origin": None,
    }
    held = folders.opened(path.parent, wanted, named=path)
    kept = records.Records(path, None, 0)
    try:
        for line in record["lines"]:
            groups = {
                name: {metric: numbers[index] for metric, numbers in values.items()}
                for name, values in line.items()
                if name != "step"
            }
            kept.add(line["step"], groups, {})
        mine: Any = restoring.from_lists(record["pending"])
        Checkpoints(path / "checkpoints").save(
            done.step,
            state,
            {
                "metrics": kept.mark(),
                "pending": restoring.to_lists(members.row(mine, index) if mine else {}),
                "ended": False,
                "metadata": json.loads(files.dump_json(dict(group.plan.metadata))),
            },
        )
    finally:
        kept.close()
        held.close()


def winner(definition: Definition, finished: list[Finished]) -> Finished | None:
    """The setting with the best mean over its replicas, of those trained to the end."""
    whole = [done for done in finished if done.whole]
    scored = [
        (plans.score(definition, done.results), i) for i, done in enumerate(whole)
    ]
    if not scored or min(scored)[0] == float("inf"):
        return None
    return whole[min(scored)[1]]
