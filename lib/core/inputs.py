"""Files that a notebook reads although no other notebook made them: prepared cohorts, published numbers, weights.

The runner names a file in which the kernel lists them (environment variable SUITE_INPUTS) and keeps the list with a
digest of each: a notebook is out of date when one of them has changed. Without the variable nothing is listed.
"""

import os
from pathlib import Path


def reading(path: str | Path) -> Path:
    """List `path` as an input of the running notebook, even if no such file exists yet, and return it."""
    if listed := os.environ.get("SUITE_INPUTS"):
        with open(listed, "a", encoding="utf-8") as file:
            file.write(f"{Path(path).resolve()}\n")
    return Path(path)
