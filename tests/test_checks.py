"""What checks a change: the same tools in continuous integration, before a commit, and among the pinned packages."""

import re
import tomllib

import yaml

from tests.paths import ROOT


def hooks() -> list[str]:
    """The commands of pre-commit's hooks."""
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    return [hook["entry"] for hook in local["hooks"]]


def test_hooks_run_what_continuous_integration_runs():
    checks = re.findall(r'"\$python" -m ((?:ruff|mypy).*)', (ROOT / "run_all.sh").read_text())
    assert [check.split(" --check")[0].removesuffix(" .") for check in checks] == ["ruff check", "ruff format", "mypy"]
    assert [hook.removesuffix(" --force-exclude") for hook in hooks()][:3] == ["ruff check", "ruff format", "mypy"]
    ci = (ROOT / ".ci" / "run").read_text()
    assert ci.index("./run_all.sh check") < ci.index("./run_all.sh test")


def test_its_tools_are_installed_and_pinned():
    tools = {hook.split()[0] for hook in hooks()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert tools <= set(project["optional-dependencies"]["test"])
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.M)
    assert tools <= set(pinned)
