"""The run that nobody made, and its page."""

import shutil

import pytest

from lib.report.page import write_page
from tests.report.toy import Page, fabricate


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
def page(fabricated):
    """The page of `fabricated`."""
    return Page(fabricated / "figures" / "demo-phantom" / "index.html")
