"""`paper.yaml`: the one file that says what a paper is, what is run, and what must come out."""

import hashlib
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from lib.cohorts.needs import Needs
from lib.cohorts.phantoms import PHANTOMS
from lib.cohorts.public import PUBLIC_COHORTS
from lib.core.paths import COHORTS, SCALES, given_settings, rehearsal, root
from lib.core.yaml_mappings import line_of, read_mapping
from lib.experiment.limits import limits
from lib.experiment.rehearsal import Rehearsal
from lib.experiment.verdict import Absence, claimed

_NO_EFFECT = (0.0, 0.5, 1.0)  # of a difference or logarithm, an AUROC, a ratio
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
KINDS = ("paper", "precondition", "own")  # of claims
_SETS = {"phantom": PHANTOMS, "public": PUBLIC_COHORTS}  # what an entry of `cohorts` may name


class Settings(SimpleNamespace):
    """One scale's settings as attributes. AttributeError, naming the known ones, for another."""

    def __getattr__(self, setting):
        raise AttributeError(f"no setting {setting!r} in paper.yaml; known are {', '.join(vars(self))}")

    @property
    def asked_precision(self) -> str:
        """What trainings compute in if they can: "bf16" where `precision`, or that of one of them, asks for it."""
        each = [self.__dict__, *(of for of in self.__dict__.values() if isinstance(of, dict))]
        return "bf16" if any(of.get("precision") == "bf16" for of in each) else "float32"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Item(_Strict):
    """A figure or table that a notebook must regenerate.

    `published` holds only confirmed values, or None; `source` says where they are printed. `cohorts` lists the cohorts
    for which the item can be made. `images`: whether it shows images of the cohort, so that it is never committed where
    these are real.
    """

    notebook: str
    shows: str
    cohorts: list[Literal["phantom", "public", "own"]] = [*COHORTS, "own"]
    published: Any
    source: str = ""
    images: bool = False

    @model_validator(mode="after")
    def _published_has_a_source(self):
        if self.published is not None and not self.source:
            raise ValueError("published values need a `source`")
        return self


class Claim(_Strict):
    """A statement that is evaluated: `value` names the quantity, `claimed` says what must hold of it.

    kind: "paper", the authors state it, and `place` says where; "precondition", what must hold before anything is
    evaluated (a classifier works, a control is detected); "own", ours. claimed: "> 0", "< 1" or "within 0.04 of 0.01"
    (`lib.experiment.verdict`); a margin stands in limits.yaml too, with its reason. published: the paper's value, a
    mapping of values, or None. nulls: of an effect, name -> why it applies: what has nothing of the method, and must
    not meet the claim. generator: whether the claim is about a generator's images, and is testable only where these are
    faithful.
    """

    kind: Literal["paper", "precondition", "own"]
    says: _Text
    notebook: str
    value: _Text
    claimed: str
    place: str = ""
    published: Any = None
    nulls: dict[str, str] = Field(default_factory=dict)
    generator: bool = False

    @model_validator(mode="after")
    def _can_be_evaluated(self):
        of = claimed(self.claimed)
        if isinstance(of, Absence) and self.nulls:
            raise ValueError("a claim that nothing is there has controls, and no nulls: leave them out")
        if isinstance(of, Absence) and of.margin == 0:
            raise ValueError("a margin of 0 holds no interval: give one above 0")
        for null, reason in self.nulls.items():
            if not null.strip() or len(reason.strip()) < 10:
                raise ValueError(f"the null {null!r} has no reason: say why it must not meet the claim")
        if self.published is not None and not _has_a_number(self.published):
            raise ValueError(f"published is {self.published!r}: give numbers, or null where none is known")
        return self

    @property
    def margin(self) -> tuple[float, float]:
        """Between which values a claim that nothing is there is met. ValueError for a claim that something is."""
        of = claimed(self.claimed)
        if not isinstance(of, Absence):
            raise ValueError(f"{self.claimed} is the side of an effect, and has no margin")
        return of.ends


def _has_a_number(published: Any) -> bool:
    """Whether anything in `published`, however nested, is a finite number, or a text that begins with one."""
    if isinstance(published, dict | list):
        return any(map(_has_a_number, published.values() if isinstance(published, dict) else published))
    if isinstance(published, str):
        return re.match(r"[-−]?\.?[0-9]", published) is not None
    return isinstance(published, int | float) and not isinstance(published, bool) and math.isfinite(published)


class Deviation(_Strict):
    """Where this suite departs from the paper, what it does instead, and why.

    `bears_on` lists the items, claims and notebooks that the deviation affects (a notebook includes those that need its
    files); an empty list means the whole paper.
    """

    where: str
    what: str
    why: str
    bears_on: list[str] = Field(default_factory=list)


class Paper(_Strict):
    """The content of a `paper.yaml`.

    notebooks: maps each notebook to those whose files it needs. cohorts: maps "phantom" and "public" to the sets of
    images that stand for them, by the names in `lib.cohorts.phantoms` and `lib.cohorts.public`: one name, a list of
    names, or a mapping from each scale to one of these; None if the paper is `closing`. scales: those that it runs at,
    in order, for each of which `settings` has a column. records: of every whole repetition what notebooks measure once
    (`lib.experiment.repetition`), NOTEBOOK/NAME, with the version of how. rehearsal: what of the scale paper is cut for
    a rehearsal. own: what a user's cohort must hold, None where the paper takes none. study: whether the claims are
    declared with their nulls and margins; until they are, their verdicts are pending. closing: the paper reads the
    records of all other papers and no images, so its notebooks run last, however the others ended.
    """

    title: str
    cite: str
    cohorts: dict[str, Any]
    notebooks: dict[str, list[str]]
    scales: list[str] = ["smoke", "demo", "paper"]
    settings: dict[str, list[Any]] = Field(default_factory=dict)
    items: dict[str, Item] = Field(default_factory=dict)
    records: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    claims: dict[str, Claim] = Field(default_factory=dict)
    deviations: list[Deviation] = Field(default_factory=list)
    rehearsal: Rehearsal = Rehearsal()
    own: Needs | None = None
    study: bool = False
    closing: bool = False

    def column(self, scale: str) -> dict[str, Any]:
        """The settings of one of its `scales`, or what is given in their place; rehearsed, few of what they count."""
        settings = {setting: values[self.scales.index(scale)] for setting, values in self.settings.items()}
        settings |= self._given
        return self.rehearsal.settings(settings, rehearsal()) if rehearsal() else settings

    @property
    def published_settings(self) -> dict[str, Any]:
        """The settings of the scale paper, whole."""
        return {setting: values[self.scales.index("paper")] for setting, values in self.settings.items()}

    def sets(self, cohort: str, scale: str) -> tuple[str, ...]:
        """The names of the sets of images that stand for `cohort` at `scale`; none if the paper is closing."""
        entry = self.cohorts[cohort]
        names = entry[scale] if isinstance(entry, dict) else entry
        return () if names is None else tuple(names) if isinstance(names, list) else (names,)

    def source(self, cohort: str, scale: str) -> str | None:
        """The sets of `cohort` at `scale` and settings that were given, as text; None if there is no such cohort."""
        of = [", ".join(self.sets(cohort, scale)) or "all papers"] if cohort in self.cohorts else []
        of = ["your own images"] if cohort == "own" and self.own else of
        return "; ".join([*of, *(f"{name} = {value}" for name, value in self._given.items())]) if of else None

    @property
    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in given_settings().items() if name in self.settings}

    def settings_digest(self, scale: str, cohort: str) -> str:
        """The first 16 characters of the SHA-256 of one scale's settings and of the cohort's source."""
        decisive = json.dumps([scale, cohort, self.source(cohort, scale), self.column(scale)], sort_keys=True)
        return hashlib.sha256(decisive.encode()).hexdigest()[:16]

    def entries_of(self, notebook: str, scale: str, cohort: str) -> dict[str, Any]:
        """The entries that decide what `notebook` makes; deviations are not among them, for only pages show them."""
        own: dict[str, Any] = {"title": self.title, "cite": self.cite, "source": self.source(cohort, scale)}
        for kind, entries in (("items", self.items), ("claims", self.claims)):
            here = {name: entry for name, entry in entries.items() if entry.notebook == notebook}
            own[kind] = {name: entry.model_dump(mode="json") for name, entry in here.items()}
        return own | {"settings": self.column(scale)}

    def declares(self, notebook: str) -> bool:
        """Whether `notebook` makes a figure, table, claim or record; a release makes none, so nothing of it is kept."""
        named = (entry.notebook for entries in (self.items, self.claims) for entry in entries.values())
        return notebook in {*named, *(name.split("/")[0] for name in self.records)}

    def deviations_on(self, name: str) -> list[int]:
        """The numbers, counted from 1, of the deviations that bear on the item, claim or notebook `name`."""
        entry = self.items.get(name) or self.claims.get(name)
        touched, behind = {name}, [entry.notebook if entry else name]
        while behind:
            notebook = behind.pop()
            behind += [need for need in self.notebooks.get(notebook, ()) if need not in touched]
            touched.add(notebook)
        numbered = enumerate(self.deviations, 1)
        return [number for number, of in numbered if not of.bears_on or touched & set(of.bears_on)]


def load_paper(folder: Path) -> Paper:
    """Read `folder`/paper.yaml. Raises ValueError, naming file, line and key, for anything unexpected."""
    path = Path(folder) / "paper.yaml"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such paper; known are {', '.join(known_papers()) or 'none'}")
    content, tree = read_mapping(path)

    def refuse(keys: tuple, problem: str):
        raise ValueError(f"{path}:{line_of(tree, keys)}: {'.'.join(map(str, keys))}: {problem}")

    try:
        paper = Paper.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        refuse(first["loc"], what)
    if paper.scales != [scale for scale in SCALES if scale in paper.scales] or "demo" not in paper.scales:
        refuse(("scales",), f"give those of {', '.join(SCALES)} that it runs at, in this order, demo among them")
    for cohort, entry in paper.cohorts.items():
        if cohort not in _SETS:
            refuse(("cohorts", cohort), f"unknown cohort; choose one of {', '.join(_SETS)}")
        if problem := _problem_of_sets(paper, cohort, entry):
            refuse(("cohorts", cohort), problem)
    for setting, values in paper.settings.items():
        if len(values) != len(paper.scales):
            refuse(("settings", setting), f"{len(values)} columns; give one for each of {', '.join(paper.scales)}")
    if "paper" in paper.scales:
        try:
            paper.rehearsal.settings(paper.published_settings, 1)
        except ValueError as error:
            refuse(("rehearsal",), str(error))
    if paper.own and "public" not in paper.cohorts:
        refuse(("own",), "a user's cohort takes the place of a public one, and there is none")
    for setting in filter(None, (paper.own.size, paper.own.finding, paper.own.positives) if paper.own else ()):
        if setting not in paper.settings:
            refuse(("own",), f"no setting {setting!r}")
    for section in ("items", "claims"):
        for name, entry in getattr(paper, section).items():
            if entry.notebook not in paper.notebooks:
                refuse((section, name, "notebook"), f"unknown notebook {entry.notebook!r}")
    for name in paper.records:
        if name.count("/") != 1 or name.split("/")[0] not in paper.notebooks:
            refuse(("records", name), "name it NOTEBOOK/NAME, after the notebook that measures it")
    for name in paper.claims:
        if problem := _problem_of_claim(paper, path.parent.name, name):
            refuse(("claims", name), problem)
    known = {*paper.notebooks, *paper.items, *paper.claims}
    for place, deviation in enumerate(paper.deviations):
        if unknown := set(deviation.bears_on) - known:
            refuse(("deviations", place, "bears_on"), f"no notebook, item or claim {', '.join(sorted(unknown))}")
    for notebook, needs in paper.notebooks.items():
        for need in needs:
            if need not in paper.notebooks:
                refuse(("notebooks", notebook), f"needs the unknown notebook {need!r}")
        if not (path.parent / f"{notebook}.ipynb").exists():
            refuse(("notebooks", notebook), f"{notebook}.ipynb does not exist")
    for name, claim in paper.claims.items():
        if claim.nulls and (code := _code(path.with_name(f"{claim.notebook}.ipynb"))):
            if absent := [null for null in claim.nulls if f'"{null}"' not in code]:
                refuse(("claims", name, "nulls", absent[0]), f"{claim.notebook}.ipynb measures nothing of that name")
    return paper


def _code(notebook: Path) -> str:
    cells = json.loads(notebook.read_text(encoding="utf-8")).get("cells", [])
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def known_papers() -> list[str]:
    """The names of the folders in notebooks/ that hold a paper.yaml, sorted."""
    return sorted(path.parent.name for path in (root() / "notebooks").glob("*/paper.yaml"))


def place_of_claim(paper: str, name: str) -> str:
    """Where a paper declares the claim `name`, as a message begins: "…/paper.yaml:120: "; empty if it does not."""
    path = root() / "notebooks" / paper / "paper.yaml"
    content, tree = read_mapping(path)
    return f"{path}:{line_of(tree, ('claims', name))}: " if name in content.get("claims", {}) else ""


def _problem_of_claim(paper: Paper, folder: str, name: str) -> str:
    """What a claim lacks where its paper's study is declared, or an empty string."""
    claim = paper.claims[name]
    of = claimed(claim.claimed)
    if not paper.study:
        return ""
    if claim.kind == "paper" and not claim.place.strip():
        return "the authors state it: say where, in `place`"
    declared = limits().get(f"{folder}/{name}")
    stands = "has none" if declared is None else f"says {declared.limit:g}"
    stands = f"and notebooks/limits.yaml {stands} for {folder}/{name}"
    if isinstance(of, Absence):
        if declared is None or declared.limit != of.margin:
            return f"the margin is {of.margin:g}, {stands}"
    elif not claim.nulls and claim.kind != "precondition":
        return "an effect without a null: name what must not meet it, and why it applies"
    elif of.bound not in _NO_EFFECT and (declared is None or declared.limit != of.bound):
        return f"the bound is {of.bound:g}, no value without an effect (0, .5, 1), {stands}"
    return ""


def _problem_of_sets(paper: Paper, cohort: str, entry) -> str:
    """What is wrong with the entry of `cohort`, or an empty string."""
    if isinstance(entry, dict) and set(entry) != set(paper.scales):
        return f"names sets at {', '.join(map(str, entry))}; give them at each of {', '.join(paper.scales)}"
    if (entry is None) != paper.closing:
        return "a closing paper reads no images; give null" if paper.closing else "names no set"
    for scale in paper.scales:
        for name in paper.sets(cohort, scale):
            if name not in _SETS[cohort]:
                return f"unknown {cohort} set {name!r}; choose one of {', '.join(_SETS[cohort])}"
        if not (paper.closing or paper.sets(cohort, scale)):
            return "names no set"
    return ""
