"""MegaFace, challenge 1, from its published lists, as a protocol.

The development kit holds the lists as JSON: `facescrub_features_list.json` (or `facescrub_uncropped_...`, `fgnet_...`)
with the photographs, `path`, and whom each shows, `id`; `megaface_features_list.json_SIZE_SET` with the distractors,
`path`. The lists of noise, `facescrub_noises.txt` and `megaface_noises.txt` (Deng et al., ArcFace, CVPR 2019), name an
image per line; what they name is left out here. The published scripts keep it and spoil its embedding instead (a
photograph gets its person's centre, a distractor a vector that matches nobody), so that their probes are a few more.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bitface.config import FilePath
from bitface.errors import BitfaceError, UsageError
from bitface.evaluation.figures.operating import FARS
from bitface.evaluation.lists.pair_rows import read_text, relative
from bitface.evaluation.protocols.base import Embeddings, FaceProtocol, both_sides
from bitface.evaluation.protocols.closed_set import check_ranks, diagnoses, failure_warnings, part
from bitface.evaluation.protocols.distractors import DistractorResult, ListSizes, Photographs, among_distractors
from bitface.evaluation.protocols.registry import PROTOCOLS, Description, Opened, files_of

_IMAGE = re.compile(r"\.(jpe?g|jpe|png|bmp|gif|tiff?|webp)$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class MegaFaceProtocol(FaceProtocol):
    """What `read_megaface` has read.

    Attributes:
        paths: the photographs of the probe set, then the distractors, both in the order of their lists, without noise.
        identities: [P], whom each photograph shows.
        sizes: entries of the distractor list at each step, ascending, noise among them included.
        used: distractors among these entries that aren't noise.
        dropped_photos, dropped_distractors: noise that was left out.
        ranks: where to report the share found.
        notes: what is odd about the lists, in plain words.
    """

    paths: tuple[str, ...]
    identities: tuple[str, ...]
    sizes: tuple[int, ...]
    used: tuple[int, ...]
    dropped_photos: int = 0
    dropped_distractors: int = 0
    ranks: tuple[int, ...] = (1,)
    notes: tuple[str, ...] = ()
    name: str = "MegaFace"

    def people(self) -> tuple[str | None, ...]:
        """Of the photographs; nobody says who the distractors are."""
        return (*self.identities, *[None] * (len(self.paths) - len(self.identities)))

    def score(
        self,
        gallery: Embeddings,
        probe: Embeddings | None = None,
        *,
        fars: Sequence[float] = FARS,
        seed: int = 0,
        at: Sequence[float] = (),
    ) -> DistractorResult:
        """Mates and distractors by the model of the gallery, probes by the other.

        For the arguments and what is raised see `base.FaceProtocol.score`, for `fars` `among_distractors`; `at` is of
        no use, as only the highest scores are kept. The embeddings may be memory-mapped: the distractors' are never
        copied.
        """
        left, right = both_sides(len(self.paths), gallery, probe)
        photos = len(self.identities)
        probes = None if right is left else part(right, slice(photos))
        result = among_distractors(
            Photographs(self.identities, part(left, slice(photos)), probes),
            part(left, slice(photos, None)),
            ListSizes(self.used, self.sizes),
            self.ranks,
            fars,
            seed=seed,
        )
        failures = failure_warnings(
            (result.failed_photos, photos, "photographs"),
            (result.failed_distractors, result.distractors, "distractors"),
        )
        return replace(
            result,
            dropped_photos=self.dropped_photos,
            dropped_distractors=self.dropped_distractors,
            warnings=(*self.notes, *failures, *diagnoses(left, right, photos)),
        )


def read_megaface(
    probes: Path | str,
    distractors: Path | str,
    *,
    probe_noise: Path | str | None = None,
    distractor_noise: Path | str | None = None,
    probe_folder: str = "facescrub_images",
    distractor_folder: str = "megaface_images",
    sizes: Sequence[int] | None = None,
    ranks: Sequence[int] = (1,),
) -> MegaFaceProtocol:
    """The protocol of a list of photographs and a list of distractors.

    Args:
        probes: JSON with `path` and `id`, lists of the same length.
        distractors: JSON with `path`; best the longest list there is, whose beginnings are the smaller sizes.
        probe_noise, distractor_noise: text, an image per line: a file name, or a path of which the end of a listed
            path is made. Blanks and underscores are the same in it, and the ending of an image file doesn't count, as
            the releases of FaceScrub differ in both. Of several cells (divided by tabs) the second counts; a line
            that begins with `#` doesn't.
        probe_folder, distractor_folder: where the listed paths start, below the common root of all images.
        sizes: entries of the distractor list, ascending; None: 10, 100, 1,000 and so on, and the whole list.
        ranks: where to report the share found.

    Raises:
        BitfaceError: a file can't be read or isn't what is described here (the entry is named), an image is listed
            twice, nothing is left beside the noise, or nobody has two photographs.
        UsageError: sizes or ranks make no sense.
    """
    probes, distractors = Path(probes), Path(distractors)
    photos, people = _listed(probes, probe_folder, ids=True)
    others, _ = _listed(distractors, distractor_folder, ids=False)
    if both := set(photos) & set(others):
        raise BitfaceError(
            f"{distractors}: {min(both)} is a photograph of {probes.name}, too; name the folders of both"
        )
    steps = _sizes(len(others), sizes, distractors)
    notes: list[str] = []
    photo_rows = _without(photos, probe_noise, notes)
    clean = _without(others, distractor_noise, notes)
    identities = tuple(people[at] for at in photo_rows)
    for what, left, path in ((identities, photo_rows, probes), (clean, clean, distractors)):
        if not what or not left:
            raise BitfaceError(f"{path}: every image in it is noise by the list of noise; check that list")
    if len(set(identities)) == len(identities):
        raise BitfaceError(f"{probes}: nobody has two photographs in it; identification needs a mate for every probe")
    return MegaFaceProtocol(
        paths=(*(photos[at] for at in photo_rows), *(others[at] for at in clean)),
        identities=identities,
        sizes=steps,
        used=tuple(sum(at < size for at in clean) for size in steps),
        dropped_photos=len(photos) - len(photo_rows),
        dropped_distractors=len(others) - len(clean),
        ranks=check_ranks(ranks),
        notes=tuple(notes),
    )


def _sizes(count: int, sizes: Sequence[int] | None, path: Path) -> tuple[int, ...]:
    if sizes is None:
        return (*(10**power for power in range(1, 10) if 10**power < count), count)
    if not sizes or list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] > count:
        raise UsageError(f"sizes are {list(sizes)}; give ascending ones from 1 to the {count} entries of {path.name}")
    return tuple(sizes)


def _listed(path: Path, folder: str, ids: bool) -> tuple[list[str], list[str]]:
    """The paths of a list below `folder`, and whom they show (nothing where `ids` is false)."""
    content = _json(path)
    keys = ("path", "id") if ids else ("path",)
    expected = 'expected {"path": [...], "id": [...]}' if ids else 'expected {"path": [...]}'
    if not isinstance(content, dict):
        raise BitfaceError(f"{path}: holds no JSON object; {expected}")
    for key in keys:
        if not isinstance(content.get(key), list):
            raise BitfaceError(f"{path}: has no list '{key}'; {expected}")
    names, people = content["path"], content["id"] if ids else []
    if not names:
        raise BitfaceError(f"{path}: 'path' is empty; {expected}")
    if ids and len(people) != len(names):
        raise BitfaceError(f"{path}: {len(names)} entries in 'path', but {len(people)} in 'id'; both need as many")
    start = f"{relative(folder, 'the folder of the images')}/" if folder else ""
    paths: dict[str, int] = {}
    for entry, name in enumerate(names, 1):
        where = f"{path}: entry {entry} of 'path'"
        if not isinstance(name, str):
            raise BitfaceError(f"{where} is {json.dumps(name)[:80]}; expected the path of an image")
        image = start + relative(name, where)
        if (first := paths.setdefault(image, entry)) != entry:
            raise BitfaceError(f"{where} is {name}, as is entry {first}; every image may be listed once")
    for entry, person in enumerate(people, 1):
        if isinstance(person, bool) or not isinstance(person, str | int) or person == "":
            raise BitfaceError(
                f"{path}: entry {entry} of 'id' is {json.dumps(person)[:80]}; expected a name or a number"
            )
    return list(paths), [str(person) for person in people]


def _json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BitfaceError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except (RecursionError, ValueError) as error:
        raise BitfaceError(f"{path}: not a list of images (nested too deeply, or an endless number)") from error


def _without(paths: Sequence[str], noise: Path | str | None, notes: list[str]) -> list[int]:
    """The positions of the paths that a list of noise doesn't name; adds to `notes` where it names none."""
    if noise is None:
        return list(range(len(paths)))
    ends = _noise(Path(noise))
    last = {parts[-1] for parts in ends}
    lengths = {len(parts) for parts in ends}
    clean = []
    for at, path in enumerate(paths):
        # Few names are noise by their last part, and only those are taken apart.
        if _plain(path[path.rfind("/") + 1 :])[0] in last:
            parts = _plain(path)
            if any(parts[-length:] in ends for length in lengths):
                continue
        clean.append(at)
    if ends and len(clean) == len(paths):
        notes.append(f"none of the {len(ends)} images in {Path(noise).name} is listed: nothing was left out as noise")
    return clean


def _noise(path: Path) -> set[tuple[str, ...]]:
    """The ends of paths that a list of noise names."""
    ends = set()
    for number, line in enumerate(read_text(path).splitlines(), 1):
        # The published reader takes the second cell where there are several.
        name = line.split("\t", 2)[1 if "\t" in line.rstrip() else 0].strip()
        if name and not line.startswith("#"):
            ends.add(_plain(relative(name, f"{path}:{number}")))
    return ends


def _plain(path: str) -> tuple[str, ...]:
    """The parts of a path in the form in which noise and lists are compared."""
    return tuple(_IMAGE.sub("", path).replace(" ", "_").split("/"))


@PROTOCOLS.register("distractors")
@dataclass(frozen=True)
class MegaFaceFiles(Description):
    """The lists of photographs and of distractors, and of the noise in both; see `read_megaface`."""

    distractors: FilePath
    probes: FilePath
    root: FilePath
    probe_noise: FilePath | None = None
    distractor_noise: FilePath | None = None
    probe_folder: str = "facescrub_images"
    distractor_folder: str = "megaface_images"

    def open(self, name: str) -> Opened:
        """See `read_megaface`."""
        protocol = read_megaface(
            self.probes,
            self.distractors,
            probe_noise=self.probe_noise,
            distractor_noise=self.distractor_noise,
            probe_folder=self.probe_folder,
            distractor_folder=self.distractor_folder,
        )
        return Opened(replace(protocol, name=name), files_of(self.root, protocol.paths), protocol.notes)
