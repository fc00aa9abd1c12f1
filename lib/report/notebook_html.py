"""Executed notebooks as HTML that a browser shows without JupyterLab: one file each, nothing fetched, nothing run.

What a notebook printed is not trusted: its text may come from a file of images, or the whole notebook from elsewhere.
"""

import functools
import logging
import os
import re
from pathlib import Path
from urllib.parse import quote

from jinja2 import Template
from markupsafe import Markup

from lib.core.files import atomic
from lib.report.records import Records

_LOG = logging.getLogger(__name__)  # nbconvert's own would warn of every picture without a description
_LOG.setLevel(logging.ERROR)
_NO_ALT = 'alt="No description has been provided for this image"'
_FORM = 2  # of the copies; a higher number makes all of them again

# What is left of a notebook's HTML: text, tables, pictures that it holds itself, and links to follow by hand.
_TAGS = set(
    "a abbr b blockquote br caption code col colgroup dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd "
    "li ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr u ul var".split()
)
_SHOWN = ["text/html", "image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain"]  # the richest is shown
_PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*")
_LINK = re.compile(r"https?://|mailto:|#", re.I)
_STYLES = "background-color color font-style font-weight text-align text-decoration vertical-align width".split()


def write_copies(records: Records, template: Template) -> None:
    """Write PAPER/notebooks/NAME.html beside the page for each executed notebook, where it is older, and link it.

    Sets "html" of each notebook in `records.content`, empty where there is none. A notebook that cannot be shown is a
    problem of its paper's.
    """
    for notebook in records.content["notebooks"]:
        notebook["html"] = ""
        executed, shown = notebook["executed"], records.page / records.name / "notebooks" / f"{notebook['name']}.html"
        if not executed.is_file():
            shown.unlink(missing_ok=True)
            continue
        try:
            source = executed.stat()
            stamp = f"<!-- of {source.st_mtime_ns} {source.st_size} by {_by(template)} -->"
            if not shown.exists() or not shown.read_text(encoding="utf-8").endswith(stamp):
                html = template.render(body=_body(executed), notebook=notebook, paper=records.content) + stamp
                with atomic(shown) as path:
                    path.write_text(html, encoding="utf-8")
            notebook["html"] = quote(os.path.relpath(shown, records.page))
        except Exception as error:  # of nbformat, nbconvert and Jinja, whatever a damaged notebook makes them raise
            says = (str(error).splitlines() or [type(error).__name__])[0]
            records.problems.append(f"{executed.name} cannot be shown ({says[:200]})")


def _by(template: Template) -> str:
    made = f"{int(os.stat(template.filename).st_mtime)}" if template.filename else ""
    return f"{made} form {_FORM}"


def _body(executed: Path) -> Markup:
    """Cells and outputs as nbconvert writes them, sanitised; its page around them, which loads scripts, is left out."""
    from lib.runner.nbformat_import import nbformat  # a second of imports, as little needed as the exporter's

    html, _ = _exporter().from_notebook_node(nbformat.read(executed, as_version=4))
    return Markup(sanitised(html.replace(_NO_ALT, 'alt="figure drawn by the cell above"')))


def sanitised(html: str) -> str:
    """`html` without what could run, fetch or redirect: only the tags, attributes and styles listed here are left."""
    # For the eye only: of a tag that is not allowed, bleach keeps the text, which of these nobody wants to read.
    html = re.sub(r"<(script|style)\b.*?</\1\s*>", "", html, flags=re.S | re.I)
    return _cleaner().clean(html)


def _is_allowed(tag: str, name: str, value: str) -> bool:
    """Whether a tag may have an attribute of this value."""
    if tag == "img" and name == "src":
        return bool(_PICTURE.fullmatch(value))
    if tag == "a" and name == "href":
        return bool(_LINK.match(value))
    return name in ("class", "style", "title", "alt", "colspan", "rowspan", "scope", "width", "height") or (
        name == "id" and tag in ("h1", "h2", "h3", "h4", "h5", "h6")
    )


@functools.cache
def _cleaner():
    from bleach.css_sanitizer import CSSSanitizer
    from bleach.sanitizer import Cleaner

    css = CSSSanitizer(allowed_css_properties=_STYLES, allowed_svg_properties=[])
    protocols = {"http", "https", "mailto", "data"}  # `_is_allowed` says which of them where
    return Cleaner(tags=_TAGS, attributes=_is_allowed, protocols=protocols, css_sanitizer=css, strip=True)


@functools.cache
def _exporter():
    from nbconvert import HTMLExporter  # seconds of imports, which a page without a new notebook does not need
    from traitlets.config import Config

    shown = Config({"NbConvertBase": {"display_data_priority": _SHOWN}})
    return HTMLExporter(config=shown, template_name="basic", exclude_anchor_links=True, log=_LOG)
