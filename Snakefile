# The graph of a run: one rule executes a notebook, another one those of stage 01, so that a cluster can give trainings
# more. `./run_all.sh` starts it and removes the records of what is out of date, so a missing done.json is the one
# reason to execute. Records lie in data/runs/<tag>, one tag for each seed, and everything there is `local`: written by
# the notebook itself, and never copied to or from a storage.
import sys

from lib.execute.state import CODE, plan
from lib.paper import root

which = {"scale": config["scale"], "cohort": config["cohort"]}
seeds = [int(seed) for seed in str(config["seeds"]).split(",")]
notebooks = [n for seed in seeds for n in plan(tuple(config["papers"].split(",")), **which, seed=seed)]
by_name = {(n.run_folder.name, n.paper, n.name): n for n in notebooks}
runs = root() / "data" / "runs"


def asked(wildcards):
    return by_name[wildcards.tag, wildcards.paper, wildcards.notebook]


def done(notebook):
    return local(str(notebook.record("done")))


rule all:
    localrule: True
    input:
        [done(notebook) for notebook in notebooks],


rule notebook:
    input:
        lambda wildcards: [done(need) for need in asked(wildcards).needs],
    output:
        local(f"{runs}/{{tag}}/{{paper}}/{{notebook}}/done.json"),
    log:
        f"{runs}/{{tag}}/log/{{paper}}/{{notebook}}.log",
    wildcard_constraints:
        tag="[^/]+",
        paper="[^/]+",
        notebook="(?!01_)[^/]+",
    threads: int(config["threads"])
    params:
        python=sys.executable,
        code=CODE,
        run=lambda wildcards: f"--scale {config['scale']} --cohort {config['cohort']} --seed {asked(wildcards).seed}",
    shell:
        "cd {params.code:q}; export NUMBA_NUM_THREADS={threads}; exec {params.python:q} -m lib.execute "
        '{wildcards.paper} {wildcards.notebook} {params.run} --parent $PPID >{log:q} 2>&1'


use rule notebook as train with:
    wildcard_constraints:
        tag="[^/]+",
        paper="[^/]+",
        notebook="01_[^/]+",
