"""Executed notebooks as HTML that a browser shows without JupyterLab: one file each, nothing fetched."""

import functools
import logging
import os
import re
from urllib.parse import quote

import nbformat
from jinja2 import Template
from markupsafe import Markup

from lib.core.files import atomic
from lib.report.records import Records

_LOG = logging.getLogger(__name__)  # nbconvert's own would warn of every picture without a description
_LOG.setLevel(logging.ERROR)
_NO_ALT = 'alt="No description has been provided for this image"'


def write_copies(records: Records, template: Template) -> None:
    """Write figures/TAG/PAPER/notebooks/NAME.html for each executed notebook, where it is older, and link it.

    Sets "html" of each notebook in `records.content`, empty where there is none. A notebook that cannot be shown is a
    problem of its paper's.
    """
    for notebook in records.content["notebooks"]:
        notebook["html"] = ""
        executed, shown = notebook["executed"], records.page / records.name / "notebooks" / f"{notebook['name']}.html"
        if not executed.exists():
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
        except (ValueError, KeyError, TypeError, AttributeError, OSError, nbformat.ValidationError) as error:
            records.problems.append(f"{executed.name} cannot be shown ({str(error).splitlines()[0][:200]})")


def _by(template: Template) -> str:
    return str(int(os.stat(template.filename).st_mtime)) if template.filename else ""


def _body(executed) -> Markup:
    """Cells and outputs as nbconvert writes them; its page around them, which loads scripts from afar, is left out."""
    html, _ = _exporter().from_notebook_node(nbformat.read(executed, as_version=4))
    html = re.sub(r"<script\b.*?</script>", "", html, flags=re.S)
    return Markup(html.replace(_NO_ALT, 'alt="figure drawn by the cell above"'))


@functools.cache
def _exporter():
    from nbconvert import HTMLExporter  # seconds of imports, which a page without a new notebook does not need

    return HTMLExporter(template_name="basic", exclude_anchor_links=True, log=_LOG)
