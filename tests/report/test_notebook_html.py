"""An executed notebook as a page that needs nothing besides itself."""

import os
import re
from urllib.parse import unquote

import pytest

from lib.report.page import write_page
from tests.report.toy import Page


@pytest.mark.parametrize("notebook", ["01_train", "04_privacy_pairs"])
def test_an_executed_notebook_can_be_read_without_jupyter_and_without_a_network(page, notebook):
    copy = Page(page.folder / f"01_first/notebooks/{notebook}.html")
    assert copy.all("h1")
    assert "a < b" in copy.text
    assert ("a trace" in copy.text) == (notebook == "04_privacy_pairs")
    pictures = [a["src"].split(",")[0] for a in copy.all("img")]
    assert pictures == (["data:image/png;base64"] if notebook == "01_train" else [])
    source = (page.folder / f"01_first/notebooks/{notebook}.html").read_text()
    assert not re.search(r"https?:|url\(|@import|<script[^>]+src", source)
    links = [unquote(a["href"]) for _, a in copy.tags if "href" in a]
    assert (copy.folder / links[2].split("#")[0]).resolve() == page.folder / "index.html"


def test_a_copy_is_written_again_only_when_its_notebook_changed(suite):
    executed = suite / "data/runs/demo-phantom/executed/01_first/05_utility.ipynb"
    copy = write_page("demo-phantom").parent / "01_first/notebooks/05_utility.html"
    os.utime(copy, (1, 1))
    write_page("demo-phantom")
    assert copy.stat().st_mtime == 1
    executed.write_text(executed.read_text().replace("A title", "Another title"))
    write_page("demo-phantom")
    assert "Another title" in copy.read_text()
    executed.unlink()
    write_page("demo-phantom")
    assert not copy.exists()
