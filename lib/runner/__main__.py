"""`python -m lib.runner PAPER NOTEBOOK --scale S --cohort C --seed N`: execute one notebook.

Sends it to the fork server of a running suite where there is one, and otherwise executes it here. By hand it holds the
run folder meanwhile; of a notebook with `-p NAME VALUE`, which is a user's own, that is a folder own-… of its own.
"""

import argparse
import os
import shlex
import sys

from lib.core.lock import FolderInUse
from lib.runner.cli import COHORTS, SCALES, value_of
from lib.runner.fork_server import server as fork_server
from lib.runner.fork_server.lifetime import die_with_parent
from lib.runner.own_data import COHORT, cohort_of, given_files, own_key


def main() -> int:
    """Exit code 0 done, 1 failed, 2 for arguments that cannot be meant."""
    parser = argparse.ArgumentParser(prog="python -m lib.runner", description="Execute one notebook.")
    parser.add_argument("paper", help="a folder of notebooks/")
    parser.add_argument("name", metavar="notebook", help="01_train, …")
    parser.add_argument("--scale", choices=SCALES, default="demo")
    parser.add_argument("--cohort", choices=(*COHORTS, COHORT), default="phantom")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--threads", type=int, default=0, help="to compute with (1; at paper 4)")
    parser.add_argument("--parent", type=int, help="the suite's process, which holds the run folder: end when it does")
    arguments = vars(parser.parse_args())
    arguments["extra"] = {name: value_of(text) for name, text in arguments.pop("parameter")}
    for name in ("scale", "cohort", "seed"):
        if name in arguments["extra"]:
            parser.error(f"-p {name}: give --{name} {arguments['extra'][name]}")
    if arguments["cohort"] == COHORT and not (arguments["extra"].get("data") or given_files()):
        parser.error(f"--cohort {COHORT}: give -p data FILE, a cohort of your own")
    if parent := arguments.pop("parent"):
        arguments["extra"] |= given_files()
        die_with_parent(parent)
        return _execute(arguments)
    from lib.runner.plan import find  # a second of imports, which the suite's notebooks need not wait for
    from lib.runner.run_folder import hold

    which = {key: arguments[key] for key in ("paper", "name", "scale", "seed")}
    which["cohort"] = cohort_of(arguments["cohort"], arguments["extra"])
    try:
        notebook = find(**which, own=own_key(arguments["cohort"], arguments["extra"]))
        command = shlex.join(["python", "-m", "lib.runner", *sys.argv[1:]])
        with hold([notebook.run_folder], command):
            code = _execute(arguments)
    except (ValueError, OSError) as problem:
        print(problem, file=sys.stderr)
        return 2 if isinstance(problem, ValueError | FolderInUse) else 1
    if notebook.own and code == 0:
        print(f"Its executed copy, for you alone: {notebook.executed()}")
    return code


def _execute(arguments: dict) -> int:
    if path := os.environ.get("SUITE_FORK_SERVER"):
        try:
            return fork_server.ask(path, arguments)
        except (FileNotFoundError, ConnectionRefusedError):
            print("no fork server here: importing everything afresh", flush=True)
    from lib.runner.notebook import execute  # seconds of imports, which the fork server has behind it

    return execute(**arguments)


if __name__ == "__main__":
    sys.exit(main())
