"""Preparing, opening and listing public sets, from a download and without; the real files satisfy their manifests."""

import pytest

from lib.cohorts import public as datasets
from lib.cohorts.__main__ import main
from lib.cohorts.io import fetch
from lib.cohorts.public import cbis_ddsm, nih_cxr14
from tests.cohorts.github import NO_NETWORK, files_in
from tests.cohorts.public.nih_release import release, subset
from tests.paths import shared


def test_both_sets_can_be_fetched_whole():
    """The manifests name exactly the published number of files."""
    [masses] = cbis_ddsm.sources()
    assert len(masses.manifest) == sum(map(sum, cbis_ddsm.COUNTS.values())) == 5804
    radiographs, table = nih_cxr14.sources()
    assert (len(radiographs.manifest), len(table.manifest)) == (1000, 1)
    marks = {mark for source in (masses, radiographs, table) for mark in source.manifest.values()}
    assert all(len(mark) == 32 and set(mark) <= set("0123456789abcdef") for mark in marks)


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


def test_real_files_satisfy_the_manifests():
    [source] = cbis_ddsm.sources()
    assert all(source.holds(name, shared("mammo_dp") / name) for name in source.manifest)
    _, table = nih_cxr14.sources()
    assert all(table.holds(name, shared("nih_cxr14_1000") / name) for name in table.manifest)
