"""`spread[:N]`: the people of `synthetic`, changed until the network that learns from them finds them less alike."""

import math

from bitface.data.distilled import APART_STEPS, BATCH, apart, version
from bitface.data.faces import find_images, load_faces
from bitface.data.sources import DATA_SETS, SPREAD, MadeFaces, Making, Source, cached
from bitface.data.synthetic import SyntheticFaces
from bitface.device import device_of
from bitface.errors import BitfaceError
from bitface.store import Store


def _key(_: Source, making: Making) -> str:
    return making.teacher_key("spread", version())


def _make(source: Source, making: Making) -> SyntheticFaces:
    network, seed = making.teacher("spread"), making.seed
    # Whole batches, so that more faces begin with fewer.
    plain = Source("synthetic", count=math.ceil(source.count / BATCH) * BATCH)
    folder = cached(plain, seed, progress=making.progress)
    faces = load_faces(find_images([folder]), network.size)
    if faces.skipped:
        raise BitfaceError(f"{network.name}: can't be shown made faces, the first: {faces.skipped[0][1]}")
    batches = Store().parts("faces", f"{_key(source, making)}-{seed}")
    images = apart(network, faces.images, seed, batches, making.progress, device_of(making.device))[: source.count]
    return making.teacher_made("spread", SPREAD, images, APART_STEPS)


DATA_SETS.register("spread")(MadeFaces(word="spread", count=2000, key=_key, make=_make, from_teacher=True))
