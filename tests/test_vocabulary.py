"""The field's words, in all that is read: code, notebooks, tests, benchmarks, scripts and texts.

`WORDS` are the private words that the suite once had, each with what to write instead. `EXCEPTIONS` are the places
where the same letters are another word, or a name that must stay. Names of random streams stay as they are, since they
decide the draws: strings given to `STREAMS`, or called a stream, are not read.
"""

import ast
import json
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

from tests.paths import ROOT

# Old words of a verdict where they are one: a string, a heading, a cell of a table. "Reproduced" is else a plain word.
OLD_VERDICTS = (
    r"[\"'](not reproduced|reproduced|direction only)[\"']|(?m:^)#{1,6} [^\n]*\breproduced"
    r"|<(h[1-6]|t[hd])\b[^>]*>[^<]*\breproduced|\|[^|\n]*\breproduced\b[^|\n]*(?=\|)"
)
WORDS = {  # not within a longer word; case counts where the pattern has a capital
    r"films?": "radiograph, image",
    r"redr[aeo]w\w*": "anonymise; reconstruct where identity is kept",
    r"memorisers?": "memorising generator (positive control)",
    r"strangers?": "negative control (disjoint patients)",
    r"independent[ _](sets?|patients?|people)|\"independent\"|independent(?==)": "negative control (disjoint patients)",
    r"other patients": "disjoint patients",
    r"(is|are|was|were) caught|clean bills?|harmless sets?": "detected, not detected, null",
    r"suspects?": "candidate",
    r"(re)?plant(s|ed|ing)?": "inject copies, contaminate",
    r"arms?": "condition",
    r"recognisers?": "identity classifier, finding classifier",
    r"readers?": "evaluation classifier",
    r"innocents?": "null",
    r"betray\w*|acquit\w*|accus\w*|convict\w*": "detected, not detected",
    r"suspicio\w*": "rank by distance ratio",
    r"dealt|deals?|dealing": "matched split; randomly permuted",
    r"_?Adversaries|adversaries": "DCGANTrainer and the like",
    r"judg\w*": "validate, evaluate, record",
    r"zygotes?": "fork server",
    r"knobs?": "setting",
    r"bars?": "acceptance threshold",
    r"Examples": "DeviceDataset",
    r"Guides?": "AuxiliaryLosses, FrozenClassifier",
    r"too_near": "margin_loss",
    r"evidence_error": "masked_mse",
    r"surroundings_(error|weight)": "background_mse, background_weight",
    r"divergence_from_normal": "kl_to_standard_normal",
    r"singular[ _]match\w*": "distance-ratio outlier",
    r"logits_of": "predict_logits",
    r"train_(gan|progressive|stylegan|redrawing)": "train_dcgan, train_progan, train_stylegan2, train_pp_vaegan",
    r"(def |import |distributed\.)(told|agree|alone)": "broadcast, assert_equal_across_ranks, no_sync",
    OLD_VERDICTS: "replicated and the other VERDICTS of lib.experiment.verdict",
}

ANY = "*"
EXCEPTIONS = (  # files, what may stand there, and why
    ("lib/cohorts/phantoms/mass.py", r"\"film\"|0 film, 1 digital", "a mammogram on film, digitised later"),
    ("notebooks/00_cohorts/01_phantoms.ipynb", r"\"film\"|screen[-_]film|film borders", "mammograms on film"),
    ("lib/cohorts/phantoms/chest_rendering.py", r"\barm\b", "the arm of a patient"),
    ("lib/cohorts/phantoms/chest*.py", r"\"knob\"", "the aortic knob, a bulge of the heart's outline"),
    ("lib/cohorts/phantoms/chest*.py", r"\"bar\"|\bbars\b", "the black bars beside a radiograph of another shape"),
    (ANY, r"(the|neither on) other patients", "all patients but those named, of one cohort"),
    ("lib/metrics/privacy/copying/copy_test.py", r"those of other patients", "patients of one cohort"),
    ("lib/statistics/permutation.py", r"by other patients", "permutations of the same patients"),
    ("tests/cohorts/phantoms/test_mass.py", r"like film\b|\"film, digital\"", "a mammogram on film, digitised later"),
    ("tests/cohorts/phantoms/test_chest.py", r"\bbars cut away", "the black bars beside a radiograph"),
    ("*/plots/*.py", r"bars?", "the bars of a chart"),
    ("tests/*", r"published bars|\bBARS\b|\bbars?\b(?=\.| = (by_|pd)|\[)|_bars_", "the bars of the published charts"),
    ("lib/report/page.html", r"\.bar\b|\"bar\"|\bbar\(paper\)", "the bars of a chart"),
    ("notebooks/*", r"\bbars(: 95 %| ± | over 3 seeds| are over patients)|colorbar", "the bars of a chart"),
    (
        "notebooks/*",
        r"\bbar(?= = figure\.)|\bbar\.(set_ticks|outline)|verdict_bars|\bbars - of\b",
        "the bars of a chart",
    ),
    (
        "notebooks/01_han2019_radiographs/*",
        r"bars\b|_bars_|\bbar_mean|bar\b(?=\": max)",
        "the bars of the published charts",
    ),
    ("lib/metrics/utility/diagnostic.py", r"published bars", "the bars of the published charts"),
    ("lib/runner/notebook.py", r"progress_bar", "papermill's word"),
    (ANY, r"[Aa] reader (here )?(sees|says|writes)|for a reader:", "who reads a table or a page"),
    (
        ANY,
        r"csv\.(Dict)?[Rr]eader|makes? the readers? raise|\(readers, fetching\)|readers of all|_dicom_reader",
        "what reads a file",
    ),
    ("lib/runner/fork_server/server.py", r"\breader\b", "the end of a pipe that is read"),
    ("docs/seeds.md", r"`train_gan\.py`", "a file of the authors of Osuala 2024"),
    ("notebooks/01_han2019_radiographs/*", r"reader study|\breaders\b", "radiologists, as in the paper"),
    ("notebooks/comparison/01_train.ipynb", r"partial\(fit, evaluating, \"reader\"", "the name of a random stream"),
    ("lib/comparison/methods.py", r"_walks\(of, \"films\"", "the name of a random stream"),
)
STREAMS = {"seed_of", "torch_generator", "numpy_generator", "initialising", "normal_noise"}


def words(text: str) -> list[str]:
    """The private words in `text`, as they stand there; a name in camel case or with underscores is several words."""
    text = text.replace("\\n", " ")  # a line break written in a string: "training\\nfilms" holds a word
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "\N{WORD JOINER}", text)
    found = []
    for pattern in WORDS:
        flags = 0 if re.search("[A-Z]", pattern) else re.IGNORECASE
        found += [match[0] for match in re.finditer(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z0-9])", apart, flags)]
    return found


def without_streams(code: str) -> str:
    """Python `code` with the names of random streams blanked."""
    lines = [bytearray(line.encode()) for line in code.splitlines()]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in STREAMS:
            holders = [*node.args, *node.keywords]
        elif isinstance(node, ast.Assign) and any("stream" in ast.unparse(target).lower() for target in node.targets):
            holders = [node.value]
        elif isinstance(node, ast.keyword) and "stream" in (node.arg or ""):
            holders = [node.value]
        else:
            continue
        for leaf in (leaf for holder in holders for leaf in ast.walk(holder)):
            if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str) and leaf.lineno == leaf.end_lineno:
                place = slice(leaf.col_offset, leaf.end_col_offset)
                lines[leaf.lineno - 1][place] = b" " * len(lines[leaf.lineno - 1][place])
    return "\n".join(line.decode() for line in lines)


@cache
def passages(path: Path) -> list[tuple[str, str]]:
    """Where a line stands, and the line, of a module, a notebook or a text."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = enumerate(json.loads(text)["cells"])
        parts = [(f"cell {i}, ", cell["cell_type"], "".join(cell["source"])) for i, cell in cells]
    else:
        parts = [("", "code" if path.suffix == ".py" else "text", text)]
    return [
        (f"{where}line {number}", line)
        for where, kind, part in parts
        for number, line in enumerate((without_streams(part) if kind == "code" else part).splitlines(), 1)
    ]


def excepted(name: str, line: str) -> str:
    """`line` of file `name` without what may stand there."""
    for files, pattern, _ in EXCEPTIONS:
        if fnmatch(name, files):
            line = re.sub(pattern, " ", line)
    return line


READ = [
    *(path for path in sorted((ROOT / "lib").rglob("*")) if path.suffix in (".py", ".html")),
    *(path for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__)),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    *sorted(ROOT.glob("notebooks/*/*.ipynb")),
    *sorted(ROOT.glob("notebooks/*/paper.yaml")),
    *(ROOT / name for name in ("Snakefile", "run_all.sh", ".ci/run", "README.md", "CONTRIBUTING.md", "data/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]


@pytest.mark.parametrize("path", READ, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_words_are_the_fields(path):
    name = str(path.relative_to(ROOT))
    lines = passages(path) if words("\n".join(line for _, line in passages(path))) else []  # most files hold none
    found = [(where, word) for where, line in lines for word in words(excepted(name, line))]
    assert [f"{name}, {where}: {word}" for where, word in found] == []


@pytest.mark.parametrize("exception", EXCEPTIONS, ids=lambda exception: exception[1])
def test_each_exception_is_needed(exception):
    files, pattern, why = exception
    lines = [line for path in READ if fnmatch(str(path.relative_to(ROOT)), files) for _, line in passages(path)]
    assert why
    assert any(words(line) != words(re.sub(pattern, " ", line)) for line in lines if re.search(pattern, line))


@pytest.mark.parametrize(
    "text",
    [
        "The films of a patient", "n_films = 3", "redrawn radiographs", "def _redraw(self)", "a memoriser",
        r"training\nfilms",
        "given strangers", "planted copies", "replanted", "Planting", "class PlantedCopies", "both arms", "arm_of",
        "the recogniser", "a reader trained on it", "innocent splits", "what betrays it", "acquitted", "accusation",
        "convicts", "suspicion(ratio)", "suspicious", "dealt anew", "deal(patients)", "class Adversaries",
        "_Adversaries(x)", "adversaries.step()", "it judges", "judgement", "JUDGED", "zygote", "three knobs",
        "below the bar", "chance_bar", "ChanceBar", "lib.training.loop.dataset.Examples", "guidance.Guide(x)",
        "losses.too_near(a)", "evidence_error", "surroundings_error", "divergence_from_normal", "singular_matches",
        "logits_of(model)", "train_progressive(x)", "def told(value):", "distributed.agree(x)", "import alone",
        "ten independent sets", "independent_sets", 'sets["independent"]', "controls(x, independent=y)",
        "images of other patients", "a copy is caught", "a clean bill", "class Suspects", "surroundings_weight",
        '{"verdict": "reproduced"}', "counts['direction only']", "## What was reproduced",
        "| 05 | not reproduced | 3 |", '<th scope="col">Reproduced</th>', "<h2>What was reproduced</h2>",
    ],
)  # fmt: skip
def test_a_private_word_is_seen(text):
    assert words(text)


@pytest.mark.parametrize(
    "text",
    [
        "Filming filmy", "a plantar view", "implanted wires", "armed, alarms, harm, charm", "examples, batch",
        "ax.barh(x), errorbar, colorbar", "ideally, a dealer", "the adversary of DP-SGD", "guided by", "an agreement",
        "all agree (of both)", "left alone (2)", "readership", "foretold(x)", "a fitted distance, too near",
        "independent values", "images are independent", "as caught", "its surroundings",
        "every figure is reproduced from its records", "what cannot be reproduced here, and why", "a | b reproduced",
    ],
)  # fmt: skip
def test_the_same_letters_in_other_words_pass(text):
    assert words(text) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*/specification.md")), ids=lambda path: path.parent.name)
def test_a_specification_gives_no_old_verdict(path):
    found = re.finditer(OLD_VERDICTS, path.read_text(encoding="utf-8"), re.IGNORECASE)
    assert [match[0] for match in found] == []


def test_names_of_random_streams_are_not_read_and_all_else_is():
    code = """
rng, kept = numpy_generator(seed, "films", f"reader {k}"), "films"
with seeding.initialising(settings["seed"], "redrawing", "step", step): other("arms")
STREAMS = {"injected": "planted"}
train(stream="judge", name="knob")
"""
    assert sorted(words(without_streams(code))) == ["arms", "films", "knob"]
    assert len(words(code)) > 3


def test_an_exception_holds_in_its_own_files_only():
    line = 'known = {"knob": radius}'
    assert words(excepted("lib/cohorts/phantoms/chest.py", line)) == []
    assert words(excepted("lib/training/gan/progan.py", line)) == ["knob"]
