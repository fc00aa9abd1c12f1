"""What an audit leaves: one page that holds everything, a record for machines, and a table of all pairs."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.audit.verdict import LIMITS, Verdict
from lib.core.files import atomic

BANNER = (
    "This page embeds images of real patients and names of files. Treat it as you treat the images themselves; "
    "--no-images writes one without either."
)
# A browser runs no script and loads nothing but the pictures in the page, whatever a name in a table contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:auto;
padding:1rem}h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}.answer{font-size:1.3rem;font-weight:700;
padding:.6rem 1rem;border:3px solid;border-radius:.4rem}.banner{padding:.4rem 1rem;background:#b002;
border-left:.4rem solid #b00}img{max-width:100%;background:#fff}figure{margin:0}div.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.85rem}th,td{padding:.2rem .5rem;border-bottom:1px solid #8888;
text-align:left}dt{font-weight:600}dd{margin:0 0 .3rem 1rem;overflow-wrap:anywhere}"""


def write_report(
    path: str | Path,
    *,
    title: str,
    facts: Mapping[str, str],
    verdict: Verdict,
    sections: Sequence[tuple[str, Figure | pd.DataFrame]],
    banner: str = "",
) -> Path:
    """Write a self-contained HTML file: the verdict, each heading with its figure or table, limits and facts."""
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p class=banner>{html.escape(banner)}</p>" * bool(banner)]
    parts += [f"<p class=answer>{html.escape(verdict.answer)}</p>", _list(verdict.because)]
    for heading, shown in sections:
        body = (
            _picture(shown, heading) if isinstance(shown, Figure) else shown.to_html(index=False, border=0, na_rep="")
        )
        parts.append(f"<h2>{html.escape(heading)}</h2><div class=wide>{body}</div>")
    listed = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts.items())
    parts += ["<h2>What this does not prove</h2>", _list(LIMITS), "<h2>How it was made</h2>", f"<dl>{listed}</dl>"]
    head = '<!doctype html><html lang="en"><meta charset="utf-8">'
    head += f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{html.escape(title)}</title>'
    head += f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    with atomic(path) as partial:
        partial.write_text(head + "".join(parts), encoding="utf-8")
    return Path(path)


def write_record(path: str | Path, record: Mapping[str, Any]) -> Path:
    """Write JSON for machines; tables are lists of rows, and a number that is not finite is null."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(_plain(record), indent=1, allow_nan=False), encoding="utf-8")
    return Path(path)


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return _plain(value.to_dict("records"))
    if isinstance(value, Mapping):
        return {str(name): _plain(of) for name, of in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(of) for of in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    return value


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(says)}</li>" for says in sentences) + "</ul>"


def _picture(figure: Figure, heading: str) -> str:
    stored = io.BytesIO()
    figure.savefig(stored, format="png", dpi=160)
    data = base64.b64encode(stored.getvalue()).decode()
    return f'<figure><img alt="{html.escape(heading)}" src="data:image/png;base64,{data}"></figure>'
