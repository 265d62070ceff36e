import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from bitface import cpu
from bitface.runtime import machine

CPUINFO = """processor\t: 0
model name\t: A CPU: with a colon
flags\t\t: fpu avx2 avx512_vnni avx512_bf16

processor\t: 1
model name\t: Another
flags\t\t: fpu
"""


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "_CPUINFO", path)
    return path


def test_names_the_first_processor(cpuinfo: Path) -> None:
    cpuinfo.write_text(CPUINFO)
    facts = machine.describe()
    assert facts["cpu"] == "A CPU: with a colon"
    assert facts["isa"] == "avx2 avx512_vnni avx512_bf16"
    assert cpu.has_bf16()


def test_arm_calls_its_flags_features(cpuinfo: Path) -> None:
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    assert machine.describe()["isa"] == "asimddp i8mm"
    assert not cpu.has_bf16()


def test_without_cpuinfo(cpuinfo: Path) -> None:
    facts = machine.describe()
    assert facts["cpu"]
    assert facts["isa"] == "unknown"
    assert not cpu.has_bf16()


@pytest.mark.parametrize(("native", "seconds", "pays"), [(True, 0.5, True), (True, 2.0, False), (False, 0.5, False)])
def test_bf16_pays_where_it_is_native_and_faster(
    monkeypatch: pytest.MonkeyPatch, native: bool, seconds: float, pays: bool
) -> None:
    monkeypatch.setattr(cpu, "has_bf16", lambda: native)
    monkeypatch.setattr(cpu, "product_seconds", {torch.bfloat16: seconds, torch.float32: 1.0}.__getitem__)
    assert cpu.bf16_pays.__wrapped__() is pays


def test_a_product_takes_time() -> None:
    assert cpu.product_seconds(torch.float32) > 0


def test_versions_and_cores() -> None:
    facts = machine.describe()
    assert all(isinstance(value, str) and value for value in facts.values())
    assert {"bitface", "torch", "onnx", "onnxruntime", "openvino", "numpy", "python", "system"} <= set(facts)
    assert facts["openvino"][:4].isdigit()
    assert int(facts["cores"]) == len(cpu.cores())


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PACKAGES", ("no-such-package",))
    assert machine.describe()["no-such-package"] == "not installed"


def test_one_of_each_physical_core_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for core, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
        (tmp_path / str(core)).write_text(siblings)
    monkeypatch.setattr(cpu, "_SIBLINGS", f"{tmp_path}/{{}}")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert cpu.cores() == [0, 2, 1, 3]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cpu.cores() == list(range(os.cpu_count() or 1))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no threads")
def test_pins_and_gives_back() -> None:
    before, first = os.sched_getaffinity(0), cpu.cores()[:1]
    with machine.pinned(1) as pin:
        assert os.sched_getaffinity(0) == before
        assert pin() == first
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before
    with suppress(ZeroDivisionError), machine.pinned(1) as pin:
        1 / (len(pin()) - 1)
    assert os.sched_getaffinity(0) == before
    with machine.pinned(10_000) as pin:
        assert pin() == []
        assert os.sched_getaffinity(0) == before


def test_pins_nothing_where_the_system_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with machine.pinned(1) as pin:
        assert pin() == []
