"""run_all.sh makes and completes its environment."""

import shutil
import subprocess

import pytest

from lib.runner import environment
from tests.paths import ROOT


class TestSettingUp:
    """run_all.sh with a stand-in for Python that makes and fills environments by writing a log."""

    STAND_IN = """#!/usr/bin/env bash
[[ $1 == -c ]] || echo "$(dirname "$0") $*" >>log
case "$*" in
    -c*) exit "$(cat old 2>/dev/null || echo 0)" ;;
    "-m lib.runner.environment"*) echo "without torch"; exit 1 ;;
    "-m venv .venv") mkdir -p .venv/bin .venv/lib/python3/site-packages/{half,whole}.dist-info
        touch .venv/lib/python3/site-packages/whole.dist-info/RECORD; cp "$0" .venv/bin/python ;;
    "-m pip install"*) exit "$(cat broken 2>/dev/null || echo 0)" ;;
esac
"""

    @pytest.fixture
    def run(self, tmp_path):
        shutil.copy(ROOT / "run_all.sh", tmp_path)
        (tmp_path / "bin").mkdir()
        for name in ("python", "python3", *(f"python3.{minor}" for minor in range(11, 16))):
            (tmp_path / "bin" / name).write_text(self.STAND_IN)
            (tmp_path / "bin" / name).chmod(0o755)
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "constraints.txt").touch()
        env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}

        def run(*words: str) -> tuple[int, str, str]:
            (tmp_path / "log").unlink(missing_ok=True)
            made = subprocess.run([tmp_path / "run_all.sh", *words], env=env, capture_output=True, text=True, cwd="/")
            log = (tmp_path / "log").read_text() if made.returncode != 2 else ""
            return made.returncode, made.stdout + made.stderr, log

        return run

    def test_once(self, run):
        code, output, log = run("smoke")
        assert (code, output.count("Setting up .venv")) == (0, 1)
        assert ".venv/bin -m pip install -qq --disable-pip-version-check -c constraints.txt -e .[test]" in log
        assert log.endswith(".venv/bin -m lib.runner.suite smoke\n")
        code, output, log = run("test", "-k", "x")
        assert (code, output) == (0, "")
        assert "pip" not in log
        assert log.endswith(".venv/bin -m pytest -p xdist -n 2 --dist loadfile --no-loadscope-reorder -k x\n")

    def test_completes_what_was_cut_off(self, run, tmp_path):
        (tmp_path / "broken").write_text("1")
        code, _, log = run()
        assert code == 1
        assert "lib.runner.suite" not in log
        (tmp_path / "broken").unlink()
        code, _, log = run()
        assert code == 0
        assert "-m venv" not in log
        assert "-m pip install" in log
        assert [path.name for path in (tmp_path / ".venv/lib/python3/site-packages").iterdir()] == ["whole.dist-info"]

    def test_follows_new_constraints(self, run, tmp_path):
        run()
        (tmp_path / "constraints.txt").write_text("torch==2.14.0")
        assert "-m pip install" in run()[2]

    def test_old_python(self, run, tmp_path):
        (tmp_path / "old").write_text("1")
        code, output, _ = run()
        assert code == 2
        assert "needs Python 3.11 or later" in output


def test_environment_has_what_it_needs():
    assert environment.missing(["test"]) == []
