"""What every loss is, and the checks of its options."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from bitface.errors import UsageError, nearest

T = TypeVar("T")
# Of some faces: the student's embeddings [n, D], the teacher's [n, D], and int64 [n], as `Loss.forward` gets them.
Block = tuple[Tensor, Tensor, Tensor]
# The teacher's embeddings [n, D] of some faces and their identities, int64 [n].
TeacherBlock = tuple[Tensor, Tensor]


class Loss(nn.Module):
    """A scalar to minimise, of a batch of the student's embeddings beside the teacher's.

    All that changes over a training (class weights, centres, thresholds, memories) is a parameter or a buffer, so that
    a training continued from `state_dict` goes on bit by bit as if it hadn't stopped.

    Attributes:
        name: what recipes call it; the name of the class if that gives none.
        needs_labels: the labels must be identities; without them the loss has no meaning.
        uses_pairs: learns from several rows of one label in a batch: images of a person, or views of an image.
        keeps_direction: brings embeddings to where the teacher's are. Others let all of them turn together, so that
            only the similarities between faces tell how good a student is.
        Options: a dataclass of the options, where a loss has many and takes them as keywords.
        wants_refresh: `refresh` must be called before the first step, and then once an epoch.
    """

    name: str = ""
    needs_labels: bool = False
    uses_pairs: bool = False
    keeps_direction: bool = False
    wants_refresh: bool = False
    Options: ClassVar[type | None] = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.name = cls.name or cls.__name__

    def __init__(self) -> None:  # without options, where nn.Module would take any
        super().__init__()

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor | None) -> Tensor:
        """The mean loss of a batch.

        Args:
            student: embeddings `[B, D]`, not normalised; the gradient goes here and to the loss's own parameters.
            teacher: embeddings of the same faces `[B, D]`, not normalised; never gets a gradient.
            labels: int64 `[B]`: identities 0 to C-1, or, where nobody knows them, the numbers of the source images.
        """
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The plain values among its attributes: what tells it from another object of the class."""
        own = {key: value for key, value in vars(self).items() if not key.startswith("_") and key != "training"}
        return {key: value for key, value in own.items() if _plain(value)}

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.to_json().items())

    def begin(self, faces: Iterable[TeacherBlock]) -> None:
        """Takes a first guess from a teacher's embeddings of all training faces, which come some at a time."""

    def refresh(self, faces: Iterable[Block]) -> None:
        """Takes note of the embeddings of all training faces, which come some at a time.

        They are computed while they are gone through, and once more if they are gone through again: those of millions
        don't fit into memory.
        """


class Again(Generic[T]):
    """What is computed whenever it is gone through."""

    def __init__(self, through: Callable[[], Iterator[T]]) -> None:
        self._through = through

    def __iter__(self) -> Iterator[T]:
        return self._through()


def _plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_plain(one) for one in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _plain(one) for key, one in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def given(name: str, labels: Tensor | None) -> Tensor:
    """The labels. Raises UsageError where there are none."""
    if labels is None:
        raise UsageError(f"{name} needs a label for each face")
    return labels


def number(name: str, option: str, value: object, low: float, high: float) -> float:
    """A finite number from `low` to `high`. Raises UsageError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UsageError(f"{name}: '{option}' can't be {value!r}: use a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise UsageError(f"{name}: '{option}' is {value:g}: use {low:g} to {high:g}")
    return float(value)


def whole(name: str, option: str, value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`. Raises UsageError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name}: '{option}' can't be {value!r}: use a whole number from {low} to {high}")
    return int(number(name, option, value, low, high))


def choice(name: str, option: str, value: object, words: tuple[str, ...]) -> str:
    """One of the known words. Raises UsageError, with the nearest of them, for anything else."""
    if not isinstance(value, str) or value not in words:
        raise UsageError(f"{name}: '{option}' can't be {value!r}: use {' or '.join(words)}{nearest(value, words)}")
    return value


def switch(name: str, option: str, value: object) -> bool:
    """True or False. Raises UsageError for anything else."""
    if not isinstance(value, bool):
        raise UsageError(f"{name}: '{option}' can't be {value!r}: use true or false")
    return value
