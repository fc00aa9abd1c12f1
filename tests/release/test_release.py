"""A release: what a faithful set that copies nobody becomes, and why another is refused or says so first."""

import json

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from lib.cohorts.cohort import Cohort
from lib.cohorts.phantoms import mass
from lib.cohorts.public import pgan_release
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
    options = {"formats": ("png", "dicom"), "settings": QUICK, "anyway": True}
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
            "images.h5", "labels.csv", "png", "dicom", "audit.html", "audit.json", "datacard.md", "CHECKSUMS",
        }  # fmt: skip
        assert len(list((folder / "png").glob("*.png"))) == len(others)

    def test_pictures_and_secondary_captures_open_again_as_the_images_with_their_labels(self, made, others):
        pictures = pd.read_csv(made[1] / "png" / "labels.csv")
        captures = [pydicom.dcmread(path) for path in sorted((made[1] / "dicom").glob("*.dcm"))]
        names = [others.label_names[code] for code in others.labels]
        assert pictures.label.tolist() == [data.ImageComments for data in captures] == names
        shown = [np.asarray(Image.open(made[1] / "png" / file)) for file in pictures.file]
        np.testing.assert_array_equal(shown, others.images[:])
        np.testing.assert_array_equal([data.pixel_array for data in captures], others.images[:])
        assert {data.SeriesDescription for data in captures} == {others.name}

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
    ("answer", "short", "kind", "says"),
    [
        ("no copies found", [], {}, "Releasable by this suite's checks: the audit found no copies, and the"),
        ("no copies found", ["coverage 0"], {}, "Not released: fidelity: coverage 0. What helps: train longer"),
        (
            "cannot tell",
            [],
            {},
            "Not released: the audit says cannot tell. What helps: give the audit what it",
        ),
        (
            "leak flagged",
            ["a"],
            {},
            "Not released: the audit says leak flagged; fidelity: a. What helps: look at",
        ),
        ("no copies found", ["a"], {"draft": True}, "Not releasable: fidelity: a. What helps: train longer"),
        (
            "cannot tell",
            ["a"],
            {"anyway": True},
            "RELEASED AGAINST ITS CHECKS: the audit says cannot tell; fidelity: a.",
        ),
    ],
)
def test_the_status_names_the_reasons_and_what_helps(answer, short, kind, says):
    checked = module._Checked(answer, ["Because."], None, short)
    kind = {"anyway": False, "draft": False} | kind
    assert module._status(module._reasons(checked, ()), checked, **kind).startswith(says)


def test_every_doubt_is_a_reason_against_a_release():
    whole = module._Checked("no copies found", ["Because."], None, [])
    assert module._reasons(whole, ()) == []
    assert module._reasons(whole, ["another gate: a"]) == ["another gate: a"]
    partial = whole._replace(partial=["only 3 of 4 training images were looked at"])
    assert module._reasons(partial, ()) == ["only 3 of 4 training images were looked at"]
    says = module._status(module._reasons(partial, ()), partial, anyway=False, draft=True)
    assert says == (
        "Not releasable: only 3 of 4 training images were looked at. What helps: audit against all training images."
    )


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


@pytest.mark.slow
class TestDraft:
    """A folder that is written whatever the checks say, and says so itself."""

    @pytest.fixture(scope="class")
    def drafts(self, real, others, tmp_path_factory):
        """A release of noise, and what takes its place: one whose audit has no held-out images, and not all others."""
        folder = tmp_path_factory.mktemp("drafts") / "masses"
        noise = others.with_images(np.random.default_rng(0).integers(0, 256, others.images.shape, dtype=np.uint8))
        options = {"train": real["train"], "settings": QUICK, "draft": True}
        first = release(folder, noise, heldout=real["heldout"], **options)
        card = (folder / "datacard.md").read_text(encoding="utf-8")
        return folder, first, card, release(folder, others[:15], heldout=None, most=45, **options)

    def test_what_fails_the_gate_is_there_and_not_releasable(self, drafts):
        folder, first, card, _ = drafts
        assert first.folder == folder
        assert not first.is_releasable
        assert card.splitlines()[2].startswith("**Not releasable: ")
        assert "fidelity: coverage 0." in card.splitlines()[2]

    def test_another_takes_its_place_whole(self, drafts, others):
        folder, *_ = drafts
        assert damages(folder) == []
        assert Cohort.open(folder / "images.h5").digest == others[:15].digest
        assert [path.name for path in folder.parent.iterdir()] == ["masses"]

    def test_nothing_is_releasable_unless_all_training_images_were_looked_at(self, drafts, real):
        folder, *_, second = drafts
        assert not second.is_releasable
        card = (folder / "datacard.md").read_text(encoding="utf-8")
        assert f"of {len(real['train'])} training images were looked at" in card.splitlines()[2]

    def test_or_without_held_out_images(self, drafts):
        *_, second = drafts
        assert "fidelity: the gate could not be asked, as there are no held-out images" in second.status

    def test_an_interrupted_one_leaves_the_earlier(self, drafts, real, others, monkeypatch):
        folder, *_ = drafts
        before = (folder / "CHECKSUMS").read_bytes()

        def interrupted(*_, **__):
            (incomplete,) = folder.parent.glob("suite-*-masses.incomplete")
            assert (incomplete / "images.h5").exists()
            assert not (incomplete / "datacard.md").exists()
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "assess", interrupted)
        with pytest.raises(KeyboardInterrupt):
            release(folder, others, **real, settings=QUICK, draft=True)
        assert [path.name for path in folder.parent.iterdir()] == ["masses"]
        assert (folder / "CHECKSUMS").read_bytes() == before


def test_a_draft_takes_no_other_folders_place(real, others, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").touch()
    with pytest.raises(ValueError, match="mine is not empty: give a new folder"):
        release(tmp_path / "mine", others, **real, draft=True)
    assert (tmp_path / "mine" / "diary.txt").exists()


def test_a_draft_whose_audit_is_refused_says_so_first(real, others, tmp_path):
    made = release(tmp_path / "out", others, train=real["train"], heldout=real["heldout"][:3], draft=True)
    assert (made.answer, made.report, made.is_releasable) == (module.NOT_AUDITED, None, False)
    first = (made.folder / "datacard.md").read_text(encoding="utf-8").splitlines()[2]
    assert first.startswith("**Not releasable: the audit was refused: heldout: 3 images")
    assert damages(made.folder) == []
    assert {path.name for path in made.folder.iterdir()} == {"images.h5", "labels.csv", "datacard.md", "CHECKSUMS"}


def test_units_are_looked_at_in_their_middle_slice_and_come_in_the_published_layout(
    real, others, tmp_path, monkeypatch
):  # fmt: skip
    def units(of: Cohort, codes: np.ndarray) -> Cohort:
        """Volumes whose middle slice is the image; by the others none could be told from another."""
        volumes = np.full((len(of), 9, 32, 32), 7, np.uint8)
        volumes[:, 4] = of.images[:]
        return of.replaced(images=volumes, labels=codes, label_names=pgan_release.LABELS)

    looked_at = []

    def audited(sets, *_, **__):
        looked_at.append(sets)
        raise ValueError("the test has seen enough")

    monkeypatch.setattr(module, "assess", audited)
    made = units(others, np.arange(len(others)) % 3)
    train = units(real["train"], np.zeros(len(real["train"]))).save(tmp_path / "train.h5")
    heldout = units(real["heldout"], np.zeros(len(real["heldout"])))
    folder = tmp_path / "units"
    release(folder, made, train=train, heldout=heldout, draft=True, formats=("pgan_release",))
    for name, of in (("train", real["train"]), ("heldout", real["heldout"]), ("synthetic", others)):
        np.testing.assert_array_equal(looked_at[0].parts[name].images, of.images[:])
    again = pgan_release.read(folder / "units.h5")
    np.testing.assert_allclose(again.images[:], made.images / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(again.region, made.labels)


def test_the_published_layout_of_units_is_for_units(real, others, tmp_path):
    with pytest.raises(ValueError, match="has units of 9 slices"):
        release(tmp_path / "out", others, **real, formats=("pgan_release",))


@pytest.mark.parametrize("findings", [False, True])
def test_the_table_of_labels_has_a_row_for_each_image(others, tmp_path, findings):
    names = [f"case {i}" for i in range(len(others))]
    labels = np.stack([others.labels, 1 - others.labels], axis=1) if findings else others.labels
    module._write_formats(tmp_path, others.replaced(labels=labels, source_name=names), ())
    table = pd.read_csv(tmp_path / "labels.csv")
    assert table.image.tolist() == list(range(len(others)))
    assert table["name"].tolist() == names
    if findings:
        np.testing.assert_array_equal(table[list(others.label_names)], labels)
    else:
        assert table.label.tolist() == [others.label_names[code] for code in others.labels]
