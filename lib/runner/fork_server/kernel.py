"""The kernel of a notebook: this Python, reached by local sockets, started afresh or forked beforehand."""

import os
import signal
import sys
import uuid
from collections.abc import Mapping

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import LocalProvisioner

from lib.runner.plan import import_path

INPUTS = "inputs"  # name of the file in which a kernel lists what its notebook reads (lib.core.inputs)


class ForkedKernel:
    """A process that waits to become a kernel; it looks like a subprocess.Popen to jupyter_client.

    pid: of the process, a child of this one. order: called once with the arguments, environment and
    working folder that make it a kernel.
    """

    stdin = stdout = stderr = None

    def __init__(self, pid: int, order):
        self.pid, self.order = pid, order
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        self._reap(0)
        assert self.returncode is not None  # waitpid without WNOHANG returns when the process has ended
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _reap(self, flags: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, flags)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class _Provisioner(LocalProvisioner):
    async def launch_kernel(self, cmd, **kwargs):
        forked = self.parent.forked
        if forked is None:
            connection = await super().launch_kernel(cmd, **kwargs)
        else:
            forked.order(argv=cmd, env=dict(kwargs["env"]), cwd=kwargs.get("cwd") or os.getcwd())
            self.process, self.pid, self.pgid = forked, forked.pid, forked.pid
            connection = self.connection_info
        type(self.parent).pid = self.pid
        return connection


class KernelManager(AsyncKernelManager):
    """Starts the kernel of one notebook: the process `forked` if there is one, else `sys.executable`.

    `folder` holds the connection file, the sockets and IPython's settings, so that neither a port nor the user's own
    start-up files come into it, and the list of the files that the notebook reads (`INPUTS`). `variables` are added to
    its environment. `pid` is the kernel's, None before it was started. Each notebook has a subclass of its own, since
    nbclient takes a class.
    """

    folder = "."
    variables: Mapping[str, str] = {}
    forked: ForkedKernel | None = None
    pid: int | None = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.transport = "ipc"
        self.connection_file = os.path.join(self.folder, "k.json")

    @property
    def kernel_spec(self) -> KernelSpec:
        """Always this Python, whatever kernels the user has installed under the same name."""
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="Python 3", language="python")

    async def _async_pre_start_kernel(self, **kwargs):
        self.kernel_id = self.kernel_id or str(uuid.uuid4())
        self.provisioner = _Provisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        own = {"IPYTHONDIR": os.path.join(self.folder, "ipython"), "SUITE_INPUTS": os.path.join(self.folder, INPUTS)}
        own |= {"PYTHONPATH": import_path(), **self.variables}
        kwargs["env"] = dict(kwargs.get("env") or os.environ) | own
        return await super()._async_pre_start_kernel(**kwargs)

    async def _async_interrupt_kernel(self) -> None:
        """Interrupt a cell; at the end of a notebook nothing is left to interrupt, and the kernel would print so."""
        if not self.shutting_down:
            await super()._async_interrupt_kernel()
