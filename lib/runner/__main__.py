"""`python -m lib.runner PAPER NOTEBOOK --scale S --cohort C --seed N`: execute one notebook.

Sends it to the fork server of a running suite where there is one, and otherwise executes it here.
"""

import argparse
import os
import sys

from lib.runner.cli import COHORTS, SCALES, value_of
from lib.runner.fork_server import server as fork_server
from lib.runner.fork_server.lifetime import die_with_parent


def main() -> int:
    """Exit code 0 done, 1 failed, 2 for arguments that cannot be meant."""
    parser = argparse.ArgumentParser(prog="python -m lib.runner", description="Execute one notebook.")
    parser.add_argument("paper", help="a folder of notebooks/")
    parser.add_argument("name", metavar="notebook", help="01_train, …")
    parser.add_argument("--scale", choices=SCALES, default="demo")
    parser.add_argument("--cohort", choices=COHORTS, default="phantom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--parent", type=int, help="end when this parent process does")
    arguments = vars(parser.parse_args())
    if parent := arguments.pop("parent"):
        die_with_parent(parent)
    arguments["extra"] = {name: value_of(text) for name, text in arguments.pop("parameter")}
    if path := os.environ.get("SUITE_FORK_SERVER"):
        try:
            return fork_server.ask(path, arguments)
        except (FileNotFoundError, ConnectionRefusedError):
            print("no fork server here: importing everything afresh", flush=True)
    from lib.runner.notebook import execute  # seconds of imports, which the fork server has behind it

    return execute(**arguments)


if __name__ == "__main__":
    sys.exit(main())
