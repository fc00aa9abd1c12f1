"""Whether somebody looks at what runs here, and how long it may be silent."""

import os
import sys


def is_interactive() -> bool:
    """Whether a cell was run by somebody at a front end: JupyterLab, VS Code, Colab.

    Such a front end says with each cell that it could answer input(); nbclient, papermill and nbconvert say that they
    cannot. False outside a kernel.
    """
    if (ipython := sys.modules.get("IPython")) is None or (shell := ipython.get_ipython()) is None:
        return False
    kernel = getattr(shell, "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    return bool(request.get("content", {}).get("allow_stdin"))


def seconds_between_lines() -> float:
    """How long a headless computation may be silent: SUITE_PROGRESS_SECONDS, or 10."""
    return float(os.environ.get("SUITE_PROGRESS_SECONDS", 10))
