"""Files that a notebook reads although no other notebook made them: prepared cohorts, published numbers, weights.

The runner gives the kernel a file to list them in (environment variable SUITE_INPUTS), and keeps the list with what
they held: a notebook is out of date when one of them changed. Elsewhere nothing is listed.
"""

import os
from pathlib import Path


def reading(path: str | Path) -> Path:
    """`path`, listed as an input of the notebook that runs, also where no file is there yet."""
    if listed := os.environ.get("SUITE_INPUTS"):
        with open(listed, "a", encoding="utf-8") as file:
            file.write(f"{Path(path).resolve()}\n")
    return Path(path)
