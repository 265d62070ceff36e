"""The result of `bitface run` with a recipe that trains a teacher."""

from typing import Literal

from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Files, LoopAccount, Machine, Seconds, Texts


class LabelledFaces(Section):
    """How many faces of how many people a teacher learned from."""

    images: int
    identities: int
    skipped: int


class PretrainingRecord(StoredResult):
    """A network trained from scratch, in stages."""

    kind: Literal["pretraining"] = "pretraining"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    backbone: str
    embedding_size: int
    preprocess: str
    faces: LabelledFaces
    notes: Texts
    stages: tuple[LoopAccount, ...]
    seed: int
    seconds: Seconds
    machine: Machine
    files: Files = Field(default_factory=dict)
