"""One HTML file, and its pictures, that show a sweep; see `jaxnets.run.report`."""

import html
import io
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna

from jaxnets import files
from jaxnets.run import report, settings
from jaxnets.sweeps import results
from jaxnets.sweeps import space as spaces
from jaxnets.sweeps.plans import Definition, Finished

_RANKED = 40  # settings in the picture of the ranking


def write(
    folder: Path,
    definition: Definition,
    finished: Sequence[Finished],
    outcomes: Mapping[str, Mapping[str, Any]],
    study: optuna.Study,
    winner: Finished,
    tested: Mapping[str, Any],
    seconds: float,
) -> Path:
    """Writes `report.html`, `figures/*.png` and the tables.

    Args:
        folder: Of the sweep.
        definition: What was searched.
        finished: All settings.
        outcomes: Of all units.
        study: Optuna's, for the importance.
        winner: The best setting.
        tested: What its run has in result.json.
        seconds: That the last session took.

    Returns:
        Where the report is.
    """
    rows = results.write(folder, definition, finished)
    label = "validation " + definition.objectives[0].replace("_", " ")
    from jaxnets.plots.parts import plain_text  # matplotlib takes a second to import

    with plain_text():
        pictures = _figures(definition, finished, rows, study, winner, label)
    shown = [f"<h1>Sweep of {html.escape(definition.experiment)}</h1>"]
    shown.append(f'<p class="where">{html.escape(folder.name)}</p>')
    best = ", ".join(f"{name} {value:.4g}" for name, value in winner.values.items())
    where = "" if len(definition.groups) == 1 else f"{winner.group}: "
    shown.append(f'<p class="result">{html.escape(where + best)}</p>')
    shown.append(_table([("the winner", report.shown(_scores(rows[0], definition)))]))
    test = settings.flat(dict(tested.get("test", {})))
    plain = {n: v for n, v in test.items() if isinstance(v, int | float)}
    shown.append("<h2>Test split, scored once, for the winner</h2>")
    shown.append(_table(list(plain.items())))
    for name, content in pictures.items():
        title = name.replace("_", " ").capitalize()
        shown += [f"<h2>{html.escape(title)}</h2>", report.image(content, title)]
        path = folder / "figures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        files.write(path, content)
    shown += ["<h2>All settings</h2>", _rows(rows)]
    failures = [row for row in rows if row["state"] == "failed"]
    if failures:
        names = ["group", "trial", *winner.values, "step", "reason"]
        few = [{name: row[name] for name in names} for row in failures]
        shown += ["<h2>Failures</h2>", _rows(few)]
    shown.append("<h2>Compute</h2>")
    spent = compute(definition, finished, outcomes)
    spent |= _ways(definition, outcomes)
    spent |= {"seconds of the last session": round(seconds, 1), "CPUs": os.cpu_count()}
    shown.append(_table(list(spent.items())))
    plain_definition = {
        name: _plain(value)
        for name, value in vars(definition).items()
        if name not in ("groups", "space") and value is not None
    }
    shown.append("<h2>Search</h2>")
    searched = {n: str(r) for n, r in spaces.from_json(definition.space).items()}
    shown.append(_table([*searched.items(), *plain_definition.items()]))
    for name, config in definition.groups.items():
        shown.append(f"<h2>Configuration: {html.escape(name)}</h2>")
        shown.append(_table(list(settings.flat(config).items())))
    path = folder / "report.html"
    files.write(path, report.page(f"sweep of {definition.experiment}", shown))
    return path


def compute(
    definition: Definition,
    finished: Sequence[Finished],
    outcomes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What was trained, and what stopping early has saved.

    A member-step is one step of one member.
    """
    used = sum(int(outcome.get("member_steps", 0)) for outcome in outcomes.values())
    lengths = {
        label: outcomes.get(f"{number}.settle", {}).get("steps", 0)
        for number, label in enumerate(definition.groups)
    }
    whole = sum(lengths[done.group] for done in finished) * definition.replicas
    found: dict[str, Any] = {
        "member-steps": used,
        "member-steps without stopping early": whole,
        "saved": f"{1 - used / whole:.1%}" if whole else "nothing",
    }
    return found


def _ways(
    definition: Definition, outcomes: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """How the members of each group were run, and why."""
    found = {}
    for number, label in enumerate(definition.groups):
        settled = outcomes.get(f"{number}.settle", {})
        why = settled.get("why", settled.get("failed", ""))
        found[f"{label}: members run as"] = f"{settled.get('mode', 'nothing')}: {why}"
    return found


def importances(definition: Definition, study: optuna.Study) -> dict[str, float]:
    """How much of the variance each hyperparameter explains, by fANOVA.

    Hutter, Hoos & Leyton-Brown, "An efficient approach for assessing hyperparameter
    importance", 2014, as Optuna has it; nothing where there are too few settings.
    """
    complete = study.get_trials(
        deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)
    )
    ranges = spaces.free(spaces.from_json(definition.space))
    if len(complete) < 4 or len(ranges) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return optuna.importance.get_param_importances(
                study,
                evaluator=evaluator,
                target=lambda trial: trial.values[0],
            )
        except (RuntimeError, ValueError):  # all results alike, say
            return {}


def _figures(
    definition: Definition,
    finished: Sequence[Finished],
    rows: Sequence[Mapping[str, Any]],
    study: optuna.Study,
    winner: Finished,
    label: str,
) -> dict[str, bytes]:
    # Not at the top: matplotlib takes a second to import.
    from jaxnets.plots import sweeps
    from jaxnets.plots.parts import png

    ranges = spaces.free(spaces.from_json(definition.space))
    objective = definition.objectives[0]
    several = len(definition.groups) > 1
    results_of = {
        (f"{row['group']} " if several else "")
        + f"{row['trial']}: "
        + ", ".join(f"{row[name]:.3g}" for name in ranges): (
            [row[f"{objective}_{i}"] for i in range(definition.replicas)]
            if definition.replicas > 1
            else [row[objective]]
        )
        for row in rows
        if row["state"] != "failed"
    }
    best = [(done.group, done.trial) for done in finished].index(
        (winner.group, winner.trial)
    )
    runs = [curve for done in finished for curve in done.curves]
    first = sum(len(done.curves) for done in finished[:best])
    won = range(first, first + len(winner.curves))
    values = {name: [row[name] for row in rows] for name in ranges}
    measured = [row[objective] for row in rows]
    figures = {
        "ranking": sweeps.ranking(
            dict(list(results_of.items())[:_RANKED]),
            label=label,
            title="setting: " + ", ".join(n.replace("_", " ") for n in ranges),
        ),
        "learning_curves": sweeps.curves(runs, won, label=label),
        "response": sweeps.responses(
            values,
            measured,
            [name for name, own in ranges.items() if own.kind == "log"],
            [row["group"] for row in rows],
            label=label,
        ),
        "parallel_coordinates": sweeps.parallel(
            {
                name: [min(max(ranges[name].place(v), 0.0), 1.0) for v in places]
                for name, places in values.items()
            },
            {
                n: (f"{min(r.bounds):g}", f"{max(r.bounds):g}")
                for n, r in ranges.items()
            },
            measured,
            label=label,
            lower=not definition.maximise[0],
        ),
    }
    shares = importances(definition, study)
    if shares:
        figures["importance"] = sweeps.importance(
            shares, title="fANOVA over the settings that were trained to the end"
        )
    found = {}
    for name, figure in figures.items():
        buffer = io.BytesIO()
        png(figure, buffer)
        found[name] = buffer.getvalue()
    return found


def _scores(row: Mapping[str, Any], definition: Definition) -> str:
    parts = []
    for name in definition.objectives:
        spread = row.get(f"{name}_deviation", math.nan)
        more = f" +- {spread:.2g}" if math.isfinite(spread) else ""
        parts.append(f"validation {name} {row[name]:.4g}{more}")
    return ", ".join(parts)


def _plain(value: Any) -> Any:
    """As people write it: `loss, accuracy` and `no`."""
    if isinstance(value, tuple):
        return ", ".join(str(_plain(part)) for part in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _table(pairs: Sequence[tuple[str, Any]]) -> str:
    return report.table({name.replace("_", " "): value for name, value in pairs})


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0]) if rows else []
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(report.shown(row[name]))}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
