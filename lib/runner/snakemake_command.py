"""The command line of Snakemake that executes notebooks."""

from collections.abc import Sequence
from pathlib import Path

from lib.runner.cli import Arguments
from lib.runner.plan import CODE, Notebook


def command_for(
    notebooks: Sequence[Notebook], arguments: Arguments, *, folder: Path, threads: int, jobs: int
) -> list[str]:
    """The arguments, without the program, that have Snakemake execute `notebooks`, `jobs` side by side.

    folder: of the run, where Snakemake works. threads: of each notebook.
    """
    profile = CODE / "profiles" / arguments.executor
    is_local, pods = arguments.executor == "local", arguments.executor == "kubernetes"
    config = {
        "papers": ",".join(sorted({notebook.paper for notebook in notebooks})),
        "notebooks": ",".join(f"{notebook.run_folder.name}/{notebook}" for notebook in notebooks),
        "scale": arguments.scale,
        "cohort": arguments.cohort,
        "seeds": ",".join(map(str, arguments.seeds)),
        "threads": threads,
        "cluster": int(not is_local),
        "train": int(arguments.train),
        "storage": int(pods),
    }
    return [
        # A pod is sent the Snakefile, which must lie below the working folder; elsewhere each run has its own.
        *("--snakefile", str(CODE / "Snakefile")),
        *("--directory", str(CODE if pods else folder)),
        *("--executor", arguments.executor),
        *(("--cores", str(jobs * threads)) if is_local else ("--jobs", str(jobs))),
        *(("--workflow-profile", str(profile)) if profile.is_dir() else ()),
        *("--scheduler", "greedy", "--keep-going", "--nocolor"),
        # Records are written whole and last, so neither locks, times nor Snakemake's own books are needed.
        *("--nolock", "--ignore-incomplete", "--drop-metadata", "--rerun-triggers", "input"),
        *("--config", *(f"{key}={value}" for key, value in config.items())),
        *arguments.snakemake,
    ]
