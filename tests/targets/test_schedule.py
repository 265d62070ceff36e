"""Maps that are computed row by row: in every order they hold what is read, and give the same bits."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from bitface.errors import BitfaceError, UsageError
from bitface.graph import Network, ops
from bitface.jobs.export import export_model
from bitface.targets.c.emit import _WRITERS, c_source, emit
from bitface.targets.c.engine import FLAGS, Compiled
from bitface.targets.c.memory import Buffer
from bitface.targets.c.program import Program
from bitface.targets.c.schedule import Schedule, _chains, _placed, schedule
from bitface.targets.c.writer import Writer
from bitface.targets.write import write
from support.c_oracle import run as oracle
from support.integers import NETWORKS, Integers, images, prelu


def residual() -> Network:
    """Odd sides, strides and paddings, a PReLU, and sums of tensors that lie several layers apart, one of them a map
    that is read again at the end."""
    net = Integers(3, 29, 23)
    x = net.rounded(net.layer(net.rounded(net.builder.input, 0.01), 9, (3, 3), padding=(1, 1), stride=(2, 1)))
    for stride in (1, 2):
        y = net.rounded(net.add(prelu(20), net.layer(x, 20, (1, 1))))
        y = net.rounded(net.layer(y, 20, (3, 3), padding=(1, 1), groups=20))
        y = net.rounded(net.layer(y, 9, (5, 3), padding=(2, 1)))
        x = net.rounded(net.add(nn.ReLU(), net.add(ops.Add(), x, y)), signed=False)
        if stride == 1:
            x = net.rounded(net.layer(x, 9, (3, 4), padding=(0, 3), dilation=(2, 1)))
    late = net.rounded(net.layer(x, 9, (2, 2), stride=(3, 2)))
    means = [net.add(ops.ReduceMean((2, 3), False), y) for y in (net.rounded(net.add(nn.Hardswish(), x)), late)]
    return net.network(net.add(ops.Concat(1), *means))


CHAINS = {**NETWORKS, "residual": residual}


def program_of(net: Network) -> Program:
    program = Writer(net.graph, _WRITERS).write()
    program.buffers[program.embedding.buffer].last = len(program.calls)
    return program


def check_rows(program: Program, chain: Schedule) -> None:
    """Goes through the steps of a chain and notes which row each place holds."""
    calls = [call.rows for call in program.calls[: chain.chain] if call.rows]
    places: dict[int, dict[int, int]] = {rows.writes: {} for rows in calls}
    done = [0] * len(calls)
    for step in chain.ends:
        for index, rows in enumerate(calls):
            for row in range(done[index], step[index]):
                top = row * rows.stride - rows.pad
                for buffer in rows.reads:
                    for read in range(max(top, 0), min(top + rows.reach, rows.height)):
                        assert places[buffer][read % chain.held[buffer]] == read
            for row in range(done[index], step[index]):
                places[rows.writes][row % chain.held[rows.writes]] = row
        done = list(step)
    for index, rows in enumerate(calls):
        if program.buffers[rows.writes].last >= chain.chain:  # what is read later is there as a whole
            assert done[index] == rows.out_height == chain.held[rows.writes]


@pytest.mark.parametrize("name", CHAINS)
def test_every_chain_holds_the_rows_that_are_read(name: str) -> None:
    program = program_of(CHAINS[name]())
    chains = list(_chains(program))
    assert chains
    for chain in chains:
        check_rows(program, chain)


def test_places_of_what_is_used_together() -> None:
    program = program_of(residual())
    plan = schedule(program, least(program))
    used: dict[int, Buffer] = {id(one): one for one in plan.buffers}
    for one in used.values():
        for other in used.values():
            if one is not other and one.first <= other.last and other.first <= one.last:
                assert one.end <= other.offset or other.end <= one.offset


def least(program: Program) -> int:
    with pytest.raises(BitfaceError, match="don't fit into 1 bytes of scratch; the least is") as error:
        schedule(program, 1)
    return int(str(error.value).rpartition(" ")[2].replace(",", ""))


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
@pytest.mark.parametrize(("name", "kernels"), [*((name, 0) for name in CHAINS), ("residual", 2), ("wide", 1)])
def test_every_chain_gives_the_same_bits(name: str, kernels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = CHAINS[name]()
    x = images(net)
    expected, chains = oracle(net.graph, x).view(np.int32), len(list(_chains(program_of(net))))
    for number in (chains // 2, chains - 1):
        monkeypatch.setattr(
            "bitface.targets.c.source.schedule", lambda program, _, n=number: _placed(list(_chains(program))[n])
        )
        text = c_source(net)
        flags = [flag for flag in FLAGS if not flag.startswith("-O")]
        run = Compiled(text.code, text.header, (*flags, "-O0", f"-DFACE_NET_KERNELS={kernels}"))
        np.testing.assert_array_equal(run(x).view(np.int32), expected)


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_the_least_scratch() -> None:
    net = residual()
    x, whole, smallest = images(net), c_source(net), least(program_of(net))
    for scratch, packed in ((smallest, False), ((smallest + whole.scratch) // 2, False), (whole.scratch, True)):
        text = c_source(net, scratch=scratch, packed=packed)
        assert text.scratch <= scratch
        np.testing.assert_array_equal(Compiled(text.code, text.header, (*FLAGS, "-O0"))(x), oracle(net.graph, x))


def test_a_size_in_words(tmp_path: Path) -> None:
    net, facts = residual(), {"bitface.scratch": "76000"}
    (tmp_path / "net").mkdir()
    emit(net, facts, tmp_path / "net")
    header = (tmp_path / "net" / "face_net.h").read_text(encoding="ascii")
    assert int(header.partition("_SCRATCH ")[2].split()[0]) <= 76000
    assert "operations are computed row by row, in " in header
    with pytest.raises(BitfaceError, match=r"net: can't be written as C: its maps don't fit into 100 bytes of scratch"):
        write("c", net, {"bitface.scratch": "100"}, tmp_path / "other")
    with pytest.raises(UsageError, match=r"scratch.*'3bits' is no size in bytes; write 300KB"):
        export_model(tmp_path / "model.bitface", tmp_path / "out", "c", scratch="3bits")
