"""LaTeX as pdflatex sets it: no character is lost, and every committed table compiles."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lib.experiment.latex import in_ascii
from tests.paths import ROOT

TABLES = sorted((ROOT / "figures" / "reference" / "demo-phantom").glob("*/*.tex"))


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("−0.048 [−0.077, −0.019]", "$-$0.048 [$-$0.077, $-$0.019]"),
        ("0.7 ± 0.1", r"0.7 $\pm$ 0.1"),
        ("ε ≤ 1, σ²", r"$\varepsilon$ $\le$ 1, $\sigma$$^2$"),
        ("Fréchet, Łódź, naïve", r"Fr\'{e}chet, \L{}\'{o}d\'{z}, na\"{i}ve"),
        ("e\u0301", r"\'{e}"),
        ("1–3 … “x”", r"1--3 \ldots{} ``x''"),
        (r"50 \% of $x$ & y", r"50 \% of $x$ & y"),
    ],
)
def test_in_ascii(text, latex):
    assert in_ascii(text) == latex


@pytest.mark.parametrize(("text", "named"), [("a ☃", "SNOWMAN"), ("\x9d", "U\\+009D"), ("漢", "CJK UNIFIED")])
def test_what_latex_does_not_know_is_refused_by_name(text, named):
    with pytest.raises(ValueError, match=named):
        in_ascii(text)


@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_committed_table_is_ascii(path):
    assert path.read_bytes().isascii()


def minus_signs(path: Path) -> int:
    """How many the table has, by the record that the page shows."""
    rows = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["rows"]
    return "".join(map(str, [*rows["columns"], *sum(rows["data"], [])])).count("−")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_committed_table_compiles_with_its_minus_signs(tmp_path):
    """In one document, each behind a line with its number; 5 metres wide, so that no column leaves the page."""
    parts = [rf"\clearpage Table {number}:\par {path.read_text()}" for number, path in enumerate(TABLES)]
    preamble = r"\documentclass{article}\usepackage{booktabs,longtable}\pdfpagewidth=5000mm\begin{document}"
    (tmp_path / "all.tex").write_text("\n".join([preamble, *parts, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert made.returncode == 0, [line for line in made.stdout.splitlines() if line.startswith(("!", "l."))]
    if shutil.which("pdftotext"):
        command = ["pdftotext", "-layout", "all.pdf", "-"]
        text = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        _, *shown = re.split(r"Table \d+:", text)
        assert [part.count("−") for part in shown] == [minus_signs(path) for path in TABLES]
        assert sum(map(minus_signs, TABLES)) > 100
