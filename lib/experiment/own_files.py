"""The files of a user's own cohort: the name of their run, and whether they can serve a paper, before anything runs."""

from pathlib import Path

from lib.cohorts.own import digest_of
from lib.cohorts.serving import require_serving
from lib.core.paths import root
from lib.experiment.paper import load_paper


def digest_of_files(data: str, masks: str = "") -> str:
    """As `lib.cohorts.own.digest_of`, the digest in the folder names of a run on these files."""
    return digest_of(data, masks)


def assert_serves(paper: str, scale: str, data: str, masks: str = "") -> None:
    """Raise ValueError, in one sentence, where `paper` takes no cohort of one's own, or this one lacks what it needs.

    As `require_serving` says; FileNotFoundError for a file that is not there.
    """
    declared = load_paper(root() / "notebooks" / paper)
    if declared.own is None or scale not in declared.scales:
        raise ValueError(f"{paper} takes no --data at {scale}: its paper.yaml has no entry own")
    require_serving(Path(data), masks, declared.own, declared.column(scale), paper)
