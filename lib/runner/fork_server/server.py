"""A process that has imported the libraries and forks itself for each notebook; and how a client asks it.

See `lib.runner.fork_server` for the whole. Linux only: elsewhere system libraries do not survive a fork.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable

from lib.runner.fork_server.lifetime import die_with_parent

PRELOADED = (
    "lib.runner.notebook",  # with papermill, and all that Run needs: NumPy, pandas, h5py, matplotlib
    "matplotlib.pyplot",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.extensions.storemagic",
    "tornado.platform.asyncio",
    "torch",
)
WHEN_IDLE = ("scipy.stats", "sklearn.metrics", "opacus")  # the first notebook need not wait for these


def ask(path: str, request: dict) -> int:
    """Have the fork server at `path` execute `request` (arguments of `lib.runner.notebook.execute`); its exit code.

    FileNotFoundError or ConnectionRefusedError where there is none, as on another machine.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        text = json.dumps({"arguments": request, "env": dict(os.environ), "cwd": os.getcwd()}).encode()
        socket.send_fds(connection, [b"0"], [0, 1, 2])
        connection.sendall(text + b"\n")
        code = b""
        with contextlib.suppress(ConnectionResetError):  # the server was killed
            code = connection.recv(1)
    if not code:
        print("its process was killed, perhaps for want of memory: run again, fewer at a time", flush=True)
    return code[0] if code else 1


def serve(
    path: str, parent: int, preloaded: tuple[str, ...] = PRELOADED, when_idle: tuple[str, ...] = WHEN_IDLE
) -> None:
    """Listen at `path` and fork for every request, until the process `parent` ends."""
    die_with_parent(parent)
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # no thread that a fork would lose
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # debugpy, which ipykernel imports, prints advice
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # a kernel's own choice
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps our children
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(128)  # who asks before the imports are done waits in the queue
    _preload(preloaded)
    this, later = os.getpid(), list(when_idle)
    while True:
        if later and not select.select([listener], [], [], 0)[0]:
            _preload([later.pop(0)])
            continue
        connection, _ = listener.accept()
        try:
            child = os.fork()
        except OSError as error:  # no memory, or too many processes: this notebook is lost, and no other
            print(f"fork server: could not fork ({error.strerror})", flush=True)
            child = -1
        if child == 0:
            listener.close()
            _run(connection, this)
        connection.close()


def _preload(names: Iterable[str]) -> None:
    """Import, then forget our own modules: they may change while the suite runs."""
    started = time.perf_counter()
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # the notebook that needs it will say so in its own words
            print(f"fork server: {name} is not preloaded ({error!r})", flush=True)
    for name in [name for name in sys.modules if name.split(".")[0] == "lib"]:
        del sys.modules[name]
    if nbformat := sys.modules.get("nbformat"):
        nbformat.validate(nbformat.v4.new_notebook())  # builds the validator
    gc.collect()
    gc.freeze()
    print(f"fork server: {', '.join(names)} in {time.perf_counter() - started:.1f} s", flush=True)


def _run(connection: socket.socket, parent: int) -> None:
    """In the forked process: execute the request and end."""
    code = 1
    try:
        die_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        with connection.makefile("r") as lines:
            request = json.loads(lines.readline())
        os.environ.clear()
        os.environ |= request["env"]
        os.chdir(request["cwd"])
        forked = _fork_kernel()  # now, while this process has no thread
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
        from lib.runner.notebook import execute

        code = execute(**request["arguments"], forked=forked)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            connection.sendall(bytes([code]))
        finally:
            os._exit(code)


def _end_with(connection: socket.socket) -> None:
    """End this process, and by that its kernel, when the client has gone."""
    connection.recv(1)
    os._exit(1)


def _fork_kernel():
    from lib.runner.fork_server.kernel import ForkedKernel

    parent = os.getpid()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        try:
            _become_kernel(reader, parent)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    os.close(reader)

    def order(**what) -> None:
        with os.fdopen(writer, "w") as pipe:
            json.dump(what, pipe)

    return ForkedKernel(pid, order)


def _become_kernel(reader: int, parent: int) -> None:
    """Wait for the order, then be an IPython kernel until it is shut down."""
    die_with_parent(parent)
    os.setsid()
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    if not text:  # the notebook needed no kernel
        os._exit(0)
    order = json.loads(text)
    os.environ.clear()
    os.environ |= order["env"]
    os.chdir(order["cwd"])
    sys.argv = order["argv"][2:]
    _allow_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    sys.modules["numpy"].random.seed()  # as in a fresh process; nothing of ours draws from it
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance(parent_handle=parent)
    app.initialize(sys.argv[1:])
    app.start()
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    os._exit(0)


def _allow_threads(count: int) -> None:
    """Undo the fork server's one thread in every library it has loaded."""
    import threadpoolctl

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if count > 1:
        threadpoolctl.threadpool_limits(count)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
