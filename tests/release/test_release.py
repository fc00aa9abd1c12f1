"""A release: what a faithful set that copies nobody becomes, and why another is refused or says so first."""

import json

import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import mass
from lib.core.files import machine
from lib.release import __main__ as command
from lib.release import release as module
from lib.release.checksums import damages
from lib.release.data_card import read_facts
from lib.release.release import release

ENDED = 2**22 + 1  # above the largest number of a process
QUICK = module.THOROUGH._replace(permutations=99, copies=4, shares=(0.2, 1), repeats=2, splits=5)


def drawn(patients: int, seed: int) -> Cohort:
    return mass.draw(patients=patients, image_size=32, rng=np.random.default_rng(seed))


@pytest.fixture(scope="module")
def real() -> dict[str, Cohort]:
    of = drawn(58, 0)
    code = of.patient < 30
    return {"train": of[code], "heldout": of[~code]}


@pytest.fixture(scope="module")
def others() -> Cohort:
    """Masses of further patients: a perfect generator that copies nobody."""
    of = drawn(30, 1)
    return of.with_images(of.images[:], name="made", made_by="a perfect generator")


@pytest.fixture(scope="module")
def made(real, others, tmp_path_factory):
    folder = tmp_path_factory.mktemp("released") / "masses"
    facts = {"origin": "drawn | masses", "licence": "CC0"}
    options = {"formats": ("png",), "settings": QUICK, "anyway": True}
    return release(folder, others, **real, facts=facts, **options), folder


@pytest.mark.slow
class TestReleased:
    def test_the_folder_holds_what_its_card_says(self, made, others):
        outcome, folder = made
        assert outcome.folder == folder
        assert damages(folder) == []
        again = Cohort.open(folder / "images.h5")
        assert again.digest == others.digest
        assert {path.name for path in folder.iterdir()} == {
            "images.h5", "png", "audit.html", "audit.json", "datacard.md", "CHECKSUMS",
        }  # fmt: skip
        assert len(list((folder / "png").glob("*.png"))) == len(others)

    def test_the_card_counts_labels_and_repeats_the_facts(self, made, others):
        card = (made[1] / "datacard.md").read_text(encoding="utf-8")
        assert f"| malignant | {(others.labels == 0).sum()} |" in card
        assert "Trained on: drawn | masses" in card
        assert "Licence: CC0" in card
        assert "Method: a perfect generator" in card
        assert "An audit is no guarantee" in card
        assert "the same by held-out images" in card

    def test_the_audit_is_of_these_files_and_shows_no_patient(self, made):
        record = json.loads((made[1] / "audit.json").read_text(encoding="utf-8"))
        card = (made[1] / "datacard.md").read_text(encoding="utf-8")
        assert record["answer"] == made[0].answer
        assert record["facts"]["digest of the audited images"] in card
        assert record["facts"]["SHA-256 of images.h5"] in card
        assert "pairs" not in record
        assert "Your images" not in (made[1] / "audit.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_copies_are_not_released_and_the_report_stays(real, tmp_path):
    copies = real["train"]
    killed = tmp_path / f"suite-{machine()}-{ENDED}-masses.incomplete"  # of a release whose process is gone
    killed.mkdir()
    outcome = release(tmp_path / "masses", copies, **real, settings=QUICK)
    assert outcome.folder is None
    assert outcome.answer == "leak flagged"
    assert outcome.status.startswith("Not released: the audit says leak flagged")
    assert [path.name for path in tmp_path.iterdir()] == ["masses.audit.html"]


@pytest.mark.slow
def test_noise_is_released_only_against_its_checks_and_the_card_says_so_first(real, others, tmp_path, monkeypatch):
    noise = others.with_images(np.random.default_rng(0).integers(0, 256, others.images.shape, dtype=np.uint8))
    files = {name: str(part.save(tmp_path / f"{name}.h5")) for name, part in (real | {"made": noise}).items()}
    monkeypatch.setattr(module.release, "__kwdefaults__", module.release.__kwdefaults__ | {"settings": QUICK})
    words = [files["made"], "--train", files["train"], "--heldout", files["heldout"], "--out", str(tmp_path / "out")]
    assert command.main([*words, "--anyway"]) == 0
    card = (tmp_path / "out" / "datacard.md").read_text(encoding="utf-8")
    assert card.splitlines()[2].startswith("**RELEASED AGAINST ITS CHECKS: ")
    assert "fidelity: coverage 0." in card


@pytest.mark.parametrize(
    ("answer", "short", "anyway", "says"),
    [
        ("no copies found", [], False, "Releasable by this suite's checks: the audit found no copies, and the"),
        ("no copies found", ["coverage 0"], False, "Not released: fidelity: coverage 0. What helps: train longer"),
        (
            "cannot tell",
            [],
            False,
            "Not released: the audit says cannot tell. What helps: give the audit what it",
        ),
        (
            "leak flagged",
            ["a"],
            False,
            "Not released: the audit says leak flagged; fidelity: a. What helps: look at",
        ),
        ("cannot tell", ["a"], True, "RELEASED AGAINST ITS CHECKS: the audit says cannot tell; fidelity: a."),
    ],
)
def test_the_status_names_the_reasons_and_what_helps(answer, short, anyway, says):
    is_releasable = answer == "no copies found" and not short
    assert module._status(answer, short, is_releasable, anyway).startswith(says)


def test_what_cannot_be_released_is_one_sentence_and_no_folder(real, others, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="unknown format 'gif': choose of png, dicom"):
        release(out, others, **real, formats=("gif",))
    with pytest.raises(ValueError, match="images are float32; convert them to uint8"):
        release(out, others.with_images(others.images[:].astype(np.float32)), **real)
    with pytest.raises(ValueError, match="heldout"):
        release(out, others, train=real["train"], heldout=real["heldout"][:3])
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(ValueError, match="out is not empty: give a new folder"):
        release(out, others, **real)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("licence: CC0\nlicense: CC0\n", "facts.yaml:2: license is unknown; give texts for any of purpose"),
        ("origin: [a]\n", "facts.yaml:1: origin is no text"),
        ("", "holds no keys"),
    ],
)
def test_a_file_of_facts_that_cannot_be_used_names_its_line(tmp_path, text, says):
    (tmp_path / "facts.yaml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_facts(tmp_path / "facts.yaml")
    with pytest.raises(FileNotFoundError, match="no such file of facts"):
        read_facts(tmp_path / "none.yaml")
