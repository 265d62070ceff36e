"""Writes a network as C."""

import re
from collections.abc import Mapping
from pathlib import Path

from bitface.errors import BitfaceError, UsageError, option
from bitface.graph import Network
from bitface.targets.base import FACTS_FILE, FACTS_KEY, NAME_KEY, SCRATCH_KEY
from bitface.targets.c import layers, operators
from bitface.targets.c.packed import pack_layers
from bitface.targets.c.source import Source, source
from bitface.targets.c.usage import DEFAULT_NAME
from bitface.targets.c.writer import Writer

_WRITERS = {**layers.WRITERS, **operators.WRITERS}

# What is written beside the network, and what its engine here calls.
_TAKEN = ("example", "bitface")
_EXAMPLE = """/* Prints the embedding of a crop, a file of {height} x {width} pixels of 3 bytes (red, green, blue). */
#include <stdio.h>

#include "{name}.h"

static uint8_t crop[{word}_HEIGHT * {word}_WIDTH * 3];
/* Some bytes more, for an address that 64 divides. */
static uint8_t scratch[{word}_SCRATCH + 63];

int main(int count, char **arguments)
{{
    float embedding[{word}_EMBEDDING];
    FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    if (file == NULL || fread(crop, 1, sizeof crop, file) != sizeof crop) {{
        fprintf(stderr, "usage: %s FILE, of %u bytes\\n", arguments[0], (unsigned)sizeof crop);
        return 1;
    }}
    fclose(file);
    {name}_embed(crop, scratch + (64 - (uintptr_t)scratch % 64) % 64, embedding);
    for (int i = 0; i < {word}_EMBEDDING; i++)
        printf("%.9g\\n", (double)embedding[i]);
    return 0;
}}
"""


def c_source(
    network: Network,
    name: str = DEFAULT_NAME,
    scratch: int | None = None,
    packed: bool = False,
    numbers: bytearray | None = None,
) -> Source:
    """The C of a network; without its function of pixels where nobody has said how it wants them.

    Args:
        scratch: the most bytes that it may work in; None: as many as are fastest.
        packed: whether the numbers of each output are packed, too, which costs some hundredths of the speed.
        numbers: see `source`.

    Raises:
        NoKernel: the network has an operator that there is no kernel for.
        BitfaceError: it needs more scratch.
    """
    try:
        program = Writer(network.graph, _WRITERS).write()
        if packed:
            pack_layers(program)
        return source(program, network.preprocess, name, scratch, numbers)
    except BitfaceError as error:
        raise type(error)(f"{network.name}: can't be written as C: {error}") from error


def emit(network: Network, facts: Mapping[str, str], path: Path) -> None:
    """Writes `NAME.c`, `NAME.h` and an example into a folder, and of an artifact what bitface needs to run them.

    Raises:
        BitfaceError: the network has an operator that there is no kernel for, its preprocessing isn't known, or it
            needs more scratch.
        UsageError: the name is none of C.
    """
    name = facts.get(NAME_KEY, DEFAULT_NAME)
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,50}", name):
        raise UsageError(f"'{name}' is no name for a C function here: use a-z, 0-9 and _, as in {DEFAULT_NAME}")
    if name in _TAKEN:
        raise UsageError(f"'{name}' is the name of another file or function here; take another one, as {DEFAULT_NAME}")
    if network.preprocess is None:
        raise BitfaceError(
            f"{network.name}: its preprocessing isn't known, so it can't be part of the C; say it with "
            f"{option('preprocess')}"
        )
    scratch = int(facts[SCRATCH_KEY]) if SCRATCH_KEY in facts else None
    text = c_source(network, name, scratch, packed=True)
    height, width = network.size
    example = _EXAMPLE.format(name=name, word=name.upper(), height=height, width=width)
    for file, content in ((f"{name}.c", text.code), (f"{name}.h", text.header), ("example.c", example)):
        (path / file).write_text(content, encoding="ascii")
    if FACTS_KEY in facts:
        (path / FACTS_FILE).write_text(facts[FACTS_KEY], encoding="utf-8")
