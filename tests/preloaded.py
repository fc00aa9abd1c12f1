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
        except SystemExit as ended:
            code = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Preloaded:
    """As `python -c CODE WORD…`, in processes that have imported NumPy, pandas, matplotlib, SciPy, scikit-learn, torch.

    `env`: their environment, ours where None is given. `folder`: where they work, and find lib; the project's.
    """

    def __init__(self, parent: subprocess.Popen):
        self._parent = parent

    def run(
        self, code: str, *words: str, env: Mapping[str, str] | None = None, folder: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        """Its exit code, negative for a signal, and what it wrote."""
        with tempfile.TemporaryDirectory() as scratch:
            streams = [os.path.join(scratch, name) for name in ("stdout", "stderr")]
            request = {"code": code, "words": words, "env": dict(env or os.environ), "cwd": str(folder)}
            self._parent.stdin.write(json.dumps(request | {"streams": streams}) + "\n")
            self._parent.stdin.flush()
            returned = int(self._parent.stdout.readline())
            said = [Path(stream).read_text(encoding="utf-8") for stream in streams]
        return subprocess.CompletedProcess([code, *words], returned, *said)

    def run_module(self, name: str, *words: str, **where) -> subprocess.CompletedProcess[str]:
        """The same for `python -m NAME WORD…`."""
        code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], None, '__main__', True)"
        return self.run(code, name, *words, **where)


@contextlib.contextmanager
def preloading() -> Iterator[Preloaded]:
    """The parent of such processes runs inside the block, and ends with it or with us."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", _PARENT], cwd=ROOT, **pipes) as parent:
        yield Preloaded(parent)
        parent.stdin.close()
