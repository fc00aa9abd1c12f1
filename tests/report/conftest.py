"""The run that nobody made, and its page."""

import shutil
import subprocess

import pytest

from lib.report.page import write_page
from tests.paths import ROOT
from tests.report.toy import Page, fabricate, finish


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory):
    """The run, with its page written."""
    root = tmp_path_factory.mktemp("suite")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_ROOT", str(root))
        patch.setattr("lib.experiment.run.revision", lambda: "abc1234")
        fabricate(root)
        write_page("demo-phantom")
    return root


@pytest.fixture
def suite(fabricated, tmp_path, monkeypatch):
    """A copy of `fabricated`, which the test may spoil."""
    shutil.copytree(fabricated, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def committed(fabricated, tmp_path_factory):
    """The run in which every notebook is done and nothing is missing, committed to git."""
    root = tmp_path_factory.mktemp("committed")
    shutil.copytree(fabricated, root, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUITE_ROOT", str(root))
        patch.setattr("lib.experiment.run.revision", lambda: "abc1234")
        finish(root)
    (root / ".gitignore").write_text((ROOT / ".gitignore").read_text())
    for words in (["init", "-q"], ["add", "-A"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", root, *words], check=True)
    return root


@pytest.fixture
def finished(committed, tmp_path, monkeypatch):
    """A copy of `committed`, which the test may spoil, and in which no notebook is stale."""
    shutil.copytree(committed, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    monkeypatch.setattr("lib.experiment.run.revision", lambda: "abc1234")
    monkeypatch.setattr("lib.report.reference.plan", lambda *_, **__: [])
    return tmp_path


@pytest.fixture(scope="session")
def page(fabricated):
    """The page of `fabricated`."""
    return Page(fabricated / "figures" / "demo-phantom" / "index.html")
