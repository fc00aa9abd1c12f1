"""The templates of the pages, the scripts that they may run, and the policy by which a browser runs no other.

A page holds what others wrote: errors of notebooks, their outputs, names of patients. Templates escape it,
`lib.report.notebook_html` sanitises what is HTML by itself, and should both fail, the policy stops it: a browser runs
only scripts of the given digests, and loads nothing but pictures that are in the page or beside it.
"""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent


def environment() -> Environment:
    """Templates of this folder; `script` and `policy` are known in each, an unknown name is an error."""
    made = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {"script": script, "policy": policy}
    return made


def script(name: str) -> Markup:
    """The content of a script of this folder, as it stands between <script> and </script>."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))


def policy(*scripts: str) -> str:
    """The Content-Security-Policy of a page with these scripts: each by its SHA-256, own pictures, inline style."""
    digests = (hashlib.sha256(script(name).encode()).digest() for name in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'"
    )
