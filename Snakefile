# The graph of a run: one rule executes a notebook, another one those of stage 01, so that a cluster can give trainings
# more. `./run_all.sh` starts it with the names of what is out of date (config "notebooks"), whose records it has removed,
# so a missing done.json is the one reason to execute. Records lie in data/runs/<tag>, one tag for each seed.
#
# Pods (config "storage") share a volume, but Snakemake takes them to share nothing: it keeps records in a storage, whose
# root is the checkout on that volume, and wants a copy of its own of each. All other files go to the volume directly.
import sys
from collections import Counter

from lib.runner.own_data import given_files, own_key
from lib.runner.plan import CODE, plan
from lib.core.paths import root

which = {"scale": config["scale"], "cohort": config["cohort"]}
seeds = [int(seed) for seed in str(config["seeds"]).split(",")]
which["own"] = own_key(which["cohort"], given_files())
notebooks = [n for seed in seeds for n in plan(tuple(config["papers"].split(",")), **which, seed=seed)]
by_name = {(n.run_folder.name, n.paper, n.name): n for n in notebooks}
wanted = config["notebooks"].split(",")
is_stored = bool(config["storage"])
# From the working folder, data/runs/<tag>: the name of the checkout may hold braces, which would be wildcards.
runs = "data/runs" if is_stored else ".."
logs = f"{root()}/data/runs" if is_stored else ".."


def asked(wildcards):
    return by_name[wildcards.tag, wildcards.paper, wildcards.notebook]


def before(notebook):
    return {*notebook.needs, *(earlier for need in notebook.needs for earlier in before(need))}


waiting = Counter(earlier for notebook in notebooks for earlier in before(notebook))


def done(notebook):
    return f"{runs}/{notebook.run_folder.name}/{notebook}/done.json"


rule all:
    localrule: True
    input:
        [done(notebook) for notebook in notebooks if f"{notebook.run_folder.name}/{notebook}" in wanted],


rule notebook:
    input:
        lambda wildcards: [done(need) for need in asked(wildcards).needs],
    output:
        f"{runs}/{{tag}}/{{paper}}/{{notebook}}/done.json",
    log:
        local(f"{logs}/{{tag}}/log/{{paper}}/{{notebook}}.log"),
    wildcard_constraints:
        tag="[^/]+",
        paper="[^/]+",
        notebook="(?!01_)[^/]+",
    threads: int(config["threads"])
    priority: lambda wildcards: waiting[asked(wildcards)]  # short notebooks, for which none waits, fill up the end
    params:
        python=lambda _: sys.executable,
        code=lambda _: CODE,
        record=lambda wildcards: asked(wildcards).record("done"),
        run=lambda wildcards: f"--scale {config['scale']} --cohort {config['cohort']} --seed {asked(wildcards).seed}",
        # The setting of the scale; at paper, where no sum is the same on two machines, what a cluster's profile gives.
        threads=lambda _, threads: threads if config["scale"] == "paper" and config["cluster"] else config["threads"],
        start=("" if is_stored else "exec") + " env SUITE_TRAIN=1" * config["train"],
        parent="$$" if is_stored else "$PPID",
    shell:
        "exec >{log:q} 2>&1; here=$PWD; cd {params.code:q}; {params.start} {params.python:q} -m lib.runner "
        "{wildcards.paper} {wildcards.notebook} {params.run} --threads {params.threads} --parent {params.parent}; "
        'cp {params.record:q} "$here"/{output:q}'


use rule notebook as train with:
    wildcard_constraints:
        tag="[^/]+",
        paper="[^/]+",
        notebook="01_[^/]+",
