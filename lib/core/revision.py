"""Which version of the code this is."""

import functools
import subprocess
from pathlib import Path


@functools.cache
def revision() -> str:
    """The short commit of the code, followed by + if files differ from it; "unknown" outside git.

    The committed results of runs (figures/reference) do not count as a difference.
    """
    git = ["git", "-C", str(Path(__file__).parents[2])]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        clean = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ".", ":!figures/reference"]).returncode == 0
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + ("" if clean else "+")
