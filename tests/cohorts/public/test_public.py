"""Public sets: what is read, refused and verified; and the published counts on the real trees."""

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pooch
import pytest
import requests
from PIL import Image

from lib.cohorts import public as datasets
from lib.cohorts.__main__ import main
from lib.cohorts.cohort import Cohort
from lib.cohorts.io import fetch
from lib.cohorts.io import image_files as png
from lib.cohorts.public import cbis_ddsm, nih_cxr14
from tests.paths import SHARED

FEW = {folder: (2, 2) for folder in cbis_ddsm.COUNTS}


def paint(path, size=128, mode="L", value=None):
    """Write a PNG of noise, or of one grey value."""
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    grey = rng.integers(0, 256, (size, size), dtype=np.uint8) if value is None else np.full((size, size), value)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey.astype(np.uint8)).convert(mode).save(path, format="PNG")
    return path


def crop(patient, label, number=0, origin="cbis-ddsm"):
    return f"patient{origin}__{patient}_image{number}_mass{number}_is_benign_{label}.png"


def mass_tree(folder):
    """Two crops a class in each folder, one patient of each split with both labels."""
    names = {
        cbis_ddsm.TRAIN: "P_1",
        cbis_ddsm.VALIDATION: "P_2",
        cbis_ddsm.TEST: "P_3",
        cbis_ddsm.EXTERNAL: "7",
    }
    for part, patient in names.items():
        for label, sub in enumerate(("is_benign_false", "is_benign_true")):
            origin = "bcdr" if part == cbis_ddsm.EXTERNAL else "cbis-ddsm"
            paint(folder / part / sub / crop(f"{patient}1", label, 1, origin))
            paint(folder / part / sub / crop(f"{patient}{2 + label}", label, 2, origin))
    for number, label in enumerate(("malignant", "malignant", "benign", "benign")):
        paint(folder / cbis_ddsm.SYNTHETIC / f"batch_0_{number}_{label}.png")
    return folder


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory):
    return mass_tree(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def tree(whole_tree, tmp_path):
    return shutil.copytree(whole_tree, tmp_path / "mammo_dp")


def test_the_three_mass_cohorts(tree, tmp_path):
    paths = cbis_ddsm.prepare(tree, tmp_path / "out", counts=FEW)
    assert [path.name for path in paths] == ["cbis_ddsm.h5", "bcdr.h5", "mcgan.h5"]
    crops, external, drawn = map(Cohort.open, paths)
    np.testing.assert_array_equal(crops.split, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(crops.labels, [0, 0, 1, 1] * 3)
    np.testing.assert_array_equal(crops.patient, [0, 1, 0, 2, 3, 4, 3, 5, 6, 7, 6, 8])
    assert (set(external.split), set(drawn.split)) == ({2}, {0})
    assert len(set(drawn.patient)) == 4
    for cohort in (crops, external, drawn):
        assert (cohort.label_names, cohort.value_range, cohort.modality) == (
            ("malignant", "benign"),
            (0, 255),
            "MG",
        )
    assert "never redistribute" in external.licence
    first = tree / cbis_ddsm.TRAIN / "is_benign_false" / crops.source_name[0]
    np.testing.assert_array_equal(crops.images[0], np.asarray(Image.open(first)))


@pytest.mark.parametrize("given", ["mammo_dp", ".", "mammo_dp/dataset16062024"])
def test_the_tree_its_parent_or_its_data_folder_may_be_given(tree, given):
    assert cbis_ddsm.find_tree(tree.parent / given).resolve() == tree
    tree.rename(tree.parent / "mammo_dp-20caed7")  # as GitHub names its archive
    assert cbis_ddsm.find_tree(tree.parent).name == "mammo_dp-20caed7"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


MALIGNANT = f"{cbis_ddsm.TRAIN}/is_benign_false/"
FIRST = MALIGNANT + crop("P_11", 0, 1)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda tree: cut(tree / FIRST), r"_is_benign_0\.png: truncated or damaged PNG; fetch"),
        (lambda tree: (tree / FIRST).write_bytes(b""), "P_11.*not a readable PNG"),
        (
            lambda tree: Image.new("L", (128, 128)).save(tree / FIRST, format="JPEG"),
            "P_11.*not a readable PNG",
        ),
        (lambda tree: paint(tree / FIRST, size=64), "P_11.*64×64 pixels where 128×128"),
        (lambda tree: paint(tree / FIRST, mode="RGB"), "P_11.*mode RGB where 8-bit grey"),
        (lambda tree: paint(tree / FIRST, mode="I;16"), "P_11.*mode I;16 where 8-bit grey"),
        (
            lambda tree: (tree / FIRST).rename(tree / MALIGNANT / crop("P_11", 1, 1)),
            "the name says benign, the folder malignant",
        ),
        (
            lambda tree: (tree / FIRST).rename(tree / MALIGNANT / crop("P_33", 0, 1)),
            r"cbis-ddsm/test.*patient P_33 is in another split too \(.*/train.*keep each in one split",
        ),
        (
            lambda tree: shutil.rmtree(tree / MALIGNANT),
            r"train/is_benign_false: no such folder; expected is the tree",
        ),
        (
            lambda tree: shutil.rmtree(tree / cbis_ddsm.SYNTHETIC),
            "c-dcgan: no such folder; expected is the tree",
        ),
        (
            lambda tree: shutil.rmtree(tree / "dataset16062024"),
            "no folder dataset16062024 in it; expected is the tree",
        ),
        (lambda tree: shutil.rmtree(tree), "mammo_dp: no such folder; expected is the tree"),
        (
            lambda tree: (tree / FIRST).unlink(),
            "cbis-ddsm/train: 1 malignant and 2 benign images where 2 and 2 were published, missing .*fetch",
        ),
        (
            lambda tree: (tree / FIRST).rename(tree / MALIGNANT / "mass.png"),
            "mass.png: not a file of the published",
        ),
    ],
)
def test_a_spoilt_tree_is_refused_in_one_sentence(tree, tmp_path, spoil, sentence):
    spoil(tree)
    with pytest.raises(ValueError, match=sentence) as caught:
        cbis_ddsm.prepare(tree, tmp_path / "out", counts=FEW)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_published_counts_are_asked_for_by_default(tree, tmp_path):
    with pytest.raises(ValueError, match="2 malignant and 2 benign images where 525 and 579 were published"):
        cbis_ddsm.prepare(tree, tmp_path)


# PNG


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA", "P"])
def test_a_grey_radiograph_in_colour_keeps_its_values(tmp_path, mode):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(png.read_reduced(tmp_path / "a.png", 16), grey)


def test_colour_becomes_luma_and_transparency_is_dropped(tmp_path):
    Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "a.png")
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    np.testing.assert_array_equal(png.read_reduced(tmp_path / "a.png", 2), luma)


def test_reduction_is_the_mean_of_each_block_to_one_grey_level(tmp_path):
    path = paint(tmp_path / "a.png", size=64)
    mean = np.asarray(Image.open(path)).reshape(16, 4, 16, 4).mean((1, 3))
    assert np.abs(png.read_reduced(path, 16) - mean).max() <= 1


@pytest.mark.parametrize(("size", "mode", "sentence"), [(24, "L", "24×24 pixels cannot"), (32, "I;16", "mode I;16")])
def test_a_radiograph_of_another_kind_is_refused(tmp_path, size, mode, sentence):
    with pytest.raises(ValueError, match=rf"a\.png: {sentence}"):
        png.read_reduced(paint(tmp_path / "a.png", size, mode), 16)


@pytest.mark.parametrize("which", [slice(1, 5), 2, -1, [4, 0, 0], np.arange(7) % 2 == 0, slice(0, 0)])
def test_unread_images_index_like_an_array(tmp_path, which):
    paths = [paint(tmp_path / f"{i}.png", 8) for i in range(7)]
    unread = png.Unread(paths, 8, png.read_exact)
    everything = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(unread[which], everything[which])
    np.testing.assert_array_equal(np.asarray(unread), everything)


# NIH ChestX-ray14

HEADER = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
ROWS = [
    "00000001_000.png,Hernia|Atelectasis,0,1,57,M,PA",
    "00000001_001.png,No Finding,1,1,58,M,AP",
    "00000002_000.png,Pneumonia,0,2,80,F,AP",
    "00000003_000.png,No Finding,0,3,81,F,PA",
]
RADIOGRAPHS = [row.split(",")[0] for row in ROWS]


def release(folder, layout="images_001/images/{}", rows=ROWS, lists=True):
    """The official layout with four radiographs of three patients."""
    for number, radiograph in enumerate(RADIOGRAPHS):
        paint(folder / layout.format(radiograph), 512, mode=("L", "RGBA")[number % 2], value=40 * number)
    (folder / "Data_Entry_2017_v2020.csv").write_text(HEADER + "\n".join(rows) + "\n")
    if lists:
        (folder / "train_val_list.txt").write_text("\n".join(RADIOGRAPHS[:3]) + "\n")
        (folder / "test_list.txt").write_text(RADIOGRAPHS[3] + "\n")
    return folder


@pytest.mark.parametrize("layout", ["images_001/images/{}", "images_001/{}", "images/{}", "{}"])
def test_the_official_release(tmp_path, layout):
    [path] = nih_cxr14.prepare(release(tmp_path / "nih", layout), tmp_path / "out")
    radiographs = Cohort.open(path)
    assert path.name == "nih_cxr14.h5"
    assert list(radiographs.source_name) == RADIOGRAPHS
    np.testing.assert_array_equal(radiographs.images[:][:, 7, 9], [0, 40, 80, 120])
    np.testing.assert_array_equal(radiographs.patient, [1, 1, 2, 3])
    np.testing.assert_array_equal(radiographs.view, [0, 1, 1, 0])
    assert [[nih_cxr14.FINDINGS[k] for k in np.flatnonzero(row)] for row in radiographs.labels] == [
        ["Atelectasis", "Hernia"],
        [],
        ["Pneumonia"],
        [],
    ]
    assert (radiographs.images.shape, radiographs.labels.shape, radiographs.split[3]) == ((4, 256, 256), (4, 14), 2)
    assert set(radiographs.split[:3]) <= {0, 1}
    assert "4 of 4 radiographs" in radiographs.source


def test_hashed_splits_keep_their_shares_and_agree():
    patients = range(20_000)
    split = np.array([nih_cxr14.split_of(patient) for patient in patients])
    np.testing.assert_allclose(np.bincount(split) / len(split), [0.7, 0.1, 0.2], atol=0.01)
    kept = np.array([nih_cxr14.split_of(patient, held_out=False) for patient in patients])
    np.testing.assert_allclose(np.bincount(kept) / len(kept), [0.875, 0.125], atol=0.01)
    assert [nih_cxr14.split_of(patient) for patient in (1, 7, 10, 21, 25)] == [0, 2, 1, 2, 1]


def add_row(folder, row):
    with open(folder / "Data_Entry_2017_v2020.csv", "a") as file:
        file.write(row + "\n")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda nih: paint(nih / "images_001/images/00000009_000.png", 256),
            r"00000009_000\.png: no row in .*v2020\.csv",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Cough,0,4,1,F,PA"),
            "line 6: unknown finding 'Cough'; known are No",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Mass|No Finding,0,4,1,F,PA"),
            "line 6: No Finding stands beside",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Mass,0,4,1,F,LL"),
            "line 6: unknown view 'LL'; known are PA, AP",
        ),
        (
            lambda nih: add_row(nih, "00000004_000.png,Mass,0,5,1,F,PA"),
            "line 6: patient '5' does not fit radiograph",
        ),
        (lambda nih: add_row(nih, ROWS[0]), "line 6: 00000001_000.png stands in the table twice"),
        (lambda nih: add_row(nih, "00000004_000.png"), "line 6: unknown view ''"),
        (
            lambda nih: (nih / "Data_Entry_2017_v2020.csv").write_text("radiograph,label\n"),
            "no column Image Index, Finding",
        ),
        (
            lambda nih: (nih / "Data_Entry_2017_v2020.csv").unlink(),
            "no label table; put NIH's Data_Entry_2017_v2020",
        ),
        (
            lambda nih: (nih / "Data_Entry_2017_v2020.csv").rename(nih / "Data_Entry_2017.csv.gz"),
            "not a readable table",
        ),
        (lambda nih: (nih / "test_list.txt").unlink(), "train_val_list.txt is there without test_list.txt"),
        (
            lambda nih: (nih / "test_list.txt").write_text(""),
            "00000003_000.png: in neither of train_val_list.txt",
        ),
        (
            lambda nih: (nih / "train_val_list.txt").write_text("\n".join(RADIOGRAPHS)),
            "00000003_000.png: in both of",
        ),
        (
            lambda nih: (nih / "test_list.txt").write_text("\n".join(RADIOGRAPHS[1:])),
            "00000001_001.png: in both of",
        ),
        (lambda nih: cut(nih / "images_001/images" / RADIOGRAPHS[0]), "00000001_000.png: truncated or damaged PNG"),
        (
            lambda nih: paint(nih / "images_001/images" / RADIOGRAPHS[0], 300),
            "300×300 pixels cannot be box-averaged",
        ),
        (lambda nih: paint(nih / "images" / RADIOGRAPHS[0], 256), "the same radiograph is also"),
        (lambda nih: shutil.rmtree(nih / "images_001"), "no radiograph in it; expected are radiographs"),
    ],
)
def test_a_spoilt_release_is_refused_in_one_sentence(tmp_path, spoil, sentence):
    folder = release(tmp_path / "nih")
    spoil(folder)
    with pytest.raises(ValueError, match=sentence) as caught:
        nih_cxr14.prepare(folder, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/*"))


def subset(folder):
    for radiograph, name in (
        (RADIOGRAPHS[1], "No_findings"),
        (RADIOGRAPHS[3], "No_findings"),
        (RADIOGRAPHS[2], "Pneumonia"),
    ):
        paint(folder / nih_cxr14.SUBSET / name / radiograph, 256)
    table = folder / "torchxrayvision" / "data" / "Data_Entry_2017_v2020.csv.gz"
    table.parent.mkdir(parents=True)
    table.write_bytes(gzip.compress((HEADER + "\n".join(ROWS)).encode()))
    return folder


def test_the_subset_beside_its_table(tmp_path):
    folder = subset(tmp_path / "nih_cxr14_1000")
    counts = {"No_findings": 2, "Pneumonia": 1}
    for given in (folder, tmp_path, folder / nih_cxr14.SUBSET):
        [path] = nih_cxr14.prepare(given, tmp_path / "out", counts=counts)
    radiographs = Cohort.open(path)
    assert (radiographs.name, list(radiographs.source_name)) == ("nih_cxr14_1000", RADIOGRAPHS[1:])
    assert list(radiographs.split) == [nih_cxr14.split_of(patient) for patient in radiographs.patient]
    with pytest.raises(ValueError, match="No_findings: 2 radiographs where 500 were published, missing"):
        nih_cxr14.prepare(folder, tmp_path / "out")
    (folder / nih_cxr14.SUBSET / "Pneumonia" / RADIOGRAPHS[2]).unlink()
    paint(folder / nih_cxr14.SUBSET / "Pneumonia" / RADIOGRAPHS[0], 256)
    with pytest.raises(ValueError, match="00000001_000.png: the label table contradicts its folder Pneumonia"):
        nih_cxr14.prepare(folder, tmp_path / "out", counts=counts)


# Fetching

CONTENT = {"a/one.txt": b"first", "a/two words.txt": b"second", "b.txt": b"third"}


def answer(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(response=response)


class Server:
    """Stands for GitHub: answers from `files`, or raises the errors queued; keeps what was asked for."""

    def __init__(self, files, errors=()):
        self.files, self.errors, self.asked = files, list(errors), []

    def __call__(self, url, output_file, _):
        self.asked.append(url)
        if self.errors:
            raise self.errors.pop(0)
        name = requests.utils.unquote(url.split("/", 6)[-1])
        if name not in self.files:
            raise answer(404)
        Path(output_file).write_bytes(self.files[name])


@pytest.fixture
def serve(monkeypatch):
    def install(files, errors=()):
        server = Server(files, errors)
        monkeypatch.setattr(pooch, "HTTPDownloader", lambda **_: server)
        monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
        return server

    return install


def source_of(tmp_path, **options):
    """The source that publishes CONTENT, its manifest through a file."""
    for name, content in CONTENT.items():
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = tmp_path / "manifest.txt.gz"
    fetch.write_manifest(manifest, tmp_path / "published", CONTENT)
    return fetch.Source("owner/name", "c0ffee", fetch.read_manifest(manifest), **options)


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quiet(_):
    """No progress line."""


def test_a_fetch_resumes_and_repairs(tmp_path, serve):
    server = serve(CONTENT)
    source, folder = source_of(tmp_path), tmp_path / "raw"
    fetch.fetch(source, folder, quiet)
    assert files_in(folder) == CONTENT
    assert "https://raw.githubusercontent.com/owner/name/c0ffee/a/two%20words.txt" in server.asked
    (folder / "b.txt").unlink()
    (folder / "a/one.txt").write_bytes(b"damaged")
    server.asked.clear()
    fetch.fetch(source, folder, quiet)
    assert files_in(folder) == CONTENT
    assert sorted(url.rsplit("/", 1)[1] for url in server.asked) == ["b.txt", "one.txt"]
    fetch.fetch(source, folder, quiet)
    assert len(server.asked) == 2


NO_NETWORK = requests.ConnectionError("no route to host")


@pytest.mark.parametrize(
    ("files", "errors", "sentence"),
    [
        (CONTENT | {"b.txt": b"other"}, (), r"b\.txt: not the published content \(checksum mismatch\)"),
        (
            {k: v for k, v in CONTENT.items() if k != "b.txt"},
            (),
            r"c0ffee/b\.txt: the server answers 404; fetch it by",
        ),
        (
            CONTENT,
            [NO_NETWORK] * 99,
            "no connection to raw.githubusercontent.com: no route to host; fetch .* --from",
        ),
        (CONTENT, [answer(429)] * 99, "the server answers 429"),
    ],
)
def test_a_failed_fetch_says_why_and_keeps_only_verified_files(tmp_path, serve, files, errors, sentence):
    serve(files, errors)
    with pytest.raises(fetch.FetchError, match=sentence) as caught:
        fetch.fetch(source_of(tmp_path), tmp_path / "raw", quiet)
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path / "raw").items() <= CONTENT.items()


def test_a_passing_failure_is_tried_again(tmp_path, serve):
    serve(CONTENT, [answer(503), NO_NETWORK])
    fetch.fetch(source_of(tmp_path), tmp_path / "raw", quiet)
    assert files_in(tmp_path / "raw") == CONTENT


def test_a_full_disk_is_named(tmp_path, serve):
    serve(CONTENT, [OSError(28, "No space left on device")] * 3)
    with pytest.raises(OSError, match=r"could not be written \(No space left on device\)"):
        fetch.fetch(source_of(tmp_path), tmp_path / "raw", quiet)


def test_an_unreadable_file_is_not_the_published_one(tmp_path):
    def unreadable(path):
        raise ValueError("no PNG")

    assert not source_of(tmp_path, fingerprint=unreadable).holds("b.txt", tmp_path / "published" / "b.txt")


def tar_of(files, links=()):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return packed.getvalue()


GOOD = {f"name-c0ffee/{name}": content for name, content in CONTENT.items()}


def test_an_archive_gives_the_files_of_the_manifest_only(tmp_path, serve):
    server = serve({"c0ffee": tar_of(GOOD | {"name-c0ffee/README.md": b"not wanted"})})
    source, folder = source_of(tmp_path, archive=True), tmp_path / "raw"
    fetch.fetch(source, folder, quiet)
    fetch.fetch(source, folder, quiet)
    assert files_in(folder) == CONTENT
    assert server.asked == ["https://codeload.github.com/owner/name/tar.gz/c0ffee"]


@pytest.mark.parametrize(
    ("archive", "sentence"),
    [
        (
            tar_of({"name-c0ffee/../../evil.txt": b"x"} | GOOD),
            "'name-c0ffee/../../evil.txt' would escape the folder",
        ),
        (tar_of({"/tmp/evil.txt": b"x"} | GOOD), "'/tmp/evil.txt' would escape the folder"),
        (tar_of({"name-c0ffee\\..\\evil.txt": b"x"} | GOOD), "would escape the folder"),
        (tar_of({}, [("name-c0ffee/b.txt", "/etc/passwd")]), r"b\.txt is not a regular file; do not trust"),
        (tar_of(GOOD)[:-40], "damaged archive"),
        (b"<html>", "damaged archive"),
        (
            tar_of(GOOD | {"name-c0ffee/b.txt": b"other"}),
            r"b\.txt: not the published content \(checksum mismatch\)",
        ),
        (tar_of(dict(list(GOOD.items())[:2])), r"1 files are not in it, the first b\.txt"),
    ],
)
def test_a_hostile_archive_writes_nothing_it_should_not(tmp_path, serve, archive, sentence):
    serve({"c0ffee": archive})
    source = source_of(tmp_path, archive=True)
    with pytest.raises(fetch.FetchError, match=sentence) as caught:
        fetch.fetch(source, tmp_path / "deep" / "raw", quiet)
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path / "deep" / "raw").items() <= CONTENT.items()
    assert not list(tmp_path.rglob("evil*"))


def test_both_sets_can_be_fetched_whole():
    """The manifests name exactly the published number of files."""
    [masses] = cbis_ddsm.sources()
    assert len(masses.manifest) == sum(map(sum, cbis_ddsm.COUNTS.values())) == 5804
    radiographs, table = nih_cxr14.sources()
    assert (len(radiographs.manifest), len(table.manifest)) == (1000, 1)
    marks = {mark for source in (masses, radiographs, table) for mark in source.manifest.values()}
    assert all(len(mark) == 32 and set(mark) <= set("0123456789abcdef") for mark in marks)


# Opening, and the command line


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.setenv("SUITE_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("cbis_ddsm", "python -m lib.cohorts prepare cbis_ddsm`"),
        ("bcdr", "python -m lib.cohorts prepare cbis_ddsm`"),
        ("nih_cxr14_1000", "python -m lib.cohorts prepare nih_cxr14`"),
        ("nih_cxr14", "python -m lib.cohorts prepare nih_cxr14 --from DIR`"),
    ],
)
def test_a_cohort_that_is_not_prepared_names_the_command(suite, name, command):
    with pytest.raises(FileNotFoundError, match=command):
        datasets.open_public(name)


def test_an_unknown_set_lists_the_known():
    with pytest.raises(ValueError, match="unknown data set 'inbreast': choose one of cbis_ddsm, bcdr, mcgan, nih"):
        datasets.open_public("inbreast")


def test_prepare_from_a_download_then_open_and_list(suite, capsys):
    assert main(["prepare", "nih_cxr14", "--from", str(release(suite / "nih"))]) == 0
    radiographs = datasets.open_public("nih_cxr14")
    printed = capsys.readouterr().out
    assert f"{suite / 'data' / 'cohorts' / 'nih_cxr14.h5'}\n" in printed
    assert (
        f"4 CR images 256×256 of 3 patients (train 3, validation 0, test 1)\n  digest {radiographs.digest}" in printed
    )
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "nih_cxr14: 4 CR images" in listed
    assert "bcdr: not prepared (set cbis_ddsm)" in listed


def test_prepare_without_a_download_fetches_first(suite, serve, monkeypatch, capsys):
    files = files_in(subset(suite / "nih_cxr14_1000"))
    manifests = [{}, {}]
    for name in files:
        path = suite / "nih_cxr14_1000" / name
        mark = nih_cxr14.radiograph_fingerprint if name.endswith("png") else fetch.file_fingerprint
        manifests[name.endswith("gz")][name] = mark(path)
    radiographs, table = nih_cxr14.sources()
    sources = [
        fetch.Source(radiographs.repository, radiographs.commit, manifests[0], nih_cxr14.radiograph_fingerprint),
        fetch.Source(table.repository, table.commit, manifests[1]),
    ]
    monkeypatch.setattr(nih_cxr14, "sources", lambda: sources)
    monkeypatch.setitem(nih_cxr14.COUNTS, "No_findings", 2)
    monkeypatch.setitem(nih_cxr14.COUNTS, "Pneumonia", 1)
    serve(files)
    assert main(["prepare", "nih_cxr14"]) == 0
    assert len(datasets.open_public("nih_cxr14_1000")) == 3
    assert "differs from what was published" in capsys.readouterr().err


def test_errors_are_one_sentence_and_an_exit_code(suite, serve, capsys):
    serve({}, [NO_NETWORK] * 99)
    for arguments in (["prepare", "bcdr"], ["prepare", "bcdr", "--from", str(suite)]):
        assert main(arguments) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
    for arguments in (["prepare", "inbreast"], ["prepare"], ["fetch"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2


# The real trees


def real(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: real images come with the workplace, not with the project")
    return folder


@pytest.fixture(scope="module")
def masses(tmp_path_factory):
    paths = cbis_ddsm.prepare(real("mammo_dp"), tmp_path_factory.mktemp("masses"))
    return {path.stem: Cohort.open(path) for path in paths}


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    [path] = nih_cxr14.prepare(real("nih_cxr14_1000"), tmp_path_factory.mktemp("radiographs"))
    return Cohort.open(path)


PUBLISHED = [  # spec §3: folder, split, (malignant, benign), patients, source images, bytes, both mean greys
    (cbis_ddsm.TRAIN, 0, (525, 579), 578, 1025, 7_803_567, (136.6, 128.6)),
    (cbis_ddsm.VALIDATION, 1, (102, 90), 102, 185, 1_359_806, (140.6, 126.0)),
    (cbis_ddsm.TEST, 2, (157, 245), 212, 382, 2_826_298, (139.3, 128.0)),
    (cbis_ddsm.EXTERNAL, 2, (486, 620), 394, 451, 9_209_975, (96.0, 98.8)),
    (cbis_ddsm.SYNTHETIC, 0, (1500, 1500), None, None, 29_128_460, (139.3, 137.3)),
]


@pytest.mark.parametrize(("folder", "split", "counts", "patients", "sources", "size", "grey"), PUBLISHED)
def test_real_masses_have_the_published_numbers(masses, folder, split, counts, patients, sources, size, grey):
    names = {cbis_ddsm.EXTERNAL: "bcdr", cbis_ddsm.SYNTHETIC: "mcgan"}
    whole = masses[names.get(folder, "cbis_ddsm")]
    part = whole[whole.split == split]
    assert tuple(np.bincount(part.labels)) == counts
    for label in range(2):
        assert part.images[part.labels == label].mean() == pytest.approx(grey[label], abs=0.05)
    assert sum(path.stat().st_size for path in (real("mammo_dp") / folder).rglob("*.png")) == size
    if patients:
        assert len(np.unique(part.patient)) == patients
        assert len({key.split("_mass")[0] for key in part.source_name}) == sources


def test_real_masses_are_the_pinned_ones_and_disjoint(masses):
    assert {name: cohort.digest for name, cohort in masses.items()} == cbis_ddsm.DIGESTS
    assert [len(cohort) for cohort in masses.values()] == [1698, 1106, 3000]
    crops = masses["cbis_ddsm"]
    patients = [set(crops.patient[crops.split == split]) for split in range(3)]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 892


def test_real_external_set_repeats_eight_crops_one_with_opposite_labels(masses):
    external = masses["bcdr"]
    _, first, count = np.unique(external.images[:].reshape(1106, -1), axis=0, return_inverse=True, return_counts=True)
    pairs = [np.flatnonzero(first == group) for group in np.flatnonzero(count > 1)]
    assert [len(pair) for pair in pairs] == [2] * 8
    opposite = [pair for pair in pairs if len(set(external.labels[pair])) == 2]
    assert len(opposite) == 1
    assert {key.split("_")[2] for key in external.source_name[opposite[0]]} == {"193"}


def test_real_files_satisfy_the_manifests():
    [source] = cbis_ddsm.sources()
    assert all(source.holds(name, real("mammo_dp") / name) for name in source.manifest)
    _, table = nih_cxr14.sources()
    assert all(table.holds(name, real("nih_cxr14_1000") / name) for name in table.manifest)


def test_real_radiographs_have_the_known_numbers(thousand):
    """Counts of the data's README; the patients with two radiographs or more are 164, with 482 radiographs."""
    assert thousand.images.shape == (1000, 256, 256)
    assert thousand.digest == nih_cxr14.DIGESTS["nih_cxr14_1000"]
    _, radiographs = np.unique(thousand.patient, return_counts=True)
    assert (len(radiographs), (radiographs > 1).sum(), radiographs[radiographs > 1].sum()) == (682, 164, 482)
    assert tuple(np.bincount(thousand.view)) == (433, 567)
    counts = dict(zip(nih_cxr14.FINDINGS, thousand.labels.sum(0), strict=True))
    assert (~thousand.labels.any(1)).sum() == counts["Pneumonia"] == 500
    assert [counts[name] for name in ("Infiltration", "Atelectasis", "Edema", "Effusion")] == [
        187,
        113,
        96,
        90,
    ]


def test_real_radiographs_reduce_to_the_copies_exactly(thousand):
    """The 1024-pixel originals, through our preparation, equal the 256-pixel copies and their manifest."""
    originals = sorted((real("nih_cxr14_1000") / "raw_1024_sample").glob("*.png"))
    assert len(originals) == 12
    radiographs, _ = nih_cxr14.sources()
    marks = {Path(name).name: mark for name, mark in radiographs.manifest.items()}
    for path in originals:
        reduced = png.read_reduced(path, 256)
        [row] = np.flatnonzero(thousand.source_name == path.name)
        np.testing.assert_array_equal(reduced, thousand.images[row])
        assert nih_cxr14.radiograph_fingerprint(path) == marks[path.name]
        mean = np.asarray(Image.open(path)).reshape(256, 4, 256, 4).mean((1, 3))
        assert np.abs(reduced - mean).max() <= 1
