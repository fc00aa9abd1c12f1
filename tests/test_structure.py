"""The rules of the house, read from the source: imports, notebooks, items, sizes, licences of pixels."""

import ast
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from lib.experiment.paper import known_papers, load_paper
from tests.paths import ROOT

NOTEBOOKS = sorted(ROOT.glob("notebooks/*/*.ipynb"))
MODULES = sorted((ROOT / "lib").rglob("*.py"))

# What each part of lib may import from lib. A part may always import from itself.
ALLOWED = {
    "core": set(),
    "statistics": {"core"},
    "experiment": {"cohorts", "core", "statistics"},
    "cohorts": {"core"},
    "models": {"core"},
    "metrics": {"core", "statistics"},
    "features": {"core", "metrics", "models"},
    "training": {"core", "cohorts", "models", "statistics"},
    "anonymise": {"core", "cohorts", "models", "training"},
    "comparison": {"anonymise", "cohorts", "core", "features", "metrics", "models", "statistics", "training"},
    "audit": {"cohorts", "core", "features", "metrics", "statistics"},
    "plots": {"core", "statistics"},
    "report": {"core", "experiment"},
    "runner": {"core", "experiment"},
}
BANNED = {"torchvision", "pickle", "SimpleITK", "monai"}


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "lib":
                yield from (f"lib.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = path.relative_to(ROOT / "lib").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path):
        assert name.split(".")[0] not in BANNED, f"{path} imports {name}"
        if name.startswith("lib."):
            assert part(name) == own or part(name) in ALLOWED[own], f"{path} may not import {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_small_and_knows_no_paper(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    code = ast.unparse(ast.parse(text)).lower()
    for paper in ("han2019", "sun2021", "montenegro2021", "pennisi2023", "osuala2024"):
        assert paper not in code
    assert path.stem not in {"utils", "helpers", "common", "base", "misc"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_everything_public_is_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path.name != "__init__.py":
        assert ast.get_docstring(tree), f"{path} has no docstring"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(path: Path) -> str:
    return "\n".join("".join(cell["source"]) for cell in cells(path, "code"))


def tagged(path: Path, tag: str) -> list[str]:
    return ["".join(c["source"]) for c in cells(path, "code") if tag in c["metadata"].get("tags", [])]


def settings_in(code: str) -> set[str]:
    """The settings that `code` reads: `run.seeds` is made of the setting of that name."""
    return set(re.findall(r"\b(?:s|settings)\.([a-z_]+)", code.replace("run.seeds", "s.seeds")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: f"{p.parent.name}/{p.stem}")
class TestNotebook:
    def test_is_stored_without_outputs(self, path):
        for cell in cells(path, "code"):
            assert cell["outputs"] == []
            assert cell["execution_count"] is None

    def test_is_short_and_plain(self, path):
        code = source(path)
        every = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert len(every) <= 14
        assert every[0]["cell_type"] == "markdown"
        assert every[-1]["cell_type"] == "markdown"
        assert max(len(line) for line in code.splitlines()) <= 120
        tree = ast.parse(code)  # shell magic is not Python, so it fails here
        assert "sys.path" not in code
        assert not re.search(r"[\"'](/|~|\.\./)", code), "absolute or relative path"
        for node in ast.walk(tree):
            assert not isinstance(node, ast.ClassDef), "a class belongs to lib"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 8, f"{node.name} is long enough for lib"

    def test_takes_three_parameters_and_checks(self, path):
        (parameters,) = tagged(path, "parameters")
        names = [t.id for node in ast.parse(parameters).body for t in node.targets]
        assert names[:3] == ["scale", "cohort", "seed"]
        assert len(tagged(path, "check")) == 1
        assert "run.check(" in tagged(path, "check")[0]

    def test_runs_under_its_own_name(self, path):
        assert f'Run("{path.parent.name}", scale, cohort, seed)' in source(path)

    def test_makes_what_is_declared_for_it(self, path):
        paper = load_paper(path.parent)
        code = source(path)
        made = set(re.findall(r"run\.(?:figure|table)\(\s*\"([^\"]+)\"", code))
        assert made == {name for name, item in paper.items.items() if item.notebook == path.stem}
        claims = {name for name, claim in paper.claims.items() if claim.notebook == path.stem}
        for claim in claims:
            assert claim in code or re.search(r"run\.claim\(\s*(?!\")", code), f"{claim} is never evaluated"

    def test_uses_known_settings(self, path):
        assert settings_in(source(path)) <= set(load_paper(path.parent).settings)

    def test_reads_only_its_own_entries_of_paper_yaml(self, path):
        paper = load_paper(path.parent)
        for kind, name in re.findall(r"run\.paper\.(items|claims)\[\"([^\"]+)\"\]", source(path)):
            assert getattr(paper, kind)[name].notebook == path.stem, f"{name} is no entry of this notebook"

    def test_needs_what_is_declared_for_it(self, path):
        used = {name.split("/")[0] for name in re.findall(r"run\.need\(\s*f?\"([^\"]+)\"", source(path))}
        assert used == set(load_paper(path.parent).notebooks[path.stem])


@pytest.mark.parametrize("paper", known_papers())
def test_a_paper_reads_and_declares_each_of_its_notebooks(paper):
    loaded = load_paper(ROOT / "notebooks" / paper)
    assert set(loaded.notebooks) == {path.stem for path in (ROOT / "notebooks" / paper).glob("*.ipynb")}
    if loaded.claims:
        assert loaded.deviations
    code = "".join(source(path) for path in (ROOT / "notebooks" / paper).glob("*.ipynb"))
    if paper == "comparison":  # what its entries read, and the options of a generator by name
        code += "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib" / "comparison").glob("*.py"))
    read = settings_in(code) | set(re.findall(r"settings=\"([a-z_]+)\"", code))
    assert set(loaded.settings) <= read, "a setting nobody reads"


def test_no_patient_image_is_committed():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    pictures = [f for f in files if re.search(r"\.(png|jpe?g|dcm|h5|hdf5|npy)$", f)]
    assert [f for f in pictures if not f.startswith("figures/demo-phantom/")] == []
    sizes = {f: (ROOT / f).stat().st_size for f in files if f and (ROOT / f).exists()}
    assert {f for f, size in sizes.items() if size > 2 * 2**20} == set()


def test_conda_and_pip_install_the_same_versions():
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    lines = [line for entry in environment["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    versions = dict(re.findall(r"^([\w.-]+)==(\S+)", "\n".join(lines), re.M))
    assert versions or "-c constraints.txt" in lines
    assert {name: pins.get(name) for name in versions} == versions
