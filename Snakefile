# The graph of a run: one rule executes a notebook. `./run_all.sh` starts it and removes the records of what is out
# of date, so a missing done.json is the one reason to execute; the working folder is data/runs/<tag>.
import sys

from lib.execute.state import CODE, plan

notebooks = plan(
    tuple(config["papers"].split(",")), scale=config["scale"], cohort=config["cohort"], seed=int(config["seed"])
)
by_name = {str(notebook): notebook for notebook in notebooks}


def done(notebook):
    return f"{notebook}/done.json"


rule all:
    input:
        [done(notebook) for notebook in notebooks],


rule notebook:
    input:
        lambda wildcards: [done(need) for need in by_name[f"{wildcards.paper}/{wildcards.notebook}"].needs],
    output:
        "{paper}/{notebook}/done.json",
    log:
        "log/{paper}/{notebook}.log",
    wildcard_constraints:
        paper="[^/]+",
        notebook="[^/]+",
    threads: int(config["threads"])
    params:
        python=sys.executable,
        code=CODE,
        run=f"--scale {config['scale']} --cohort {config['cohort']} --seed {config['seed']}",
    shell:
        "log=$PWD/{log}; cd {params.code:q}; export NUMBA_NUM_THREADS={threads}; "
        'exec {params.python:q} -m lib.execute {wildcards.paper} {wildcards.notebook} {params.run} --parent $PPID >"$log" 2>&1'
