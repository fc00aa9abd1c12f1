"""An executed notebook as a page that needs nothing besides itself."""

import json
import os
import re
from urllib.parse import unquote

import pytest

from lib.report.notebook_html import _body, sanitised
from lib.report.page import write_page
from tests.report.toy import Page, executed_notebook


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


@pytest.mark.slow
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


ATTACKS = [
    "<img src=x onerror='alert(1)'>",
    "<img src='https://elsewhere.org/pixel.png'>",
    "<img src='//elsewhere.org/pixel.png'>",
    "<img src='/etc/x.png'>",
    "<img srcset='https://elsewhere.org/p.png 2x'>",
    "<img src='data:image/svg+xml;base64,PHN2Zz48L3N2Zz4='>",
    "<a href='javascript:alert(1)'>go</a>",
    "<a href='java&#115;cript:alert(1)'>go</a>",
    "<a href=' \tjava\nscript:alert(1)'>go</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>go</a>",
    "<a href='vbscript:x' onclick='alert(1)'>go</a>",
    "<iframe src='https://elsewhere.org'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='https://elsewhere.org/x.swf'></object><embed src='https://elsewhere.org/x'>",
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//elsewhere.org/x.js></SCRIPT >",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<script>alert(1)",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>go</text></a></svg>",
    "<math><mtext><mglyph><style><img src=x onerror=alert(1)></style></mglyph></mtext></math>",
    "<style>@import 'https://elsewhere.org/x.css';</style>",
    "<p style='background: url(https://elsewhere.org/p.png); position: fixed'>p</p>",
    "<link rel=stylesheet href='https://elsewhere.org/x.css'>",
    "<meta http-equiv=refresh content='0; url=https://elsewhere.org'>",
    "<base href='https://elsewhere.org/'>",
    "<form action='https://elsewhere.org'><input name=patient><button formaction='javascript:x'>go</button></form>",
    "<video src='https://elsewhere.org/v' poster='https://elsewhere.org/p'></video><audio src='https://elsewhere.org/a'>",
    "</main></body></html><body onload=alert(1)>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<div id=cells class=page name=x autofocus tabindex=1 onfocus=alert(1)>d</div>",
]
MAY_HAVE = {"class", "style", "title", "alt", "colspan", "rowspan", "scope", "width", "height", "id", "src", "href"}


def body_of(path):
    """The tags of a copy between its own <main> and </main>."""
    shown = Page(path)
    names = [tag for tag, _ in shown.tags]
    assert names.count("main") == names.count("html") == names.count("body") == 1
    return shown.tags[names.index("main") + 1 :]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    "kind", ["markdown", "text/html", "text/markdown", "image/svg+xml", "text/latex", "stream", "error"]
)
def test_nothing_that_a_notebook_holds_can_run_fetch_or_redirect(tmp_path, attack, kind):
    page = tmp_path / "page.html"
    page.write_text(f"<html><body><main>{_body(notebook(tmp_path, attack, kind))}</main></body></html>")
    for tag, attributes in body_of(page):
        assert tag not in {"script", "style", "iframe", "object", "embed", "svg", "math", "form", "input", "button"}
        assert tag not in {"link", "meta", "base", "video", "audio", "noscript"}
        assert set(attributes) <= MAY_HAVE
        assert re.fullmatch(r"data:image/png;base64,.*|", attributes.get("src", ""))
        assert re.match(r"https?://|mailto:|#|$", attributes.get("href", ""))
        assert not re.search(r"url|position|expression", attributes.get("style") or "")


def notebook(folder, attack, kind):
    """An executed notebook that holds `attack` in the one place, and in what it says of itself."""
    cells = json.loads(executed_notebook())
    text, code = cells["cells"]
    code["metadata"] = {"tags": [attack.replace(",", "")]}  # a tag has no comma
    if kind == "markdown":
        text["source"] = f"# A title\n\n{attack}\n"
    elif kind == "stream":
        code["outputs"] = [{"output_type": "stream", "name": "stdout", "text": attack}]
    elif kind == "error":
        code["outputs"] = [{"output_type": "error", "ename": attack, "evalue": attack, "traceback": [attack]}]
    else:
        data = {"text/plain": attack, "application/javascript": "alert(1)", kind: attack}
        code["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
    path = folder / "n.ipynb"
    path.write_text(json.dumps(cells))
    return path


def test_tables_pictures_and_links_stay():
    kept = (
        '<table class="dataframe"><tbody><tr><td style="text-align: right;" colspan="2">0.5 &lt; 1</td></tr></tbody>'
        '</table><p><img alt="a" src="data:image/png;base64,iVBORw0=" width="3"> <a href="https://arxiv.org/abs/1">x</a></p>'
    )
    assert sanitised(kept) == kept
    assert sanitised("<style scoped>.a {color: red}</style><b>1</b>") == "<b>1</b>"


@pytest.mark.parametrize(
    "content", ["[]", "null", "{", "", '{"cells": 3}', "[" * 100_000, '{"cells": [{}], "nbformat": 4}']
)
def test_a_damaged_notebook_is_named_and_stops_nothing(suite, content):
    (suite / "data/runs/demo-phantom/executed/01_first/05_utility.ipynb").write_text(content)
    text = Page(write_page("demo-phantom")).text
    assert "05_utility.ipynb cannot be shown (" in text
    assert "The second paper" in text
