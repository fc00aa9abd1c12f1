"""The profiles of SLURM and Kubernetes: what they ask for, and what Snakemake's own executors plan with them."""

import importlib.util
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from tests.paths import ROOT

EXECUTORS = ("slurm", "kubernetes")
RULES = set(re.findall(r"^rule (\w+)|as (\w+) with", (ROOT / "Snakefile").read_text(), re.M)) - {("all", "")}


def profile(executor: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / executor / "config.yaml").read_text())


def asked(executor: str, rule: str, resource: str, scale: str, notebook: str):
    """The value of a resource for a notebook, as Snakemake evaluates it."""
    value = profile(executor)["set-resources"][rule][resource]
    wildcards = SimpleNamespace(tag=f"{scale}-phantom-seed1", paper="01_p", notebook=notebook)
    return eval(value, {"wildcards": wildcards}) if isinstance(value, str) else value


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_profile_names_rules_that_exist(executor):
    rules = {name for pair in RULES for name in pair if name}
    assert rules == {"notebook", "train"}
    assert set(profile(executor)["set-resources"]) == set(profile(executor)["set-threads"]) == rules


@pytest.mark.parametrize("executor", EXECUTORS)
def test_gpus_are_for_trainings_at_scale_paper(executor):
    assert asked(executor, "train", "gpu", "paper", "01_train") == 1
    assert asked(executor, "notebook", "gpu", "paper", "05_utility") == 1
    assert asked(executor, "notebook", "gpu", "paper", "02_fidelity") == 0
    assert asked(executor, "train", "gpu", "demo", "01_train") == 0
    assert asked(executor, "train", "mem_mb", "paper", "01_train") >= 16_000


def test_a_job_of_slurm_has_a_time_limit():
    limits = [asked("slurm", rule, "runtime", scale, "01_train") for rule in ("train", "notebook")
              for scale in ("smoke", "demo", "paper")]  # fmt: skip
    assert all(isinstance(minutes, int) and 10 <= minutes <= 7 * 24 * 60 for minutes in limits)


def test_a_pod_finds_the_code_and_its_environment_on_the_volume():
    image = (ROOT / "profiles/kubernetes/Dockerfile").read_text()
    (volume,) = profile("kubernetes")["kubernetes-persistent-volumes"]
    mounted = volume.split(":")[1]
    assert profile("kubernetes")["default-storage-prefix"] == mounted
    assert f"PYTHONPATH={mounted} SUITE_ROOT={mounted}" in image
    for copied in re.findall(r"^COPY (.*) /environment", image, re.M):
        assert all((ROOT / name).exists() for name in copied.split())


@pytest.mark.parametrize("executor", EXECUTORS)
def test_dry_run_with_the_plugin(tmp_path, executor):
    """`./run_all.sh paper --cohort phantom --executor E --dry-run`, which needs neither a cluster nor an account."""
    for plugin in (f"executor_plugin_{executor}", *(["storage_plugin_fs"] if executor == "kubernetes" else [])):
        if importlib.util.find_spec(f"snakemake_{plugin}") is None:
            pytest.skip(f"snakemake_{plugin} is not installed: pip install '.[cluster]'")
    folder = tmp_path / "notebooks" / "01_p"
    folder.mkdir(parents=True)
    notebooks = {"01_train": [], "02_fidelity": ["01_train"]}
    content = {"title": "p", "cite": "", "cohorts": {"phantom": "mass"}, "notebooks": notebooks}
    (folder / "paper.yaml").write_text(yaml.safe_dump(content))
    for name in notebooks:
        (folder / f"{name}.ipynb").write_text('{"cells": []}')
    command = [
        sys.executable,
        "-m",
        "lib.runner.suite",
        "paper",
        "--cohort",
        "phantom",
        "--seeds",
        "0-1",
        "--executor",
        executor,
        "--dry-run",
    ]
    env = os.environ | {"SUITE_ROOT": str(tmp_path)}
    made = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    output = made.stdout + made.stderr
    assert made.returncode == 0, output
    for seed in ("", "-seed1"):
        assert re.search(rf"rule train:.*?paper-phantom{seed}/01_p/01_train/done.json.*?gpu=1", output, re.S)
        assert re.search(rf"rule notebook:.*?paper-phantom{seed}/01_p/02_fidelity/done.json.*?gpu=0", output, re.S)
    assert re.search(r"train +2\nnotebook +2|notebook +2\ntrain +2", output)
