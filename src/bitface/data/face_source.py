"""What a person writes about faces, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True)
class FaceSource:
    """Which faces, and what is known of them.

    Attributes:
        images: folders, shards, or words such as `rec:FOLDER` or `synthetic:N` (see `data.sources`), which mix freely.
        image_list: a file that chooses among the images of the folders, one relative path per line.
        max_images: to learn from; None: what the command takes where nobody says.
        labels: `folder` or a CSV file, see `data.labels`; None: nobody knows who is on them.
        allow_skipped: accepts that more than 1 % can't be used.
        workers: processes that read them while others are learned from; 0: none; None: as many as are of use.
    """

    images: Sequence[Path] = ()
    image_list: Path | None = None
    max_images: int | None = None
    labels: str | None = None
    allow_skipped: bool = False
    workers: int | None = field(default=None, repr=False)  # what is learned doesn't depend on it

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(Path(one) for one in self.images))

    def over(self, other: "FaceSource") -> "FaceSource":
        """What this one says; where it says nothing, what the other one says."""
        unsaid = (None, (), False)
        said = {key: value for key, value in vars(self).items() if not any(value is one for one in unsaid)}
        return replace(other, **said)

    def up_to(self, count: int | None) -> "FaceSource":
        """The same with so many images to learn from (None: all) where it doesn't say how many."""
        return replace(self, max_images=self.max_images or count)
