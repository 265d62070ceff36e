"""The results of `bitface prune` and `bitface distill`: float networks, and how they were trained."""

from typing import Literal

from bitface.evaluation.figures.paired import Agreement
from bitface.results.base import Field, Section, StoredResult
from bitface.results.sections import Files, LoopAccount, Machine, Seconds, Texts


class Teacher(Section):
    """The network that was pruned, or distilled from."""

    name: str
    path: str
    fingerprint: str


class NetworkSize(Section):
    """Parameters and multiply-adds with BatchNorm folded, and the bytes of the file."""

    parameters: int
    macs: int
    bytes: int | None


class StudentAgreement(Section):
    """Student and teacher on held-out faces.

    Attributes:
        cosine: of their embeddings; None where these have other lengths.
        likeness: the correlation of both networks' cosines of held-out pairs.
    """

    cosine: Agreement | None
    likeness: float


class TrainingFacesCounts(Section):
    """The faces that a float student learned from; `manifest` is their hash."""

    kind: str
    given: int
    learning: int
    identities: int | None
    held_out: int
    skipped: int
    duplicates: int
    manifest: str


class PruningSettings(Section):
    """How it was cut, see `prune.Pruning`."""

    ratio: float
    importance: str
    scope: str


class RemovedShares(Section):
    """What pruning took away, as shares of what there was."""

    parameters: float
    macs: float
    channels: float


class ChannelGroup(Section):
    """Channels that go together: the layers that share them, and how many there were and are."""

    name: str
    layers: Texts
    before: int
    after: int


class PruningRecord(StoredResult):
    """A pruned network."""

    kind: Literal["pruning"] = "pruning"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    model: Teacher
    fingerprint: str
    embedding_size: int
    preprocess: str | None
    pruning: PruningSettings
    removed: RemovedShares
    groups: tuple[ChannelGroup, ...]
    before: NetworkSize
    after: NetworkSize
    agreement: StudentAgreement
    faces: TrainingFacesCounts
    training: LoopAccount
    seed: int
    notes: Texts
    warnings: Texts
    seconds: Seconds
    machine: Machine
    files: Files = Field(default_factory=dict)


class DistillationRecord(StoredResult):
    """A student of another architecture, distilled from its teacher."""

    kind: Literal["distillation"] = "distillation"
    schema_version: Literal[1] = Field(1, alias="schema")
    bitface: str
    created: str
    model: Teacher
    fingerprint: str
    embedding_size: int
    preprocess: str | None
    architecture: str
    before: NetworkSize
    after: NetworkSize
    agreement: StudentAgreement
    faces: TrainingFacesCounts
    training: LoopAccount
    seed: int
    notes: Texts
    warnings: Texts
    seconds: Seconds
    machine: Machine
    files: Files = Field(default_factory=dict)
