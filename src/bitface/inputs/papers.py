"""The papers' tables: what they report of each row, and by which of our recipes the row is made.

`recipes/papers/*.yaml` hold the figures as they are published, with their source.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from bitface.config import File, Words, number_of, read
from bitface.errors import UsageError, nearest
from bitface.inputs import recipes
from bitface.quant import BitPlan
from bitface.training import Training

FOLDER = recipes.FOLDER / "papers"
SYNTHETIC = "synthetic"


def _number(value: Any) -> float:
    if isinstance(value, str):
        raise ValueError
    return number_of(value)


Per100 = Annotated[float, PlainValidator(_number), WithJsonSchema({"type": "number"})]


class Row(File):
    """A row of a table.

    Attributes:
        network: a name of the table's `networks`; name: of the row beside it.
        recipe: makes it; None: it is the float network itself.
        training: what the row's training has that the recipe and the table haven't.
        post_training: the recipe's calibration alone.
        images: `synthetic`, where the row isn't made from the training set.
        seeds: the paper's figures are the mean of so many runs.
        figures: benchmark, or `benchmark / figure` where that isn't the accuracy → per cent.
    """

    network: str
    name: str
    recipe: str | None = None
    training: dict[str, Any] = Field(default_factory=dict)
    post_training: bool = False
    images: str | None = None
    seeds: Annotated[int, Field(ge=1, le=9)] = 1
    figures: dict[str, Per100] = Field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.network} {self.name}"


class Table(File):
    """A table of a paper.

    Attributes:
        networks: name → the recipe that trains it from scratch, where the paper does; null: it comes from elsewhere.
        training: the paper's settings, which take the place of those that recipes have for some thousand faces.
        departures: where ours differs.
    """

    about: str
    networks: dict[str, str | None]
    rows: Annotated[tuple[Row, ...], Field(strict=False)]
    training: dict[str, Any] = Field(default_factory=dict)
    departures: Words = ()


class PaperFile(File):
    """A paper and its tables."""

    title: str
    source: str
    trained_on: str
    tables: dict[str, Table]


@dataclass(frozen=True)
class Selection:
    """One table of a paper: `paper` and `name` as they are asked for."""

    paper: str
    name: str
    file: PaperFile

    @property
    def table(self) -> Table:
        return self.file.tables[self.name]

    @property
    def title(self) -> str:
        return f"{self.file.source}, table {self.name}: {self.table.about}"


def names() -> list[str]:
    """The papers whose tables are known."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_paper(name: str) -> PaperFile:
    """A paper by its name. Raises UsageError where it isn't known (the nearest known one is named)."""
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        raise UsageError(f"unknown paper '{name}'{nearest(name, names())} (there are {', '.join(names())})")
    return read(path, PaperFile, "paper")


def selected(paper: str, table: str | None) -> Selection:
    """A table of a paper; without a name the only one, or the first.

    Raises:
        UsageError: no such paper or table.
    """
    file = read_paper(paper)
    name = table or next(iter(file.tables))
    if name not in file.tables:
        known = ", ".join(f"{key} ({one.about})" for key, one in file.tables.items())
        raise UsageError(f"{paper} has no table '{name}' (there are {known})")
    return Selection(paper, name, file)


def recipe_of(row: Row, table: Mapping[str, Any], few: Mapping[str, Any] | None = None) -> recipes.Recipe:
    """The recipe of a row with the paper's own settings.

    Args:
        table: the table's settings, which the row's replace.
        few: settings of a run on what is at hand, in the place of the table's.

    Raises:
        UsageError: a setting is unknown.
    """
    recipe = recipes.for_training(row.recipe, BitPlan())
    assert recipe.method is not None
    if row.post_training:
        return replace(recipe, method=None)
    settings = {**vars(recipe.method.training), **(table if few is None else few), **row.training}
    training = Training.from_json(settings)
    return replace(recipe, method=replace(recipe.method, training=training))


def evaluated_as(key: str) -> tuple[str, str]:
    """The benchmark and the figure that a key of `figures` names."""
    benchmark, _, figure = key.partition(" / ")
    return benchmark, figure or "accuracy"


def scratch_of(selection: Selection, network: str) -> recipes.Pretraining | None:
    """The recipe that trains a network of a table, where the paper does."""
    name = selection.table.networks[network]
    recipe = recipes.read(name) if name else None
    return recipe if isinstance(recipe, recipes.Pretraining) else None


# Benchmark → its pack in the folder of a training set, as InsightFace's are called.
PACKS = {
    "LFW": "lfw.bin", "CFP-FP": "cfp_fp.bin", "AgeDB-30": "agedb_30.bin", "CALFW": "calfw.bin", "CPLFW": "cplfw.bin",
    "SLLFW": "sllfw.bin",
}  # fmt: skip


def packs_in(folder: Path) -> dict[str, dict[str, str]]:
    """The benchmarks whose packs lie in a folder, as a suite writes them."""
    return {name: {"pairs": str(folder / file)} for name, file in PACKS.items() if (folder / file).is_file()}
