"""A run: one notebook of one paper at one scale, on one cohort, from one seed, and where its files lie."""

import json
import math
import runpy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import IPython.display
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lib.cohorts.cohort import Cohort
from lib.cohorts.public import open_public
from lib.core import distributed as ranks
from lib.core.files import atomic
from lib.core.lock import assert_free
from lib.core.manifest import damages, sha256
from lib.core.paths import COHORTS, SCALES, given_tag, own_tag, rehearsal, root, set_flags, tag
from lib.core.revision import revision
from lib.core.seeding import arithmetic_here, repetition_seeds
from lib.experiment.evaluation import evaluate
from lib.experiment.latex import in_ascii
from lib.experiment.paper import Settings, known_papers, load_paper, place_of_claim
from lib.experiment.products import SAVED, save_png, stamp
from lib.experiment.tables import typeset_table, without_formulas
from lib.experiment.verdict import Outcome
from lib.statistics.repetitions import Repeated

_PAGE_ROWS = 40  # rows of a table that fit on one page of a manuscript


class Run:
    """Settings, paths and products of one notebook's run.

    paper: a folder under notebooks/. scale: smoke, demo, study or paper. cohort: phantom or public. seed: an integer
    ≥ 0. Attributes: `settings` (the scale's column of paper.yaml), `sets` (the names of the phantom or public sets that
    stand for the cohort), `source` (the same as text), `is_smoke`. Raises ValueError for an unknown name.
    """

    def __init__(self, paper: str, scale: str, cohort: str, seed: int):
        for kind, value, known in (
            ("paper", paper, known_papers()),
            ("scale", scale, SCALES),
            ("cohort", cohort, COHORTS),
        ):
            if value not in known:
                raise ValueError(f"unknown {kind} {value!r}: choose one of {', '.join(known)}")
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise ValueError(f"seed {seed!r}: give a whole number from 0")
        self.name, self.scale, self.cohort, self.seed = paper, scale, cohort, seed
        self.paper = load_paper(root() / "notebooks" / paper)
        if scale not in self.paper.scales:
            raise ValueError(f"{paper} has no {scale} yet: choose one of {', '.join(self.paper.scales)}")
        given = given_tag()
        self.tag = given if given.startswith("own-") else tag(scale, cohort, seed)
        self.settings = Settings(**self.paper.column(scale))
        self.is_smoke = scale == "smoke" or bool(rehearsal())
        if cohort not in self.paper.cohorts:
            raise ValueError(f"{paper} has no {cohort} cohort: choose one of {', '.join(self.paper.cohorts)}")
        self.sets, self.source = self.paper.sets(cohort, scale), self.paper.source(cohort, scale)
        self._settings_digest = self.paper.settings_digest(scale, cohort)

    def on_own_images(self, images: str) -> "Run":
        """This run on a user's own images, of which `images` is the short digest.

        Its files lie under own-SCALE-DIGEST, which git ignores and no page shows, so no product of the cohort changes;
        the runner, which does not know the images, has a digest of the parameters there. Stamps on figures say that the
        images are the user's own. Raises ValueError in a notebook that the suite executes for a page: its executed copy
        would show the images.
        """
        own = Run(self.name, self.scale, self.cohort, self.seed)
        if (given := given_tag()) and not given.startswith("own-"):
            raise ValueError(f"own images in the run {given}, which is published: give them by -p, not in the notebook")
        own.cohort, own.sets, own.source = "own", (), f"digest {images}"
        own.tag = given or own_tag(self.scale, images, self.seed)
        return own

    @property
    def seeds(self) -> list[int]:
        """The seeds of this run's repetitions, as many as the setting `seeds` says; no two runs share one.

        Raises AttributeError if paper.yaml has no setting `seeds`, and ValueError if it exceeds 100.
        """
        return repetition_seeds(self.seed, self.settings.seeds)

    def open_cohort(self, name: str | None = None) -> Cohort:
        """The public cohort that paper.yaml names for this run; if it names several, the one called `name`.

        Pixels are read when they are asked for. Raises ValueError for a name that paper.yaml does not give, if `name`
        is absent and paper.yaml gives several, and for a phantom, which is drawn. Raises FileNotFoundError, with the
        command that prepares the cohort, if it is not prepared.
        """
        if self.cohort != "public":
            raise ValueError(f"cohort {self.cohort} ({self.source}) is not opened from a file: only public cohorts are")
        if name is None and len(self.sets) != 1:
            raise ValueError(f"{self.name} has several public cohorts: choose one of {self.source}")
        if name is not None and name not in self.sets:
            raise ValueError(f"{self.name} has no public cohort {name!r} at {self.scale}: choose one of {self.source}")
        return open_public(name or self.sets[0])

    @property
    def _command(self) -> str:
        flag = ("" if self.cohort == "phantom" else f" --cohort {self.cohort}") + set_flags()
        flag += f" --seed {self.seed}" if self.seed else ""
        return f"./run_all.sh {self.scale} {self.name}{flag}"

    @property
    def unless_stored(self) -> str | None:
        """At demo the command that trains what the store lacks, for `lib.generators.train`; elsewhere None."""
        return f"{self._command} --train" if self.scale == "demo" else None

    def path(self, name: str) -> Path:
        """Where the file `name` ("01_train/gan") of this run lies; its folder is made if it is absent.

        Raises ValueError for a name that leads out of the run's folder.
        """
        path = self._at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _at(self, name: str) -> Path:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name} leads out of the run's folder: name a file in it, such as 01_train/gan")
        return root() / "data" / "runs" / self.tag / self.name / name

    def need(self, name: str) -> Path:
        """The file or folder `name` of an earlier notebook.

        Raises FileNotFoundError, naming that notebook, if it is absent, and OSError, naming the file, if it is not as
        that notebook's record says, such as empty or cut off.
        """
        path, maker = self._at(name), name.split("/")[0]
        if maker not in self.paper.notebooks:
            raise ValueError(f"{name}: {self.name} has no notebook {maker!r}, but {', '.join(self.paper.notebooks)}")
        command = self._command
        if not path.exists():
            raise FileNotFoundError(
                f"{name} is missing for {self.tag}: run notebook {self.name}/{maker} first, or {command}"
            )
        _, files = self._told(maker)
        at = path.relative_to(root()).as_posix()
        theirs = {file: told for file, told in files.items() if f"{file}/".startswith(f"{at}/")}
        if damage := next(damages(theirs, root()), ""):
            raise OSError(f"{damage}; {command} makes it again")
        return path

    def _told(self, notebook: str) -> tuple[Path, dict]:
        """The record of a finished notebook of this run, and its manifest; empty if it has none."""
        record = self.path(f"{notebook}/done.json")
        try:
            return record, dict(json.loads(record.read_text(encoding="utf-8"))["files"])
        except (OSError, ValueError, KeyError, TypeError):  # not finished, or damaged: the runner makes it again
            return record, {}

    def save(self, name: str, content: pd.DataFrame | Cohort | Mapping[str, np.ndarray]) -> None:
        """Write the file `name` ("01_train/sets.csv") of this run, whole or not at all, so that `need` can trust it.

        A data frame is saved as .csv (with its index if that has a name), a cohort as .h5, and a mapping of names to
        arrays as .npz. Of several ranks only the writer writes, and every rank waits until the file is there. Raises
        ValueError for another ending, TypeError for another kind of content and for arrays of objects, and OSError,
        naming the file, when the disk is full.
        """
        given = type(content).__name__
        found = [(ending, write) for kind, ending, write in SAVED if isinstance(content, kind)]
        if not found:
            raise TypeError(f"{name}: cannot save a {given}; give a data frame, a cohort or a mapping of arrays")
        [(ending, write)] = found
        if not name.endswith(ending):
            raise ValueError(f"{name}: a {given} is saved as {ending}; name the file so")
        if ranks.is_writer():
            self._require_free()
            write(content, self.path(name))
            self._retract(name.split("/")[0], self.path(name))
        ranks.barrier()

    def _require_free(self) -> None:
        """Raise FolderInUse if another run, which did not start this notebook, writes to the same folder now."""
        if given_tag() != self.tag:
            assert_free(root() / "data" / "runs" / self.tag)

    def _retract(self, notebook: str, written: Path) -> None:
        """Withdraw the record of a finished notebook if `written`, just now by hand, is another file than it tells of.

        The runner itself has no record while it executes a notebook, and leaves a new one.
        """
        if given_tag() == self.tag:
            return
        record, files = self._told(notebook)
        if files and files.get(written.relative_to(root()).as_posix(), {}).get("sha256") != sha256(written):
            record.unlink(missing_ok=True)

    def figure(self, item: str, figure: Figure, *, n: str | int, replot: bool = False) -> None:
        """Write a declared figure as PNG and PDF, stamped with scale, cohort, seed, n, revision, arithmetic.

        n: how many of what the figure rests on ("1,104 train crops"). replot: the figure shows published numbers and
        nothing of this run, and its stamp says so. A notebook shows the PNG; the figure is closed, so that the kernel
        does not draw it again.
        """
        self._require_free()
        facts = self._facts(item, n)
        stamp(figure, facts, replot=replot)
        about = {"Title": f"{self.name} {item}", "Author": "", "Creator": "private-image-sharing"}
        with atomic(self._product(item, "png")) as path:
            save_png(figure, path, about | {"Description": json.dumps(facts)})
        figure.set_layout_engine("none")  # the PDF keeps the layout of the PNG
        with atomic(self._product(item, "pdf")) as path, matplotlib.rc_context({"pdf.fonttype": 42}):
            figure.savefig(path, metadata=about | {"Subject": json.dumps(facts), "CreationDate": None})
        self._record(item, facts | {"kind": "figure", "files": [f"{item}.png", f"{item}.pdf"]})
        plt.close(figure)
        if IPython.get_ipython():
            shown, says = str(self._product(item, "png")), self.paper.items[item].shows
            IPython.display.display(IPython.display.Image(filename=shown, retina=True, alt=says))

    def table(self, item: str, frame: pd.DataFrame, *, n: str | int, digits: int = 3) -> pd.DataFrame:
        """Write a declared table as CSV (every column as it is) and LaTeX (booktabs, ASCII), and return it typeset.

        The CSV is for people, who open it in a spreadsheet: texts that it would execute are escaped
        (`without_formulas`). Those that `save` hands over to other notebooks stay as they are.
        A table that exceeds a page becomes a longtable. `typeset_table` says how cells are typeset. Raises ValueError
        for a character that LaTeX does not know; then nothing is written.
        """
        self._require_free()
        facts = self._facts(item, n)
        typeset = typeset_table(frame, digits=digits)
        comment = f"% {item} of {self.name}: {self.tag}, n = {facts['n']}, revision {facts['revision']}\n"
        long = "longtable" if len(frame) > _PAGE_ROWS else None
        comment += f"% needs \\usepackage{{booktabs{', longtable' * bool(long)}}}\n"
        styled = typeset.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        columns = "".join("r" if frame[c].dtype.kind in "iuf" else "l" for c in typeset.columns)
        latex = in_ascii(comment + styled.to_latex(hrules=True, column_format=columns, environment=long))
        with atomic(self._product(item, "csv")) as path:
            without_formulas(frame).to_csv(path, index=False)
        with atomic(self._product(item, "tex")) as path:
            path.write_text(latex, encoding="ascii")
        rows = json.loads(typeset.to_json(orient="split", index=False))
        self._record(item, facts | {"kind": "table", "files": [f"{item}.csv", f"{item}.tex"], "rows": rows})
        return typeset

    def check(self, says: str, holds: bool) -> None:
        """Raise AssertionError with the sentence `says` unless `holds`; for invariants that hold at every scale."""
        if not bool(holds):
            raise AssertionError(f"{self.name} ({self.tag}): does not hold: {says}")

    def record(self, name: str, values: Repeated, **beside) -> str:
        """Evaluate a declared claim by its values in every repetition; record them and the verdict, and return it.

        beside: the nulls=, or disjoint= and leaks=, measured by the same function in the same repetitions, and the
        shortfalls= of the generator, as `lib.experiment.evaluation.evaluate` takes them. Fewer repetitions than it asks
        for give values and no verdict, a smoke run neither. ValueError for an unknown claim, and as `evaluate`.
        """
        if not self.paper.study:
            raise ValueError(f"claim {name}: {self.name} has no study yet, so record its value by `claim`")
        try:
            return self._outcome(name, *evaluate(name, self._claim(name), values, is_smoke=self.is_smoke, **beside))
        except ValueError as problem:
            raise ValueError(f"{place_of_claim(self.name, name)}{problem}") from problem

    def claim(self, name: str, *, value: float, interval: tuple[float, float], n: str) -> str:
        """Record value and interval of a claim whose paper has no study yet: its verdict is pending.

        n: what the interval is over ("5 seeds"). ValueError for an unknown claim, one of a paper with a study, and a
        value that is not finite or lies outside its interval.
        """
        if self.paper.study:
            raise ValueError(f"claim {name}: {self.name} has a study, so record its values in every repetition")
        if self.is_smoke:
            return self.untestable(name, "a smoke run proves the wiring only")
        if not (math.isfinite(value) and interval[0] <= value <= interval[1]):
            raise ValueError(f"claim {name}: value {value} must be finite and lie inside its interval {interval}")
        facts = {"value": float(value), "interval": [*map(float, interval)], "n": n}
        return self._outcome(name, facts, Outcome("pending", "its paper has no study yet"))

    def verdicts(self, notebook: str, evaluated: Mapping[str, tuple], *, why: str) -> pd.Series:
        """Record all claims that `notebook` declares by `claim`, and return the verdicts.

        evaluated: claim -> (value, low, high, n) as `claim` takes them. A declared claim that is absent from it is
        recorded as not testable, for the reason `why`. Raises ValueError for a claim of another notebook.
        """
        declared = [name for name, claim in self.paper.claims.items() if claim.notebook == notebook]
        if unknown := set(evaluated) - set(declared):
            raise ValueError(f"{notebook} does not declare {', '.join(sorted(unknown))}; paper.yaml says: {declared}")
        verdicts = {}
        for name in declared:
            if name in evaluated:
                value, low, high, n = evaluated[name]
                verdicts[name] = self.claim(name, value=value, interval=(low, high), n=n)
            else:
                verdicts[name] = self.untestable(name, why)
        return pd.Series(verdicts, dtype=object)

    def untestable(self, name: str, why: str) -> str:
        """Record that a declared claim cannot be evaluated in this run, and why."""
        return self._outcome(name, {"value": None, "interval": None, "n": ""}, Outcome("not testable here", why))

    def _outcome(self, name: str, facts: dict, outcome: Outcome) -> str:
        self._record_claim(name, facts | asdict(outcome))
        return outcome.verdict

    def _claim(self, name: str):
        if name not in self.paper.claims:
            raise ValueError(f"unknown claim {name!r}: paper.yaml declares {', '.join(self.paper.claims) or 'none'}")
        return self.paper.claims[name]

    def _record_claim(self, name: str, evaluated: dict) -> None:
        claim = self._claim(name)
        about = {"claim": name, "scale": self.scale, "cohort": self.cohort, "seed": self.seed, "revision": revision()}
        about |= {"settings_sha256": self._settings_digest}
        self._require_free()
        with atomic(self.path(f"claims/{name}.json")) as path:
            path.write_text(json.dumps(about | claim.model_dump() | evaluated, indent=1), encoding="utf-8")
        self._retract(claim.notebook, self.path(f"claims/{name}.json"))

    def _facts(self, item: str, n: str | int) -> dict:
        if item not in self.paper.items:
            raise ValueError(f"unknown item {item!r}: paper.yaml declares {', '.join(self.paper.items) or 'none'}")
        return {
            "item": item, "paper": self.name, "scale": self.scale, "cohort": self.cohort, "source": self.source,
            "seed": self.seed, "n": f"{n:,}" if isinstance(n, int) else n, "revision": revision(),
            "arithmetic": arithmetic_here(self.settings.asked_precision),
            "settings_sha256": self._settings_digest,
        }  # fmt: skip

    def _product(self, item: str, suffix: str) -> Path:
        return root() / "figures" / self.tag / self.name / f"{item}.{suffix}"

    def _record(self, item: str, facts: dict) -> None:
        with atomic(self._product(item, "json")) as path:  # the `source` in it is that of the images
            path.write_text(json.dumps(self.paper.items[item].model_dump() | facts, indent=1), encoding="utf-8")
        for file in (*facts["files"], f"{item}.json"):
            self._retract(self.paper.items[item].notebook, self._product(item, "json").with_name(file))

    def __repr__(self) -> str:
        lines = [f"{self.paper.title} ({self.paper.cite})", f"{self.name} · {self.tag} · {self.source}"]
        return "\n".join(lines + [f"  {name} = {value}" for name, value in vars(self.settings).items()])

    def _repr_html_(self) -> str:
        settings = pd.DataFrame(vars(self.settings).items(), columns=["setting", self.scale]).astype(str)
        heading = f"<b>{self.paper.title}</b><br>{self.paper.cite}<br>{self.name} · {self.tag} · {self.source}"
        table = settings.style.hide(axis="index").format(escape="html").to_html()
        return f"{heading}<details><summary>{len(settings)} settings</summary>{table}</details>"


# `python -m lib.experiment.run NOTEBOOK -p scale paper`, also under torchrun; that module imports this one.
if __name__ == "__main__":
    runpy.run_module("lib.runner.torchrun", run_name="__main__")
