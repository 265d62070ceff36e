"""`FILE.bin`: the images of a verification set, as InsightFace packs them."""

from bitface.data.packs import is_pack, unpacked_pack
from bitface.data.sources import DATA_SETS, GivenFaces

DATA_SETS.register("pack")(GivenFaces(fits=is_pack, folder=lambda path: unpacked_pack(path)[0]))
