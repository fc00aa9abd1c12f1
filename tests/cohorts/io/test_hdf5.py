"""HDF5 files that were received: nothing of other files is read, nothing is believed, and no error is raw."""

import json
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np
import pytest

from lib.cohorts.cohort import Cohort
from lib.cohorts.io import hdf5
from lib.cohorts.io.case_hdf5 import open_cases, read_masks
from lib.cohorts.io.user_images import open_images
from lib.cohorts.public import pgan_release
from tests.cohorts.toy import cohort, noise
from tests.paths import ROOT

N = 12
PIXELS = noise(N, 8)
WAYS = {
    "Cohort.open": Cohort.open,
    "open_cases": open_cases,
    "open_images": lambda path: open_images(path, size=8, most=9, rng=np.random.default_rng(0)),
}
WITH_MASKS = {"read_masks": lambda path: read_masks(path, cohort(PIXELS))}


def write(path, attributes=(), **datasets):
    """A plain cohort file; each of `datasets` is its content, a function that makes it in the file, or None."""
    with h5py.File(path, "w") as file:
        zeros = np.zeros(N, np.int64)
        for name, content in ({"images": PIXELS, "id": np.arange(N), "dis": zeros, "set": zeros} | datasets).items():
            if callable(content):
                content(file, name)
            elif content is not None:
                file[name] = content
        file.attrs.update(attributes)
    return path


def external(secret):
    return lambda file, name: file.create_dataset(name, (N, 8, 8), "u1", external=[(str(secret), 0, N * 64)])


def virtual(source):
    def make(file, name):
        layout = h5py.VirtualLayout((N, 8, 8), "u1")
        layout[:] = h5py.VirtualSource(str(source), "images", (N, 8, 8))
        file.create_virtual_dataset(name, layout, fillvalue=0)

    return make


def linked(link):
    def make(file, name):
        file[name] = link

    return make


def through_a_group(other):
    """A soft link of the file itself, to a link out of it."""

    def make(file, name):
        file["elsewhere"] = h5py.ExternalLink(str(other), "/")
        file[name] = h5py.SoftLink("/elsewhere/images")

    return make


def claiming(shape, dtype="u1", **options):
    return lambda file, name: file.create_dataset(name, shape, dtype, **options)


@pytest.mark.parametrize("name", ["images", "id", "masks"])
@pytest.mark.parametrize(
    "how", ["external", "virtual", "virtual, source missing", "external link", "soft link", "group"]
)
@pytest.mark.parametrize("way", [*WAYS, *WITH_MASKS])
def test_no_other_file_is_read(tmp_path, way, how, name):
    """e1da0c6 gave the bytes of /etc/passwd back as pixels, and black images for an absent source."""
    secret, other = tmp_path / "secret", write(tmp_path / "other.h5")
    secret.write_bytes(b"root:x:0:0" * 200)
    make = {
        "external": external(secret),
        "virtual": virtual(other),
        "virtual, source missing": virtual(tmp_path / "absent.h5"),
        "external link": linked(h5py.ExternalLink(str(other), "/images")),
        "soft link": linked(h5py.SoftLink("/set")),
        "group": through_a_group(other),
    }[how]
    path = write(tmp_path / "a.h5", **({"masks": np.zeros((N, 8, 8), np.uint8)} | {name: make}))
    if (way, name) == ("read_masks", "images"):
        assert not read_masks(path, cohort(PIXELS)).any()  # it has no business with images
        return
    why = r"stored in other files|is virtual|is a link, not a data set"
    with pytest.raises(ValueError, match=rf"a\.h5: {name} .*({why}).*; make the") as caught:
        (WAYS | WITH_MASKS)[way](path)
    assert "\n" not in str(caught.value)


def test_a_published_release_may_not_read_other_files_either(tmp_path):
    def regions(file, name):
        file.create_dataset(name, (N, 1), "f8", external=[("/etc/passwd", 0, 8 * N)])

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.zeros((N, 9, 8, 8))
        regions(file, "regions")
    with pytest.raises(ValueError, match=r"a\.h5: regions is stored in other files"):
        pgan_release.read(tmp_path / "a.h5")


CLAIMS = {
    "a billion rows": {"images": claiming((10**9, 8, 8), chunks=(1, 8, 8))},
    "a billion rows of every kind": {
        name: claiming((10**9, *shape), chunks=(1024, *shape), compression="gzip")
        for name, shape in {"images": (8, 8), "id": (), "dis": (), "set": ()}.items()
    },
    "a billion patients": {"id": claiming((10**9,), "i8", chunks=(1024,))},
    "a terabyte a row": {"images": claiming((N, 10**6, 10**6), chunks=(1, 8, 8))},
    "texts of a gigabyte": {"key": claiming((N,), "S1000000000", chunks=(1,))},
    "nothing": {"images": claiming((N, 8, 8), chunks=(1, 8, 8))},
}


@pytest.mark.parametrize("datasets", CLAIMS.values(), ids=CLAIMS)
def test_a_file_of_kilobytes_that_claims_gigabytes_is_refused_at_once(tmp_path, datasets):
    path = write(tmp_path / "a.h5", **datasets)
    assert path.stat().st_size < 60_000
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"a\.h5: \w+ (claims [\d,]+ bytes and stores|of shape .* is too large)"):
        Cohort.open(path)
    assert time.perf_counter() - start < 0.5  # milliseconds; e1da0c6 took 17 s and 10.9 GB


def test_the_memory_of_a_claim_is_not_taken(tmp_path):
    """The limit on memory stands for a small machine."""
    path = write(
        tmp_path / "a.h5", images=claiming((10**9, 8, 8), chunks=(1, 8, 8)), id=claiming((10**9,), chunks=(9,))
    )
    program = f"""
import resource
from lib.cohorts.cohort import Cohort
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20),) * 2)
try:
    Cohort.open({str(path)!r})
except ValueError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert "claims" in out.stdout or "too large" in out.stdout, out.stderr


def test_what_compresses_well_is_believed(tmp_path):
    """Black masks compress to a hundredth, and no file that deflate made is refused."""
    black = np.zeros((N, 512, 512), np.uint8)
    made = Cohort(black, np.arange(N), np.zeros(N), np.zeros(N), masks=black, name="a", label_names=("x",))
    assert not open_cases(made.save(tmp_path / "a.h5")).masks.any()
    path = write(tmp_path / "b.h5", images=lambda f, name: f.create_dataset(name, data=black, compression=9))
    assert not Cohort.open(path).images[:].any()


def test_what_is_read_as_a_whole_is_bounded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", masks=np.zeros((N, 8, 8), np.uint8))
    monkeypatch.setattr(hdf5, "MOST_IN_MEMORY", N * 64 - 1)
    with pytest.raises(ValueError, match=r"a\.h5: masks takes 768 bytes of memory, and 767 at most are read"):
        read_masks(path, cohort(PIXELS))


FACTS = {"name": "a", "labels": ["x"]}
MALFORMED = {
    "a number as facts": ({"facts": 3}, "attribute facts is no text"),
    "many facts": ({"facts": np.array(["{}"] * 3, object)}, "attribute facts is no text"),
    "a reference": ({"facts": h5py.Empty("f")}, "attribute facts is no text"),
    "no JSON": ({"facts": "{"}, "no JSON"),
    "a list": ({"facts": "[]"}, "a JSON list where an object is expected"),
    "null": ({"facts": "null"}, "a JSON NoneType where an object is expected"),
    "deep": ({"facts": "[" * 9000}, "nested too deeply"),
    "no UTF-8": ({"facts": np.bytes_(b"\xff\xfe")}, "no JSON|damaged"),
    "no name": ({"facts": json.dumps({"labels": ["x"]})}, "its fact name"),
    "no labels": ({"facts": json.dumps({"name": "a"})}, "its fact label_names"),
    "labels that are one text": ({"facts": json.dumps(FACTS | {"labels": "x"})}, "its fact label_names"),
    "labels that are numbers": ({"facts": json.dumps(FACTS | {"labels": [1]})}, "its fact label_names"),
    "no labels in the list": ({"facts": json.dumps(FACTS | {"labels": []})}, "0 names"),
    "a name that is a list": ({"facts": json.dumps(FACTS | {"name": ["a"]})}, "its fact name"),
    "a range of texts": ({"facts": json.dumps(FACTS | {"value_range": ["a", "b"]})}, "its fact value_range"),
    "a range of three": ({"facts": json.dumps(FACTS | {"value_range": [0, 1, 2]})}, "its fact value_range"),
    "a range of nothing": ({"facts": json.dumps(FACTS | {"value_range": [1, 1]})}, "its fact value_range"),
    "an infinite range": ({"facts": '{"name": "a", "labels": ["x"], "value_range": [0, Infinity]}'}, "value_range"),
    "a range without end": ({"facts": json.dumps(FACTS | {"value_range": [0, 10**400]})}, "its fact value_range"),
    "a range of NaN": ({"facts": '{"name": "a", "labels": ["x"], "value_range": [NaN, 1]}'}, "value_range"),
    "closed_set that is a text": ({"facts": json.dumps(FACTS | {"closed_set": "no"})}, "its fact closed_set"),
    "an unknown fact": ({"facts": json.dumps(FACTS | {"images": [1]})}, "its fact images"),
    "another split code": ({"split_code": '{"train": 1}'}, "recode to"),
    "a list as split code": ({"split_code": "[]"}, "a JSON list"),
    "a number as split code": ({"split_code": 1}, "attribute split_code is no text"),
}


@pytest.mark.parametrize(("attributes", "sentence"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_attributes_are_one_sentence(tmp_path, attributes, sentence):
    path = write(tmp_path / "a.h5", attributes)
    for way in WAYS.values():
        with pytest.raises(ValueError, match=rf"a\.h5: .*({sentence})") as caught:
            way(path)
        assert "\n" not in str(caught.value)


COLUMNS = {
    "fractions of a patient": ({"id": np.arange(N) / 10}, "patient holds 0.1"),
    "patients that are NaN": ({"id": np.full(N, np.nan)}, "patient holds nan"),
    "patients that are text": ({"id": np.array([b"x"] * N)}, r"id holds \|S1, no numbers"),
    "a label of .9": ({"dis": np.full(N, 0.9)}, "dis holds 0.9"),
    "labels that wrap": ({"set": np.tile([256, 257, 258], 4)}, "split holds 256"),
    "a split of -1": ({"set": np.full(N, -1)}, "split holds -1"),
    "a site of .5": ({"site": np.full(N, 0.5)}, "site holds 0.5"),
    "a class in the millions": ({"dis": np.full(N, 10**12)}, "dis reaches 1,000,000,000,000"),
    "a group": ({"id": lambda file, name: file.create_group(name)}, "id is no data set with rows"),
    "a scalar": ({"id": 3}, "id is no data set with rows"),
    "nothing": ({"id": h5py.Empty("i8")}, "id is no data set with rows"),
    "records": ({"id": np.zeros(N, [("a", "i4")])}, "id holds .*, no numbers"),
    "references": (
        {"id": lambda file, name: file.create_dataset(name, (N,), h5py.ref_dtype, data=[file["images"].ref] * N)},
        "id holds object, no numbers",
    ),
    "lists": ({"id": lambda file, name: file.create_dataset(name, (N,), h5py.vlen_dtype("i8"))}, "id (claims|holds)"),
    "labels of three axes": ({"dis": np.zeros((N, 2, 2), int)}, "labels have shape"),
    "labels without a column": ({"dis": np.zeros((N, 0), int)}, "labels"),
    "names that are numbers": ({"key": np.arange(N)}, "key is no column of texts"),
    "a name as long as a book": ({"key": ["x" * 5000] * N}, "key holds a text of 5,000 characters"),
    "images without pixels": ({"images": np.zeros((N, 0, 8), np.uint8)}, r"none with a pixel"),
    "no images": ({"images": np.zeros((0, 8, 8), np.uint8)}, r"no image"),
    "images in one row": ({"images": np.zeros(N, np.uint8)}, r"images have shape"),
    "images of whole numbers": ({"images": PIXELS.astype(int)}, r"convert them to uint8 or float32"),
    "masks that are text": ({"masks": np.full((N, 8, 8), b"x")}, r"masks holds \|S1, no numbers"),
    "masks of another size": ({"masks": np.zeros((N, 4, 4), np.uint8)}, r"masks are"),
    "fewer masks": ({"masks": np.zeros((N - 1, 8, 8), np.uint8)}, r"masks has 11 rows"),
}


@pytest.mark.parametrize(("datasets", "sentence"), COLUMNS.values(), ids=COLUMNS)
def test_malformed_columns_are_one_sentence(tmp_path, datasets, sentence):
    path = write(tmp_path / "a.h5", **datasets)
    for way in WAYS.values():
        with pytest.raises(ValueError, match=rf"a\.h5: .*({sentence})") as caught:
            way(path)
        assert "\n" not in str(caught.value)


def test_names_come_back_whatever_their_number(tmp_path):
    names = [f"ü {i}" for i in range(100)]
    columns = {"images": noise(100, 8), "id": np.arange(100), "dis": np.zeros(100), "set": np.zeros(100)}
    assert Cohort.open(write(tmp_path / "a.h5", key=names, **columns)).source_name.tolist() == names
    fixed = [name.encode() for name in names]
    assert Cohort.open(write(tmp_path / "b.h5", key=fixed, **columns)).source_name.tolist() == names


def chunked(stored: bytes, *, filters=("deflate",), shape=(N, 8, 8), dtype=h5py.h5t.NATIVE_UINT8, chunk=None, mask=0):
    """A data set whose every chunk has the bytes `stored`, whatever its filters would make of it."""

    def make(file, name):
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_chunk(chunk or shape)
        for of in filters:
            {
                "deflate": lambda: layout.set_deflate(9),
                "shuffle": layout.set_shuffle,
                "fletcher32": layout.set_fletcher32,
                "lzf": lambda: layout.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL),
                "scale-offset": lambda: layout.set_scaleoffset(h5py.h5z.SO_INT, 0),
            }[of]()
        space = h5py.h5s.create_simple(shape)
        dataset = h5py.h5d.create(file.id, name.encode(), dtype, space, layout)
        for row in range(0, shape[0], (chunk or shape)[0]):
            dataset.write_direct_chunk((row,) + (0,) * (len(shape) - 1), stored, mask)

    return make


NOISE = np.random.default_rng(0).bytes(1_060_000)
TWICE = zlib.compress(zlib.compress(bytes(1 << 23)))
TEXT = h5py.h5t.C_S1.copy()
TEXT.set_size(100 << 20)
EXPANDING = {
    "a chunk of more than it claims": (
        {"images": chunked(zlib.compress(NOISE[:9000]))},
        "images stores more bytes in a chunk than the 768 it has",
    ),
    "a chunk that inflates": (
        {"images": chunked(zlib.compress(NOISE[:1_053_000] + bytes(1 << 20)), shape=(1, 1030, 1024))},
        "images has a chunk that inflates to more than its 1,054,720 bytes",
    ),
    "deflated twice": ({"masks": chunked(TWICE, filters=["deflate"] * 2)}, "stored by gzip, gzip"),
    "two compressions": ({"images": chunked(b"x" * 100, filters=["lzf", "deflate"])}, "stored by LZF, gzip"),
    "a filter of few bytes": ({"images": chunked(b"x" * 100, filters=["scale-offset"])}, "stored by filter 6"),
    "texts of 100 MB": (
        {"key": chunked(zlib.compress(bytes(1 << 24)) * 8, shape=(N,), chunk=(1,), dtype=TEXT)},
        "key has room for texts of 104,857,600 bytes",
    ),
    "an image of 16,384²": (
        {"images": chunked(bytes(1 << 18), shape=(N, 1 << 14, 1 << 14), chunk=(1, 1 << 14, 1 << 14))},
        "images has 16,384×16,384 pixels an image, more than 67,108,864",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("datasets", "sentence"), EXPANDING.values(), ids=EXPANDING)
def test_a_chunk_that_would_take_memory_is_refused_before_it_is_read(tmp_path, datasets, sentence):
    path = write(tmp_path / "a.h5", **datasets)
    for way in WAYS.values():
        with pytest.raises(ValueError, match=rf"a\.h5: .*({sentence})") as caught:
            way(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "filters", [(), ("shuffle",), ("fletcher32",), ("deflate",), ("lzf",), ("shuffle", "deflate", "fletcher32")]
)
def test_common_filters_are_read_also_of_large_chunks_of_noise(tmp_path, filters):
    large = np.frombuffer(NOISE[: 1030 * 1024] + bytes(2 * 1030 * 1024), np.uint8).reshape(3, 1030, 1024)
    options = {"shuffle": "shuffle" in filters, "fletcher32": "fletcher32" in filters}
    if used := {"deflate", "lzf"} & set(filters):
        options["compression"] = used.pop().replace("deflate", "gzip")

    def images(file, name):
        file.create_dataset(name, data=large, chunks=(1, 1030, 1024), **options)

    zeros = np.zeros(3, int)
    path = write(tmp_path / "a.h5", images=images, id=np.arange(3), dis=zeros, set=zeros)
    np.testing.assert_array_equal(Cohort.open(path).images[:], large)


def test_a_large_chunk_that_is_not_inflated_is_not_looked_into(tmp_path):
    """Its mask says so; HDF5 writes it for a chunk that deflate would only enlarge."""
    shape = (1, 1035, 1024)
    images = chunked(NOISE[: 1035 * 1024], shape=shape, chunk=shape, mask=1)
    path = write(tmp_path / "a.h5", images=images, id=[0], dis=[0], set=[0])
    assert Cohort.open(path).images[:].tobytes() == NOISE[: 1035 * 1024]


def test_a_small_file_is_not_read_whole_into_more_than_its_share(tmp_path, monkeypatch):
    path = cohort(np.zeros((40, 64, 64), np.uint8)).save(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5, "MOST_IN_MEMORY", 20 * 64 * 64)
    found = Cohort.open(path)
    assert found.images[:20].shape == (20, 64, 64)
    with pytest.raises(ValueError, match=r"a\.h5: images takes 163,840 bytes of memory and stores [\d,]+, .*16 times"):
        found.images[:]
    noisy = cohort(noise(40, 64)).save(tmp_path / "b.h5")
    assert Cohort.open(noisy).images[:].shape == (40, 64, 64)  # a large file may be


@pytest.mark.slow
def test_damage_anywhere_is_one_sentence_or_harmless(tmp_path):
    """A byte in 64 turned, in headers, trees and pixels: whatever HDF5 makes of it, nothing raw comes out."""
    program = """
import sys
from pathlib import Path
from lib.cohorts.io.case_hdf5 import open_cases
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
refused = 0
for place in range(5, len(whole), 64):
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    try:
        open_cases(path)
    except ValueError as error:
        assert "\\n" not in str(error) and str(path) in str(error), (place, error)
        refused += 1
print(refused)
"""
    small = cohort(PIXELS[:2], masks=np.zeros((2, 8, 8), np.uint8), source_name=["a", "b"]).save(tmp_path / "a.h5")
    run = [sys.executable, "-c", program, small, tmp_path / "b.h5"]
    out = subprocess.run(run, capture_output=True, text=True, timeout=100, cwd=ROOT)  # apart, for HDF5 is written in C
    assert out.returncode == 0, out.stderr
    assert int(out.stdout) > 10
