"""A run on a user's own cohort: `./run_all.sh demo PAPER --data cohort.h5`, or `papermill … -p data cohort.h5`.

    run = on_cohort(Run("05_name", scale, cohort, seed), data)

Without `data` the run is as it was. With it the cohort stands where a public one stands: `open_cohort` gives the part
of it that paper.yaml (entry `own`) has for a public set. Everything lies under own-SCALE-DIGEST, which git ignores,
with the digest of the file, and its stamps say whose images they are; nothing stored in weights/ is used.
"""

import functools
import os
import shlex
from pathlib import Path

from lib.cohorts.cohort import Cohort
from lib.cohorts.own import digest_of, open_own
from lib.cohorts.serving import meeting
from lib.core.paths import given_tag, own_tag, set_flags
from lib.experiment.run import Run


def on_cohort(run: Run, data: str | Path, masks: str | Path = "") -> Run:
    """`run` itself without `data`; else the same notebook on the user's cohort in that file, with `masks` of another.

    Raises FileNotFoundError, and ValueError for a paper that takes no cohort, masks that it does not look at, a file
    that has changed since the run began, and in a notebook that the suite executes for a page of ours.
    """
    return _OwnRun(run, Path(data), masks and Path(masks)) if data else run


def own_run(paper: str, scale: str, cohort: str, seed: int, *, data: str | Path, masks: str | Path = "") -> Run:
    """`Run(paper, scale, cohort, seed)` on the user's cohort in `data`, as `on_cohort` makes it."""
    return on_cohort(Run(paper, scale, cohort, seed), data, masks)


class _OwnRun(Run):
    """A run whose `cohort` is "own"; `sets` are the names that `open_cohort` knows."""

    def __init__(self, run: Run, data: Path, masks: str | Path):
        super().__init__(run.name, run.scale, run.cohort, run.seed)
        if (needs := self.paper.own) is None:
            raise ValueError(f"{run.name} takes no data of your own: its paper.yaml has no entry own")
        if masks and not needs.masks:
            raise ValueError(f"{masks}: {run.name} looks at no masks; leave them out")
        if (given := given_tag()) and not given.startswith("own-"):
            raise ValueError(f"own images in the run {given}, which is published: give them by -p, not in the notebook")
        digest = digest_of(data, masks)
        self.tag = own_tag(run.scale, digest, run.seed)
        if given and given != self.tag:
            raise ValueError(f"{data} has changed since the run {given} began: start it again")
        self._data, self._masks, self._needs, self._said = data, masks, needs, set[str]()
        self.cohort, self.sets = "own", tuple(needs.parts)
        given_settings = self.paper.source("own", run.scale)
        self.source = f"digest {digest}" + (given_settings or "").removeprefix("your own images")
        self._settings_digest = self.paper.settings_digest(run.scale, "own")
        os.environ["SUITE_TRAIN"] = "1"  # weights/ holds trainings of phantoms

    def open_cohort(self, name: str | None = None) -> Cohort:
        """The part of the user's cohort that stands for the public set `name`, made ready; what was made is printed.

        Without `name` it is the only part on which something is trained.
        Raises ValueError, naming the file, in one sentence, for what `open_own` refuses and what the cohort lacks.
        """
        trained = [part for part, which in self._needs.parts.items() if which != "other people"]
        if name is None and len(trained) != 1:
            raise ValueError(f"{self.name} opens several cohorts: choose one of {', '.join(self.sets)}")
        try:
            part = meeting(self._whole, self._needs, vars(self.settings), name or trained[0])
        except ValueError as problem:
            raise ValueError(f"{self._data}: {problem}") from problem
        if part.name not in self._said:
            self._said.add(part.name)
            print(f"{part}; {part.made_by}")
        return part

    @functools.cached_property
    def _whole(self) -> Cohort:
        return open_own(self._data, self._masks, within=self._needs.within)

    @property
    def _command(self) -> str:
        files = ["--data", str(self._data)] + (["--masks", str(self._masks)] if self._masks else [])
        seed = ["--seed", str(self.seed)] if self.seed else []
        return shlex.join(["./run_all.sh", self.scale, self.name, *files, *seed]) + set_flags()

    @property
    def unless_stored(self) -> None:
        """None at every scale: what is not trained yet is trained."""
        return
