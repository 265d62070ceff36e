"""Numbers of each output as streams of bits give the bits that tables give."""

import shutil

import numpy as np
import pytest

from bitface.targets.c.emit import c_source
from bitface.targets.c.engine import FLAGS, Compiled
from bitface.targets.c.packed import _packed
from bitface.targets.c.program import Struct, Table
from support.c_oracle import run as oracle
from support.integers import NETWORKS, images

STRICT = ("-O0", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer(name: str) -> None:
    net = NETWORKS[name]()
    text, x = c_source(net, packed=True), images(net)
    run = Compiled(text.code, text.header, (*FLAGS, *STRICT))
    np.testing.assert_array_equal(run(x).view(np.int32), oracle(net.graph, x).view(np.int32))


def test_a_stream_is_as_short_as_its_numbers() -> None:
    """All 32 bits, and none where all numbers are the same; scales of outputs that there aren't count as any other."""
    tables = {
        "bias": np.array([-(2**31), 2**31 - 1, 0, 0], np.int32),
        "scale": np.array([0.5, 0.5, 0.5, 0], np.float32),
        "slope": None,
    }
    fields = tuple((name, None if table is None else Table(table)) for name, table in tables.items())
    packed, size = _packed(Struct("layer", fields))
    values = dict(packed.fields)
    assert (size, values["count"], values["slopes"]) == (32, 4, 0)
    assert (values["bits[0]"], values["least[0]"], values["bits[1]"]) == (32, -(2**31), 0)
    stream = values["numbers"]
    assert isinstance(stream, Table)
    assert stream.values.size == 16
