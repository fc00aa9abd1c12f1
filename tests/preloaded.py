"""Fresh processes that need not import the libraries: forks of one that has, and that knows nothing of lib."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.paths import ROOT

_PARENT = """
import json, os, sys, traceback
import h5py, IPython.display, matplotlib.pyplot, pandas, PIL.Image, pydantic, scipy.stats, sklearn.metrics, torch, yaml
assert not [name for name in sys.modules if name.split(".")[0] == "lib"]
for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in (1, 2):
                os.dup2(os.open(request["streams"][number - 1], os.O_WRONLY | os.O_CREAT), number)
            os.environ.clear()
            os.environ.update(request["env"])
            os.chdir(request["cwd"])
            sys.argv = ["-c", *request["words"]]
            exec(compile(request["code"], "<string>", "exec"), {"__name__": "__main__"})
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Preloaded:
    """As `python -c CODE WORD…` in the project's folder, in processes that have imported NumPy, pandas, torch, …"""

    def __init__(self, parent: subprocess.Popen):
        self._parent = parent

    def run(self, code: str, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Its exit code, negative for a signal, and what it wrote; `env`: its environment, ours where None is given."""
        with tempfile.TemporaryDirectory() as folder:
            streams = [os.path.join(folder, name) for name in ("stdout", "stderr")]
            request = {"code": code, "words": words, "env": dict(env or os.environ), "cwd": str(ROOT)}
            self._parent.stdin.write(json.dumps(request | {"streams": streams}) + "\n")
            self._parent.stdin.flush()
            code_of_exit = int(self._parent.stdout.readline())
            said = [Path(stream).read_text(encoding="utf-8") for stream in streams]
        return subprocess.CompletedProcess([code, *words], code_of_exit, *said)


@contextlib.contextmanager
def preloading() -> Iterator[Preloaded]:
    """The parent of such processes runs inside the block, and ends with it or with us."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _PARENT], cwd=ROOT, **pipes) as parent:
        yield Preloaded(parent)
        parent.stdin.close()
