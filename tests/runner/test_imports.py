"""What a notebook rests on, and hence which notebooks an edit makes out of date."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.runner import imports
from tests.paths import ROOT
from tests.runner.toy import write_notebook

EVERY_GAN = ("lib", "lib.core", "lib.core.paths", "lib.gan", "lib.gan.dcgan", "lib.gan.progan", "lib.gan.registry")
# Read by hand: the notebooks whose imports lead to it.
REST_ON_KSAME = {
    "03_montenegro2021_cases/01_train_anonymiser",
    "04_pennisi2023_walk/01_train_walks",
    "comparison/01_train",
    "comparison/01_train_sets",
}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A small lib in the place of ours."""
    sources = {
        "__init__": "",
        "core/__init__": "",
        "core/paths": "import os",
        "core/unused": "",
        "plots/__init__": "from lib.plots.charts import box",
        "plots/charts": "import numpy",
        "gan/__init__": "",
        "gan/dcgan": "def train():\n    from lib.core import paths",
        "gan/progan": "",
        "gan/registry": "import importlib\ndef load(name):\n    return importlib.import_module(f'lib.gan.{name}')",
        "sets/__init__": "import importlib\ndef of(name):\n    return importlib.import_module(f'{__name__}.{name}')",
        "sets/nih": "",
        "table": "TRAINERS = {'dcgan': 'lib.gan.dcgan:train'}",
        "main": "if __name__ == '__main__':\n    from lib.gan import dcgan\nelse:\n    import lib.core.paths",
        "typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from lib.gan import dcgan",
        "says": "'''See lib.gan.dcgan.'''\nx = 'lib.gan.dcgan is said here'",
    }
    for name, source in sources.items():
        path = tmp_path / "lib" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    monkeypatch.setattr(imports, "_LIB", tmp_path / "lib")
    caches = (imports._modules, imports._imports_of, imports.digest)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path / "lib"
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import numpy", ""),
        ("import lib.core.paths as p", "lib lib.core lib.core.paths"),
        ("from lib.core import paths", "lib lib.core lib.core.paths"),
        ("from lib.core.paths import root", "lib lib.core lib.core.paths"),
        ("def f():\n    from lib.core import paths", "lib lib.core lib.core.paths"),
        ("from lib import plots", "lib lib.plots lib.plots.charts"),
        ("from lib.gan.dcgan import train", "lib lib.core lib.core.paths lib.gan lib.gan.dcgan"),
        ("from lib import table", "lib lib.core lib.core.paths lib.gan lib.gan.dcgan lib.table"),
        ("from lib.gan import registry", " ".join(EVERY_GAN)),
        ("from lib.sets import of", "lib lib.sets lib.sets.nih"),
        ("from lib import main", "lib lib.core lib.core.paths lib.main"),
        ("from lib import typed, says", "lib lib.says lib.typed"),
    ],
)  # fmt: skip
def test_closure(house, code, modules):
    assert imports.closure([code]) == tuple(modules.split())


def test_a_cell_that_is_no_python_rests_on_everything(house):
    assert set(imports.closure(["x = 1", "%timeit f()"])) == set(imports._modules())


def test_data_count_with_their_package(house):
    def digests() -> dict[str, bytes]:
        imports.digest.cache_clear()
        return {module: imports.digest(module) for module in imports._modules()}

    before = digests()
    for folder in ("manifests", "__pycache__"):
        (house / "sets" / folder).mkdir()
        (house / "sets" / folder / "nih.txt").write_text("1")
    after = digests()
    assert {module for module in before if before[module] != after[module]} == {"lib.sets"}


def loaded_by(code: str, preloaded) -> set[str]:
    """The modules of lib that Python has loaded after `code`."""
    made = preloaded.run(f"{code}\nimport sys\nprint(*(name for name in sys.modules if name.split('.')[0] == 'lib'))")
    assert made.returncode == 0, made.stderr
    return set(made.stdout.split())


@pytest.mark.slow
def test_what_python_loads_is_found(preloaded):
    code = "from lib.experiment.run import Run\nfrom lib.cohorts.public import open_public\nfrom lib import plots"
    loaded, found = loaded_by(code, preloaded), set(imports.closure([code]))
    assert len(loaded) > 10
    assert loaded <= found
    assert not any(name.startswith("lib.runner") for name in found)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """lib and every notebook of the suite, to be edited."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("lib", "notebooks"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def known(copy):
    """What `digests` says of the copy as it is now."""
    return {"digests": digests(copy)}


def digests(copy: Path) -> dict[str, dict[str, str]]:
    """Of what decides every notebook of the copy, by the copy's own runner."""
    code = """
import json
from lib.experiment.paper import known_papers
from lib.runner.plan import Notebook, plan
Notebook._records_digest = lambda self: ""  # what other papers left has tests of its own
notebooks = plan(tuple(known_papers()), scale="demo", cohort="phantom", seed=0)
print(json.dumps({str(notebook): notebook.sources for notebook in notebooks}))
"""
    env = {name: value for name, value in os.environ.items() if name not in ("SUITE_ROOT", "PYTHONPATH")}
    made = subprocess.run([sys.executable, "-c", code], cwd=copy, env=env, capture_output=True, text=True, check=True)
    return json.loads(made.stdout)


def stale_after(copy: Path, known: dict, *edited: str) -> set[str]:
    """The notebooks that edits of the docstrings of these modules make stale."""
    before = known["digests"]
    assert len(before) > 40
    for module in edited:
        path = copy / Path(*module.split(".")).with_suffix(".py")
        text = path.read_text(encoding="utf-8")
        assert text.startswith('"""')
        path.write_text(text.replace('"""', '"""Edited. ', 1), encoding="utf-8")
    after = known["digests"] = digests(copy)
    return {name for name in before if before[name] != after[name]}


def importers(copy: Path, module: str) -> set[str]:
    """The notebooks that import `module`, directly or through lib: a literal reading of import statements."""

    def named(text: str) -> str:
        """What is imported, a dotted name a line."""
        found = re.findall(r"^ *from (lib[\w.]*) import (\([\w\s,]+\)|[\w ,]+)", text, re.M)
        found = [f"{where}.{name.split()[0]}" for where, names in found for name in names.strip("()\n ,").split(",")]
        return "\n".join(found + re.findall(r"^ *import (lib[\w.]*)", text, re.M))

    texts = {path: named(path.read_text(encoding="utf-8")) for path in (copy / "lib").rglob("*.py")}
    for path in (copy / "notebooks").glob("*/*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path] = named("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    found, seen = {module}, 0
    while len(found) > seen:
        seen = len(found)
        pattern = re.compile(rf"^({'|'.join(map(re.escape, found))})(\.|$)", re.M)
        reached = [path for path, text in texts.items() if pattern.search(text)]
        names = (".".join(path.relative_to(copy).with_suffix("").parts) for path in reached if path.suffix == ".py")
        found |= {name.removesuffix(".__init__") for name in names}
    return {f"{path.parent.name}/{path.stem}" for path in reached if path.suffix == ".ipynb"}


@pytest.mark.slow
def test_a_docstring_makes_only_those_stale_that_import_its_module(copy, known):
    edited = ["lib.anonymise.ksame", "lib.anonymise.latent_walk.plan", "lib.anonymise.vaegan.losses"]
    stale = {module: stale_after(copy, known, module) for module in edited}
    assert stale == {module: importers(copy, module) for module in edited}
    assert stale["lib.anonymise.ksame"] == REST_ON_KSAME


@pytest.mark.slow
@pytest.mark.parametrize(
    "notebook", ["03_montenegro2021_cases/01_train_anonymiser", "comparison/01_train_sets", "comparison/05_front"]
)
def test_what_a_notebook_loads_is_found(preloaded, notebook):
    """Its own imports, run: all of them lie in its closure, and ksame is loaded where the list above says so."""
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    own = "\n".join(ast.unparse(node) for node in ast.parse(code).body if isinstance(node, ast.Import | ast.ImportFrom))
    loaded = loaded_by(own, preloaded)
    assert loaded <= set(imports.closure([code]))
    assert ("lib.anonymise.ksame" in loaded) == (notebook in REST_ON_KSAME)


@pytest.mark.slow
def test_a_public_set_decides_nothing_for_those_that_do_not_read_it(copy, known):
    assert stale_after(copy, known, "lib.cohorts.public.aptos") == {"00_cohorts/02_public"}


@pytest.mark.slow
def test_the_executing_machinery_decides_nothing_but_for_those_that_import_it(copy, known):
    assert stale_after(copy, known, "lib.runner.suite", "lib.runner.notebook", "lib.report.page") == set()
    assert stale_after(copy, known, "lib.report.records") == {"scorecard/01_scorecard"}


@pytest.mark.parametrize(
    "module", ["lib.runner.suite", "lib.runner.__main__", "lib.report.__main__", "lib.report.page"]
)
def test_commands_begin_without_the_libraries_that_compute(module):
    """Each reads paper.yaml, which took eight seconds of PyTorch, SciPy and a grammar of addresses."""
    ask = f"import {module}, sys; print(*({{'torch', 'scipy', 'numpy', 'pandas', 'nbformat'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import lib.runner.notebook",
        "from pathlib import Path; from lib.report.notebook_html import _body; _body(Path(sys.argv[1]))",
    ],
)
def test_what_opens_notebooks_builds_no_grammar_of_addresses(tmp_path, code):
    """jsonschema, which nbformat imports, builds it where it is installed: two seconds for each process."""
    write_notebook(tmp_path / "a.ipynb", "1")
    ask = f"import sys\n{code}\nprint({{'nbformat', 'jsonschema', 'rfc3987_syntax'}} & sys.modules.keys())"
    command = [sys.executable, "-c", ask, tmp_path / "a.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == {"nbformat", "jsonschema"}
