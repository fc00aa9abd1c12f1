"""Which run is meant: one of this checkout by its tag, the committed reference of one, or one of another checkout."""

import re
from dataclasses import dataclass
from pathlib import Path

from lib.core.paths import COHORTS, SCALES, root

_SCALE = "|".join(SCALES)
_TAG = re.compile(
    rf"(?:(?P<scale>{_SCALE})-(?P<cohort>{'|'.join(COHORTS)})|own-(?P<of_own>{_SCALE})-[0-9a-f]{{8}})"
    r"(?:-seed(?P<seed>[1-9]\d*))?(?:-set-[0-9a-f]{8})?"
)
_RUN = re.compile(
    rf"(?:(?P<checkout>.*?)/)??(?:figures/|data/runs/)?(?P<reference>reference/)?(?P<tag>{_TAG.pattern})/*"
)


@dataclass(frozen=True)
class RunFolders:
    """Where the files of a run lie.

    tag: SCALE-COHORT or SCALE-COHORT-seedN, of a user's own cohort own-SCALE-DIGEST and so on, with -set-DIGEST where
    settings were given. reference: whether it is the
    committed one, figures/reference/`tag`, which holds its records beside its figures and no executed notebooks.
    checkout: the project's folder.
    """

    tag: str
    reference: bool
    checkout: Path

    def __str__(self) -> str:
        name = f"reference/{self.tag}" if self.reference else self.tag
        return name if self.checkout == root() else f"{self.checkout}/{name}"

    @property
    def page(self) -> Path:
        """The folder of its figures, a folder a paper, and of its page."""
        return self.checkout / "figures" / ("reference" if self.reference else "") / self.tag

    @property
    def records(self) -> Path:
        """The folder of its records of claims and finished notebooks, a folder a paper."""
        return self.page if self.reference else self.checkout / "data" / "runs" / self.tag

    def claims(self, paper: str) -> Path:
        """The folder of the records of the claims of `paper`."""
        return self.records / paper / "claims"

    def done(self, paper: str, notebook: str) -> Path:
        """The record of a finished notebook."""
        return self.records / paper / (f"done/{notebook}.json" if self.reference else f"{notebook}/done.json")

    def executed(self, paper: str) -> Path:
        """The folder of the executed copies of a paper's notebooks."""
        return self.records / "executed" / paper

    @property
    def is_there(self) -> bool:
        """Whether the run left anything."""
        return self.page.is_dir() or self.records.is_dir()


def find_run(run: str) -> RunFolders:
    """The run that `run` names: TAG, reference/TAG, or the path of such a folder, in figures/ or data/runs/, elsewhere.

    Raises ValueError, naming the known ones, for a run that is not there.
    """
    if found := _RUN.fullmatch(run):
        checkout = root() if found["checkout"] is None else Path(found["checkout"] or "/").resolve()
        checkout = root() if checkout == root().resolve() else checkout
        folders = RunFolders(found["tag"], bool(found["reference"]), checkout)
        if folders.is_there:
            return folders
    else:
        checkout = Path(run).resolve() if run else root()
    known = ", ".join(map(str, _runs_of(checkout) or _runs_of(root()))) or "none, start one by ./run_all.sh"
    raise ValueError(f"no run {run!r}: known are {known}")


def parts_of(tag: str) -> tuple[str, str, str]:
    """Scale, cohort ("own" of a user's) and seed of a run's tag. ValueError for another text."""
    if not (found := _TAG.fullmatch(tag)):
        raise ValueError(f"{tag!r} is no tag of a run, SCALE-COHORT or SCALE-COHORT-seedN")
    return found["scale"] or found["of_own"], found["cohort"] or "own", found["seed"] or "0"


def _runs_of(checkout: Path) -> list[RunFolders]:
    folders = ("figures", "data/runs", "figures/reference")
    found = {(part.endswith("reference"), path.name) for part in folders for path in (checkout / part).glob("*")}
    return [RunFolders(tag, reference, checkout) for reference, tag in sorted(found) if _TAG.fullmatch(tag)]
