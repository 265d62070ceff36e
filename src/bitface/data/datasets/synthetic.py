"""`synthetic[:N]` and `generator:FILE[:N]`: people who don't exist, from the default generator or from one's own."""

from bitface.data.sources import DATA_SETS, MadeFaces, Making, Source
from bitface.data.synthetic import SyntheticFaces, make_faces
from bitface.errors import BitfaceError
from bitface.files import sha256_of


def _generator_key(source: Source, _: Making) -> str:
    assert source.path is not None
    try:
        return f"generator-{sha256_of(source.path)[:16]}"
    except OSError as error:
        raise BitfaceError(
            f"{source.path}: can't be read ({error.strerror or error}); 'generator:' names a file"
        ) from error


def _make(source: Source, making: Making) -> SyntheticFaces:
    return make_faces(
        source.count,
        making.seed,
        generator=source.path,
        truncation=making.truncation,
        progress=making.progress,
    )


DATA_SETS.register("synthetic")(MadeFaces(word="synthetic", count=2000, key=lambda source, making: "dcgan", make=_make))
DATA_SETS.register("generator")(MadeFaces(word=r"generator:(?P<file>.+?)", count=2000, key=_generator_key, make=_make))
