"""The words of a command, in any order, and what is refused."""

from types import SimpleNamespace

import pytest

import lib.experiment.paper
import lib.experiment.run
from lib.runner import cli as arguments
from lib.runner.suite import _require_cohort


class TestArguments:
    @pytest.fixture(autouse=True)
    def _papers(self, monkeypatch):
        monkeypatch.setattr(arguments, "known_papers", lambda: ["01_a", "02_b"])

    def test_defaults(self):
        read = arguments.parse([])
        assert (read.scale, read.papers, read.all_papers) == ("demo", ("01_a", "02_b"), True)
        assert (read.cohort, read.seeds) == ("phantom", (0,))

    @pytest.mark.parametrize(("text", "seeds"), [("7", (7,)), ("0-2", (0, 1, 2)), ("3,0,5-6,0", (3, 0, 5, 6))])
    def test_several_seeds(self, text, seeds):
        assert arguments.parse(["--seeds", text]).seeds == arguments.parse([f"--seed={text}"]).seeds == seeds

    def test_in_any_order(self):
        read = arguments.parse(
            "--jobs 2 notebooks/02_b/ --seed=4 paper --cohort public --executor slurm -- -k x".split()
        )
        assert (read.scale, read.papers, read.jobs, read.seeds) == ("paper", ("02_b",), 2, (4,))
        assert (read.executor, read.snakemake, read.all_papers) == ("slurm", ("-k", "x"), False)
        assert read.cohort == "public"

    @pytest.mark.parametrize("words", [["paper"], ["paper", "02_b", "--seed", "1"], ["--dry-run", "paper"]])
    def test_the_scale_paper_is_told_on_whose_images(self, words):
        with pytest.raises(ValueError, match="--cohort public, or --cohort phantom"):
            arguments.parse(words)
        for cohort in arguments.COHORTS:
            assert arguments.parse([*words, "--cohort", cohort]).cohort == cohort

    def test_a_rehearsal_draws_phantoms(self):
        read = arguments.parse(["paper", "--rehearse"])
        assert (read.rehearse, read.cohort, read.scale) == (True, "phantom", "paper")

    @pytest.mark.parametrize("words", [[], ["demo"], ["paper", "--cohort", "public"], ["paper", "--executor", "slurm"]])
    def test_a_rehearsal_is_of_the_scale_paper_here(self, words):
        with pytest.raises(ValueError, match="--rehearse draws phantoms in published numbers, here"):
            arguments.parse([*words, "--rehearse"])

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["smok"], "unknown scale or paper 'smok': scales are smoke, demo, study, paper; papers are 01_a, 02_b"),
            (["demo", "smoke"], "two scales"),
            (["--cohort", "private"], "unknown cohort 'private': choose one of phantom, public"),
            (["--sed", "3"], "unknown option --sed: known are --help, --cohort, --seed"),
            (["--seed", "-1"], "seed '-1': give a whole number from 0"),
            (["--seeds", "4-0"], "seed '4-0': give a whole number from 0, or several: 0-4, or 0,2,5"),
            (["--jobs", "0"], "jobs '0': give a whole number from 1"),
        ],
    )
    def test_refuses_what_is_not_known(self, words, says):
        with pytest.raises(ValueError, match=says):
            arguments.parse(words)

    def test_knows_the_scales_and_cohorts_of_the_suite(self):
        assert (arguments.SCALES, arguments.COHORTS) == (lib.experiment.paper.SCALES, lib.experiment.paper.COHORTS)


@pytest.mark.parametrize(
    ("papers", "all_papers", "closing", "says"),
    [
        (("01_p",), False, [], "of 01_p: scales: and cohorts: in its paper.yaml say what does"),
        (("01_p", "08_card"), True, ["08_card"], "of 01_p: scales"),  # a scorecard of nothing
        (("01_p", "02_q"), False, ["02_q"], "of 01_p: scales"),
    ],
)
def test_what_runs_nowhere_is_refused(papers, all_papers, closing, says):
    arguments = SimpleNamespace(papers=papers, all_papers=all_papers, scale="study", cohort="phantom")
    notebooks = [SimpleNamespace(paper=paper, closing=True) for paper in closing]
    with pytest.raises(ValueError, match=f"nothing runs at scale study on the cohort phantom {says}"):
        _require_cohort(arguments, notebooks)


def test_a_paper_without_the_scale_is_left_out_of_all():
    arguments = SimpleNamespace(papers=("01_p", "02_q"), all_papers=True, scale="study", cohort="phantom")
    _require_cohort(arguments, [SimpleNamespace(paper="01_p", closing=False)])
