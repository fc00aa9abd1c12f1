"""Copies of the runner for all its tests."""

import shutil

import pytest

from tests.paths import ROOT


@pytest.fixture(scope="session")
def code(tmp_path_factory):
    """A copy of the runner and of lib, which nobody edits while the tests run.

    The fork servers that it starts load no torch, which takes longer than the runs they are for; those of
    tests/report/test_reference.py do.
    """
    folder = tmp_path_factory.mktemp("code")
    for name in ("run_all.sh", "Snakefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "lib", folder / "lib")
    server = folder / "lib/runner/fork_server/server.py"
    text = server.read_text(encoding="utf-8")
    for line in ('    "torch",\n', '"scipy.stats", "sklearn.metrics", "opacus"'):
        assert text.count(line) == 1, f"{server.name} no longer says what it loads by {line!r}"
        text = text.replace(line, "")
    server.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def pageless(tmp_path_factory, code):
    """The same with a lib.report that does nothing: its runs write no page, which takes a third of a short run."""
    folder = tmp_path_factory.mktemp("pageless") / "code"
    shutil.copytree(code, folder, ignore=shutil.ignore_patterns("report"))
    (folder / "lib/report").mkdir()
    for name in ("__init__", "__main__"):
        (folder / f"lib/report/{name}.py").write_text('"""No page."""\n')
    return folder
