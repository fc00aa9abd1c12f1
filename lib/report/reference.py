"""The committed results of a run: figures, tables and the records behind them, in figures/reference/TAG.

A run writes to figures/TAG, which git ignores. What is published is copied from there by this module alone, file by
file as paper.yaml declares them, and only if all of it can be made again from the committed code: no executed notebook,
no path of a machine, and of real images the numbers of a study alone, no item that shows one.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from lib.core.files import atomic
from lib.core.json_objects import parse_object, read_object
from lib.core.paths import root
from lib.experiment.paper import known_papers
from lib.report.records import DAMAGE, Records, what
from lib.report.runs import RunFolders, find_run, parts_of
from lib.runner.plan import plan

LARGEST_FILE, LARGEST = 2 * 2**20, 12 * 2**20  # bytes; of one file, and of all of a run
KINDS = {"figure": ("png", "json"), "table": ("csv", "tex", "json")}  # of an item's files, those that are committed
_RECORDED = ("study",)  # scales whose repetitions are kept: those of a demo are measured again, in minutes
# Of the record of a finished notebook, what the page shows.
_SHOWN = ("notebook", "paper", "scale", "cohort", "seed", "revision", "seconds", "peak_memory_mb", "finished_at")


def write_reference(run: str, papers: Sequence[str] = ()) -> Path:
    """Write figures/reference/TAG from the run `run` of this checkout, whole or not at all, and return the folder.

    papers: folders under notebooks/ whose results alone are taken anew, with the scorecard; those of the others stay as
    they are committed, each with the revision that made it. Raises ValueError, with the first reasons, for a run of
    real images that is no study, a checkout with changes that are not committed, notebooks that are not finished or out
    of date, records that are damaged, made from other settings or by code that is not committed, files that are too
    large, and, with `papers`, for an unknown one and for another paper of which the run has other records than are
    committed, which the scorecard would count. Raises OSError if it cannot be written.
    """
    folders = find_run(run)
    if folders.reference or folders.checkout != root():
        raise ValueError(f"{run} is no run of this checkout: give the tag of one, such as demo-phantom")
    scale, cohort, seed = parts_of(folders.tag)
    if cohort == "own":
        raise ValueError(f"{run} is of a user's own images: of these nothing is published")
    if "-set-" in folders.tag:
        raise ValueError(f"{run} is of other settings than paper.yaml has: of these nothing is published")
    if cohort != "phantom" and scale != "study":
        raise ValueError(f"{run} is of real images ({cohort}): of these a study alone is published")
    if changed := _uncommitted():
        raise _refused(run, [f"{path} differs from the last commit" for path in changed])
    if unknown := [name for name in papers if name not in known_papers()]:
        raise ValueError(f"unknown paper {unknown[0]!r}: known are {', '.join(known_papers())}")
    reference = RunFolders(folders.tag, reference=True, checkout=root())
    records = [Records(name, folders) for name in known_papers()]
    anew = [of for of in records if not papers or of.name in papers or of.content["closing"]]
    names = [of.name for of in anew]
    notebooks = plan(tuple(known_papers()), scale=scale, cohort=cohort, seed=int(seed))
    notebooks = [of for of in notebooks if of.paper in names and of.declared.declares(of.name)]
    stale = [f"{of} ({reason})" for of in notebooks for reason in of.changes()]
    if stale:
        raise _refused(run, stale)
    problems = [problem for of in anew for problem in _problems(of)]
    problems += [problem for of in records if of not in anew for problem in _others(of, Records(of.name, reference))]
    if problems:
        raise _refused(run, problems)
    return _write_whole(anew, reference)


def restore(run: str) -> list[str]:
    """Put what is committed of the run `run` back into it, for each paper that it has nothing of, and return these.

    On a new machine one paper can then be run, the scorecard count all, and that paper alone be taken anew. Records and
    products come back, no file that another notebook reads: a command that needs such a notebook runs it.
    Raises ValueError for a tag of which nothing is committed, OSError if a file cannot be written.
    """
    parts_of(run)  # or it is refused
    reference = RunFolders(run, reference=True, checkout=root())
    if not reference.is_there:
        raise ValueError(f"nothing is committed of {run}: figures/reference has no such folder")
    folders = RunFolders(run, reference=False, checkout=root())
    back = []
    for paper in (name for name in known_papers() if (reference.page / name).is_dir()):
        if (folders.records / paper).exists() or (folders.page / paper).exists():
            continue
        for source in (path for path in sorted((reference.page / paper).rglob("*")) if path.is_file()):
            kind = source.parent.name
            places = {"claims": folders.claims(paper) / source.name, "done": folders.done(paper, source.stem)}
            if kind in places or source.parent == reference.page / paper:
                with atomic(places.get(kind, folders.page / paper / source.name)) as path:
                    path.write_bytes(source.read_bytes())
        back.append(paper)
    return back


def _refused(run: str, problems: list[str]) -> ValueError:
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return ValueError(f"{run} cannot become the reference: {'; '.join(problems[:3])}{more}")


def _uncommitted() -> list[str]:
    """Files that differ from the last commit or are new, but for the reference itself. ValueError outside git."""
    git = ["git", "-C", str(root()), "status", "--porcelain", "--", ".", ":!figures/reference"]
    try:
        status = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{root()} is no git checkout: the reference names the commit it was made from") from error
    return [line[3:] for line in status.splitlines()]


def _problems(records: Records) -> Iterator[str]:
    """Why a paper's results cannot be published; none where they can."""
    yield from records.problems
    content = records.content
    for kind in ("items", "claims", "notebooks"):
        for entry in _notebooks(records) if kind == "notebooks" else content[kind]:
            name = f"{records.name}/{entry['name']}"
            if entry["stale"]:
                yield f"{name} was {entry['stale']}"
            if not entry["revision"]:
                yield f"{name} was not made"
            elif entry["revision"].endswith("+") or entry["revision"] == "unknown":
                yield f"{name} was made by code that is not committed ({entry['revision']})"
    for path in _files(records):
        try:
            if path.suffix == ".json":
                yield from _foreign(path, read_object(path), records)
            elif path.suffix == ".png":
                with Image.open(path) as png:
                    yield from _foreign(path, parse_object(png.info["Description"]), records)
        except DAMAGE as error:
            yield f"{path.relative_to(root())} is damaged ({what(error)})"


def _others(run: Records, committed: Records) -> Iterator[str]:
    """Which claims and items of a paper the scorecard of a run counts otherwise than is committed."""
    for kind in ("claims", "items"):
        made = {entry["name"]: _as_counted(entry) for entry in run.content[kind]}
        kept = {entry["name"]: _as_counted(entry) for entry in committed.content[kind]}
        different = sorted(name for name in made.keys() | kept.keys() if made.get(name) != kept.get(name))
        yield from (f"{run.name}/{name} of this run is not the committed one: name its paper too" for name in different)


def _as_counted(entry: dict) -> tuple:
    return tuple(entry.get(key) for key in ("revision", "kind", "verdict", "value", "low", "high", "n"))


def _foreign(path: Path, facts: dict, records: Records) -> Iterator[str]:
    expected = dict(zip(("scale", "cohort", "seed"), parts_of(records.folders.tag), strict=True))
    found = {key: str(facts.get(key)) for key in expected}
    if found != expected:
        yield f"{path.relative_to(root())} is of another run ({', '.join(found.values())})"


def _files(records: Records) -> Iterator[Path]:
    """The files of a paper that are published as they are."""
    for item in records.content["items"]:
        if records.cohort != "phantom" and records.paper and records.paper.items[item["name"]].images:
            continue
        for suffix in KINDS.get(item["kind"], ()):
            yield records.page / records.name / f"{item['name']}.{suffix}"
    for claim in (claim for claim in records.content["claims"] if claim["revision"]):
        yield records.folders.claims(records.name) / f"{claim['name']}.json"


def _notebooks(records: Records) -> list[dict]:
    """The notebooks of a paper of which something is committed: not a release, which declares nothing."""
    paper = records.paper
    return [of for of in records.content["notebooks"] if paper is not None and paper.declares(of["name"])]


def _repetitions(records: Records) -> Iterator[Path]:
    """What its notebooks measured in each repetition of a study (lib.experiment.repetition)."""
    if parts_of(records.folders.tag)[0] not in _RECORDED or not records.paper:
        return
    for name in records.paper.records:
        notebook, label = name.split("/")
        yield from sorted((records.folders.records / records.name / notebook).glob(f"*/{label}.npz"))


def _write_whole(records: list[Records], reference: RunFolders) -> Path:
    """Copy all into a new folder, with what is committed of other papers, and put it in the place of the old one."""
    made = reference.page.with_name(f".{reference.tag}.{os.getpid()}.partial")
    old = made.with_suffix(".old")
    new = RunFolders(made.name, reference=True, checkout=reference.checkout)
    for left in reference.page.parent.glob(f".{reference.tag}.*"):  # by a command that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        if reference.page.exists():
            names = {of.name for of in records}
            kept = [folder for folder in reference.page.iterdir() if folder.is_dir() and folder.name not in names]
            for folder in (folder for folder in kept if folder.name in known_papers()):
                shutil.copytree(folder, made / folder.name)
        for of in records:
            for source in _repetitions(of):
                with atomic(made / of.name / "records" / source.relative_to(of.folders.records / of.name)) as path:
                    path.write_bytes(source.read_bytes())
            for source in _files(of):
                folder = new.claims(of.name) if source.parent.name == "claims" else made / of.name
                with atomic(folder / source.name) as path:
                    path.write_bytes(source.read_bytes())
            for notebook in _notebooks(of):
                done = read_object(of.folders.done(of.name, notebook["name"]))
                shown = json.dumps({key: done[key] for key in _SHOWN if key in done}, indent=1)
                with atomic(new.done(of.name, notebook["name"])) as path:
                    path.write_text(shown, encoding="utf-8")
        sizes = {path: path.stat().st_size for path in made.rglob("*") if path.is_file()}
        largest = max(sizes, key=sizes.__getitem__)
        if sizes[largest] > LARGEST_FILE or sum(sizes.values()) > LARGEST:
            raise ValueError(
                f"{reference.tag} is too large to be committed: {sum(sizes.values()) / 2**20:.1f} MiB of at most "
                f"{LARGEST / 2**20:g}, its largest file, {largest.relative_to(made)}, {sizes[largest] / 2**20:.1f} of "
                f"{LARGEST_FILE / 2**20:g}"
            )
        if reference.page.exists():
            reference.page.rename(old)
        made.rename(reference.page)
    except BaseException:
        if old.exists() and not reference.page.exists():
            old.rename(reference.page)
        raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return reference.page
