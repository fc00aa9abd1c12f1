"""The fork server: one process that has imported the libraries, from which every notebook is forked.

Why. A notebook takes two processes, papermill and its kernel, and both import the same libraries: NumPy, pandas,
matplotlib, papermill, IPython and torch. All that the server imports takes 7 seconds of a core. A fork of a process
that has imported them starts in milliseconds, shares memory with the others until it writes to it, and is as isolated
from them as a fresh process.

How. `lib.runner.suite` starts the server (`server.serve`) beside Snakemake and names its socket in SUITE_FORK_SERVER.

    suite ── starts ──> server                 imports the libraries once, and waits at a Unix socket
      └─ Snakemake ──> python -m lib.runner    one process a notebook, the client; it imports nothing heavy
                          │  ask(): the request (paper, notebook, scale, …), the environment, the folder, and the
                          │  client's own stdin, stdout and stderr, which are passed as file descriptors
                          └──> server ── fork ──> papermill (`lib.runner.notebook.execute`)
                                                    └─ fork ──> kernel: waits on a pipe until papermill says which
                                                                connection file to use, then is an IPython kernel

The second fork happens first of all in the new process, while it has one thread. papermill then starts "its" kernel
through `kernel.KernelManager`, which hands over the process that waits instead of starting another. The exit code goes
back through the socket.

What has to hold, and where it is ensured:

* No thread may run in the server when it forks, since a fork keeps only the calling thread. The server computes
  nothing, and OpenMP and OpenBLAS are told to use one thread until the fork; `server._allow_threads` gives the kernel
  its own.
* CUDA must not be initialised before a fork. The server imports torch and never asks for a device.
* Our own modules are imported and then forgotten (`server._preload`), so that every notebook reads lib as it is when it
  starts.
* Random states that a fork would share are seeded anew (`server._become_kernel`); nothing of ours draws from them.
* Nothing outlives its parent, even after `kill -9`: every process asks Linux to be killed when its parent ends
  (`lifetime.die_with_parent`), and a notebook ends when its client closes the socket (`server._end_with`).

Where there is no fork server (another system than Linux, another machine of a cluster, one notebook by hand) the client
imports everything itself and executes the notebook in its own process, with a kernel started by jupyter_client. The
results are the same; a record says `"forked": false`.
"""
