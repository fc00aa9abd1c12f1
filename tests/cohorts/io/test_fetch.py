"""Fetching resumes, repairs, verifies, and says why it failed; archives give the files of the manifest only."""

import io
import tarfile

import pytest

from lib.cohorts.io import fetch
from tests.cohorts.github import NO_NETWORK, answer, files_in

CONTENT = {"a/one.txt": b"first", "a/two words.txt": b"second", "b.txt": b"third"}


def source_of(tmp_path, **options):
    """The source that publishes CONTENT, its manifest through a file."""
    for name, content in CONTENT.items():
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    manifest = tmp_path / "manifest.txt.gz"
    fetch.write_manifest(manifest, tmp_path / "published", CONTENT)
    return fetch.Source("owner/name", "c0ffee", fetch.read_manifest(manifest), **options)


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


def tar_of(files, links=(), kind=tarfile.SYMTYPE):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in links:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
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
        (tar_of({}, [("name-c0ffee/b.txt", "/etc/passwd")], tarfile.LNKTYPE), r"b\.txt is not a regular file"),
        (tar_of({}, [("name-c0ffee/b.txt", "")], tarfile.FIFOTYPE), r"b\.txt is not a regular file"),
        (
            tar_of({"name-c0ffee/b.txt": bytes((1 << 26) + 1)}),
            r"b\.txt has 67,108,865 bytes; do not trust this archive",
        ),
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
