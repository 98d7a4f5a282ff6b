"""One HTML file that shows a run: result, curves, figures, settings, surroundings.

It needs no other file and no network; everything in it is escaped.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxnets import files
from jaxnets.run import records, settings

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.where { color: #666; margin-top: .2rem; overflow-wrap: anywhere; }
p.result { font-size: 1.25rem; }
img { max-width: 100%; height: auto; display: block; margin: .5rem 0; }
img.pixels { image-rendering: pixelated; }
table { border-collapse: collapse; font-size: .9rem; display: block;
        overflow-x: auto; }
td, th { padding: .15rem .9rem .15rem 0; border-bottom: 1px solid #eee;
         text-align: left; vertical-align: top; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; font-size: .8rem; }
"""


def write(folder: Path, headline: str, result: Mapping[str, Any]) -> Path:
    """Writes `report.html` from what the run folder holds.

    Args:
        folder: A run folder.
        headline: The result in a line.
        result: The scores, and what else is the outcome.

    Returns:
        Where it is.
    """
    described = _json(folder / "config.json")
    around = _json(folder / "environment.json")
    lines = records.read(folder)
    name = str(described.get("experiment", "run"))
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f'<p class="where">{html.escape(folder.name)}</p>',
        f'<p class="result">{html.escape(headline)}</p>',
    ]
    if lines:
        # Not at the top: matplotlib takes a second to import.
        from jaxnets.plots.parts import plain_text, png
        from jaxnets.plots.runs import curves

        buffer = io.BytesIO()
        with plain_text():
            png(curves(lines), buffer)
        parts += ["<h2>Learning curves</h2>", image(buffer.getvalue(), "curves")]
    for path in sorted((folder / "figures").glob("*.png")):
        title = path.stem.replace("_", " ")
        parts += [f"<h2>{html.escape(title.capitalize())}</h2>"]
        parts += [image(path.read_bytes(), title)]
    for path in sorted((folder / "texts").glob("*.txt")):
        title, text = path.stem.replace("_", " "), path.read_text(encoding="utf-8")
        parts += [f"<h2>{html.escape(title.capitalize())}</h2>"]
        parts += [f"<pre>{html.escape(text)}</pre>"]
    if result:
        parts += ["<h2>Result</h2>", table(settings.flat(dict(result)))]
    if lines:
        parts += ["<h2>Metrics</h2>", _lines(lines)]
    parts += ["<h2>Configuration</h2>", table(settings.flat(described))]
    sessions = around.get("sessions", [])
    if sessions:
        parts += ["<h2>Environment</h2>", table(settings.flat(sessions[-1]))]
    patch = folder / "changes.patch"
    if patch.exists():
        text = html.escape(
            patch.read_text(encoding="utf-8", errors="replace")[:200_000]
        )
        parts += ["<h2>Uncommitted changes</h2>", f"<pre>{text}</pre>"]
    path = folder / "report.html"
    whole = page(name, parts)  # a file name that is not UTF-8 is shown with "?"
    files.write(path, whole.encode("utf-8", "replace"))
    return path


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of these parts, which are HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"{''.join(parts)}</body></html>"
    )


def image(content: bytes, title: str) -> str:
    """A PNG inside the page."""
    code = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{code}">'


def table(rows: Mapping[str, Any]) -> str:
    """Names and values, a row each."""
    cells = "".join(
        f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(shown(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{cells}</table>"


def _lines(lines: list[dict[str, Any]], *, most: int = 60) -> str:
    """The metrics as a table, thinned out evenly to `most` rows."""
    stride = -(-len(lines) // most)
    kept = [line for i, line in enumerate(lines) if (len(lines) - 1 - i) % stride == 0]
    flat = [
        {n: v for n, v in settings.flat(line).items() if not isinstance(v, list)}
        for line in kept
    ]
    names = list(dict.fromkeys(name for line in flat for name in line))
    head = "".join(f'<th class="number">{html.escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="number">{html.escape(shown(line.get(name, "")))}</td>'
            for name in names
        )
        + "</tr>"
        for line in flat
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def shown(value: Any) -> str:
    """A value as a person reads it: five digits; not escaped."""
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list):
        return ", ".join(shown(inner) for inner in value)
    return str(value)


def _json(path: Path) -> dict[str, Any]:

    return files.read_json(path) if path.exists() else {}
