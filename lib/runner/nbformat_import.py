"""nbformat, imported without a grammar of addresses that takes two seconds of a core to build.

nbformat imports jsonschema, and that builds the grammar of RFC 3987 where rfc3987-syntax is installed, as it is with
Jupyter: for the format "iri", which no schema of notebooks has. Import this module before papermill and nbconvert.
"""

import sys

_GRAMMAR = "rfc3987_syntax"

if "jsonschema" in sys.modules or _GRAMMAR in sys.modules:
    import nbformat
else:
    sys.modules[_GRAMMAR] = None  # type: ignore[assignment]  # to jsonschema it is not installed
    try:
        import nbformat  # noqa: F401
    finally:
        del sys.modules[_GRAMMAR]
