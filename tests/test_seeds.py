"""docs/seeds.md, what each sentence of the authors' READMEs is here: none is left out, and all that it names is there.

Its commands are parsed, and run: those of `RUN_BY` by the tests named there, the others here, on a handful of images.
"""

import argparse
import importlib
import inspect
import re
import shlex
import sys
from functools import cache
from typing import NamedTuple
from unittest.mock import patch

import h5py
import numpy as np
import pytest
from PIL import Image

from lib import generators
from lib.cohorts.cohort import FILE_KEYS, Cohort
from lib.cohorts.phantoms import iris
from lib.cohorts.public import PUBLIC_COHORTS
from lib.core.paths import SCALES
from lib.experiment.paper import Paper, load_paper
from lib.runner.cli import parse
from lib.runner.settings import check_settings
from tests.paths import ROOT

SEEDS = ROOT.parent / "shared" / "seeds"  # the READMEs come with the workplace, not with the project
README = {  # paper -> how its file there begins
    "01_han2019_radiographs": "004",
    "02_sun2021_vertebrae": "001",
    "03_montenegro2021_cases": "000",
    "04_pennisi2023_walk": "003",
    "05_osuala2024_dpsgd": "002",
}
PUBLIC = "tests/cohorts/public/test_public.py::test_prepare_from_a_download_then_open_and_list"
CASES = (
    "tests/anonymise/test_case_files.py::test_every_step_of_the_released_readme_runs_and_cases_come_out_as_they_came_in"
)
WALKS = "tests/anonymise/latent_walk/test_walked_cases.py::test_the_inner_images_of_each_walk_come_out"
RUN_BY = {  # how a command begins -> the tests that run it; all of its options stand in their files
    "lib.anonymise walk": [WALKS],
    "lib.anonymise": [CASES],
    "lib.cohorts prepare nih_cxr14": [PUBLIC, "tests/cohorts/public/test_nih_cxr14.py::test_the_official_release"],
    "lib.cohorts prepare chexpert": [PUBLIC, "tests/cohorts/public/test_chexpert.py::test_the_official_layout"],
    "lib.cohorts prepare rsna": [PUBLIC, "tests/cohorts/public/test_rsna.py::test_the_official_layout"],
    "lib.cohorts prepare shenzhen": [PUBLIC, "tests/cohorts/public/test_shenzhen.py::test_shenzhen_layout"],
    "lib.cohorts prepare aptos": [PUBLIC, "tests/cohorts/public/test_aptos.py::test_aptos_layout"],
    "lib.cohorts prepare pgan_release": ["tests/cohorts/public/test_pgan_release.py::test_prepare_then_open_and_list"],
    "lib.cohorts prepare cbis_ddsm": [PUBLIC, "tests/cohorts/public/test_cbis_ddsm.py::test_the_three_mass_cohorts"],
    "lib.release": [
        "tests/release/test_release.py::test_noise_is_released_only_against_its_checks_and_the_card_says_so_first"
    ],
    "lib.report": [
        "tests/report/test_page.py::test_the_command_prints_where_the_page_lies_and_opens_it",
        "tests/report/test_page.py::test_the_page_of_the_reference_has_its_records_and_misses_no_pdf",
    ],
    "lib.training.gan.fedgan_flower": [
        "tests/training/gan/test_fedgan_flower.py::test_processes_give_the_weights_of_the_simulation"
    ],
}
SMALL = {"--n": "3", "--size": "8"}  # in place of what the table says
DATA_SETS = {"images", "masks", "regions", *FILE_KEYS.values()}


class Row(NamedTuple):
    """A row of a table: lines `first` to `last` of a README, what it says there, and what does it here."""

    paper: str
    first: int
    last: int
    says: str
    here: str


@cache
def rows() -> list[Row]:
    """Every row of every table, in order. ValueError for a line of a table that is none."""
    found, paper = [], ""
    for line in (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8").splitlines():
        paper = line.removeprefix("## ") if line.startswith("## ") else paper
        if not line.startswith("|") or line in ("| lines | its README | here |", "|---|---|---|"):
            continue
        cells = re.fullmatch(r"\| (\d+)(?:–(\d+))? \| (.+) \| (.+) \|", line)
        if not cells or "|" in cells[3] + cells[4]:
            raise ValueError(f"no row: {line}")
        found.append(Row(paper, int(cells[1]), int(cells[2] or cells[1]), cells[3], cells[4]))
    return found


def commands(text: str) -> list[str]:
    """The command lines in `text` that are given whole."""
    return [span for span in spans(text) if span.startswith(("python -m ", "./run_all.sh "))]


def spans(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


class Parsed(Exception):
    """A command line was parsed, by `parser`."""

    def __init__(self, parser: argparse.ArgumentParser):
        self.parser = parser


@pytest.fixture
def at_hand(tmp_path, monkeypatch):
    """A working folder in which a command finds the user's files, empty ones."""
    monkeypatch.chdir(tmp_path)
    for name in ("cohort.h5", "UNITS9.h5"):
        (tmp_path / name).touch()


def called(command: str) -> int:
    """The exit code of `python -m MODULE WORDS…`, run in this process."""
    module, *words = shlex.split(command.removeprefix("python -m "))
    package = importlib.util.find_spec(module).submodule_search_locations is not None
    main = importlib.import_module(f"{module}.__main__" if package else module).main
    with patch.object(sys, "argv", [module, *words]):
        return main(words) if inspect.signature(main).parameters else main()


@cache
def options_of(command: str) -> set[str]:
    """The options that `command` could have. SystemExit or ValueError if it cannot be parsed, or a setting is none."""
    if command.startswith("./run_all.sh "):
        asked = parse(shlex.split(command)[1:])
        check_settings(asked.settings, asked.papers, asked.scale)
        return {"--data", "--masks", "--set", "--train", "--cohort"}
    whole = argparse.ArgumentParser.parse_args

    def only_parse(parser, *arguments, **options):
        whole(parser, *arguments, **options)
        raise Parsed(parser)

    with patch.object(argparse.ArgumentParser, "parse_args", only_parse), pytest.raises(Parsed) as caught:
        called(command)
    parsers = [caught.value.parser]
    for action in caught.value.parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += [action.choices[command.split()[3]]]
    return {option for parser in parsers for action in parser._actions for option in action.option_strings}


@cache
def paper_of(name: str) -> Paper:
    """What the paper.yaml of `name` says."""
    return load_paper(ROOT / "notebooks" / name)


def is_there(name: str) -> bool:
    """Whether `name` is a module, or something in one."""
    for cut in range(name.count(".") + 1):
        module, *inside = name.rsplit(".", cut) if cut else (name,)
        if importlib.util.find_spec(module.split(".")[0]) is None:
            return False
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        return all((found := getattr(found, part, None)) is not None for part in inside)
    return False


def unknown(span: str, name: str, near: list[str]) -> str:
    """Why `span`, in the column `here`, is nothing that is there; empty where it is. near: commands it may be of."""
    paper = paper_of(name)
    if span in commands(f"`{span}`"):
        options_of(span)
        return ""
    if span.startswith("--set "):
        options_of(f"./run_all.sh paper {name} --cohort public {span}")
        return ""
    if span.startswith("--"):
        there = any(span.split()[0] in options_of(command) for command in near)
        return "" if there else f"{span} is no option of {near}"
    if span.startswith("lib."):
        return "" if is_there(span) else f"{span} is not there"
    if re.fullmatch(r"\d\d_\w+", span):
        return "" if span in paper.notebooks else f"{span} is no notebook of {name}"
    if re.match(r"(fig|tab)\w*\d", span) or re.match(r"(fig|tab)_", span):
        return "" if span in paper.items else f"{span} is no item of {name}"
    known = {*SCALES, *PUBLIC_COHORTS, *Paper.model_fields, "cite", *paper.settings, *DATA_SETS}
    if span in known or any(span in shlex.split(command) for command in near):
        return ""
    return "" if (ROOT / span).exists() else f"{span} is no file, setting or word of {near}"


@pytest.mark.slow  # the first of them imports what all commands do
@pytest.mark.parametrize("name", README)
def test_all_that_the_table_names_is_there(name, at_hand):
    paper, wrong, last = paper_of(name), [], []
    for row in (row for row in rows() if row.paper == name):
        near = last + commands(row.here)
        named = 0
        for number, where in re.findall(r"[Dd]eviation (\d+) \(([^()]+)\)", row.here):
            named += 1
            if int(number) > len(paper.deviations) or paper.deviations[int(number) - 1].where != where:
                wrong.append(f"line {row.first}: deviation {number} is not {where}")
        for span in spans(row.here):
            named += 1
            if problem := unknown(span, name, near):
                wrong.append(f"line {row.first}: {problem}")
        if not named and not re.search(r"not here: \w+ \w+", row.here):
            wrong.append(f"line {row.first}: nothing is named, and no reason given")
        last = commands(row.here)[-1:] or last
    assert wrong == []


@pytest.mark.parametrize("wrong", ["`--nonsense`", "`lib.nothing`", "`fig9_none`", "`09_none`", "`NONE.h5`"])
def test_what_is_not_there_is_seen(wrong):
    assert unknown(wrong.strip("`"), "02_sun2021_vertebrae", ["python -m lib.generators list"])


@pytest.mark.parametrize("wrong", ["python -m lib.generators sample --oops", "python -m lib.anonymise apply CASES.h5"])
def test_a_command_that_cannot_be_parsed_is_seen(wrong):
    with pytest.raises(SystemExit):
        options_of(wrong)


def test_a_setting_that_a_paper_lacks_is_seen():
    with pytest.raises(ValueError, match="no setting 'oops'"):
        options_of("./run_all.sh demo 02_sun2021_vertebrae --set oops=1")


def test_every_paper_has_a_table_with_rising_lines():
    assert list(dict.fromkeys(row.paper for row in rows())) == list(README)
    for name in README:
        lines = [(row.first, row.last) for row in rows() if row.paper == name]
        assert lines == sorted(lines)
        assert all(first <= last for first, last in lines)


@pytest.mark.parametrize("name", README)
def test_no_line_option_or_script_of_a_readme_is_left_out(name):
    if not SEEDS.is_dir():
        pytest.skip(f"{SEEDS} is not there: the authors' READMEs come with the workplace, not with the project")
    [path] = SEEDS.glob(f"{README[name]}_*.txt")
    wrong = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        says = " ".join(row.says for row in rows() if row.paper == name and row.first <= number <= row.last)
        if line.strip() and not says:
            wrong.append(f"{number}: {line[:60]}")
        asked = re.findall(r"python (?:-m )?(?!code\b)[\w./-]+|--? ?[a-z]\w+(?= \|)", line)
        asked += re.findall(r"[\w-]+\.(?:py|ipynb|sh|json|yaml|yml|xlsx|png|h5)\b", line)
        wrong += [f"{number}: {name}" for name in asked if name not in says]
    assert wrong == []


def missing_tests(command: str) -> list[str] | None:
    """Of a command of `RUN_BY` the tests and options that are not there; None for a command that is run here."""
    words = command.removeprefix("python -m ")
    tests = next((tests for start, tests in RUN_BY.items() if f"{words} ".startswith(f"{start} ")), None)
    if tests is None:
        return None
    texts = {test: (ROOT / test.split("::")[0]).read_text(encoding="utf-8") for test in tests}
    missing = [test for test, text in texts.items() if not re.search(rf"def {test.split('::')[1]}\(", text)]
    words_run = [word for word in words.split() if word.startswith("--") or word in ("pp-mir", "pp-sir", "identity")]
    return missing + [word for word in words_run if not any(word in text for text in texts.values())]


def every_command() -> list[str]:
    """The commands of lib in all tables, each once."""
    found = [command for row in rows() for command in commands(row.here)]
    return list(dict.fromkeys(command for command in found if command.startswith("python")))


def test_what_is_not_run_here_is_run_by_a_test_that_is_there():
    missing = {command: missing_tests(command) for command in every_command()}
    assert {command: problems for command, problems in missing.items() if problems} == {}
    assert [start for start in RUN_BY if not any(f"{c} ".startswith(f"python -m {start} ") for c in missing)] == []


@pytest.mark.slow
def test_the_other_commands_run_on_a_handful_of_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "IMAGES").mkdir()
    names = [f"{number}.png" for number in range(24)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path / "IMAGES" / name)
    findings = rng.integers(0, 2, (24, 2))
    lines = [f"{name},{name},{a},{b}" for name, (a, b) in zip(names, findings, strict=True)]
    (tmp_path / "TABLE.csv").write_text("\n".join(["file,patient,edema,mass", *lines]), encoding="utf-8")
    cases = iris.draw(patients=3, images=4, image_size=32, rng=rng)
    for name, array in (("images", cases.images), ("masks", 255 * cases.masks)):
        with h5py.File(tmp_path / {"images": "CASES.h5", "masks": "MASKS.h5"}[name], "w") as file:
            file[name] = array[:]
            file["id"], file["dis"], file["set"] = cases.patient, cases.labels, cases.split
    stand_in = generators.load("mcgan-phantom")  # for 58 MB of weights that a user downloads
    monkeypatch.setitem(generators.PUBLISHED, "mcgan-published", (lambda: stand_in, ("malignant", "benign")))
    run = set()
    for command in every_command():
        words = shlex.split(command)
        small = shlex.join(SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False))
        if missing_tests(command) is not None or small in run:
            continue
        if "--labels-of" in words:
            made = Cohort.open("cohort.h5")
            sizes = {"total_kimg": 0.052, "level_kimg": 0.012, "fade_kimg": 0.008, "batch": 4, "latent": 8}
            generators.train(
                "progan", made.images[:], made.labels, path="FOLDER", seed=0, maps=(4, 16),
                progress=lambda done, **losses: None, **sizes,
            )  # fmt: skip
        out = re.search(r"(?:--out|-o) (\S+)", small)
        assert not out or not (tmp_path / out[1]).exists(), f"two commands write the same file: {small}"
        assert called(small) == 0, small
        assert not out or (tmp_path / out[1]).exists(), small
        run.add(small)
    again, made = Cohort.open("again.h5"), Cohort.open("cohort.h5")
    np.testing.assert_array_equal(again.labels, made.subset("train").labels)
    assert len(run) >= 8
