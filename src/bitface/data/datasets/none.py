"""`none[:N]`: images distilled from the teacher itself."""

from bitface.data.distilled import STEPS, distilled_faces, version
from bitface.data.sources import DATA_SETS, DISTILLED, MadeFaces, Making, Source
from bitface.data.synthetic import SyntheticFaces
from bitface.device import device_of
from bitface.store import Store


def _key(_: Source, making: Making) -> str:
    return making.teacher_key("none", version())


def _make(source: Source, making: Making) -> SyntheticFaces:
    network, seed = making.teacher("none"), making.seed
    # Finished batches stay, so that stopping loses little and asking for more begins with them.
    batches = Store().parts("faces", f"{_key(source, making)}-{seed}")
    images = distilled_faces(network, source.count, seed, batches, making.progress, device_of(making.device))
    return making.teacher_made("none", DISTILLED, images, STEPS)


DATA_SETS.register("none")(MadeFaces(word="none", count=512, key=_key, make=_make, from_teacher=True))
