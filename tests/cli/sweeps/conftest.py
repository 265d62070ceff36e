"""A small network, a sweep over it by layer and by block, and a search."""

from pathlib import Path

import pytest

from bitface.jobs.search import SearchRequest, search_plans
from bitface.jobs.sensitivity import measure_sensitivity
from bitface.search.budget import Budget
from support.quantized import Small, onnx_file
from support.sweeps import requested


@pytest.fixture(scope="package")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_file(Small(), 112, tmp_path_factory.mktemp("net") / "small.onnx")


@pytest.fixture(scope="package")
def table(net: Path, crops: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep."""
    out = tmp_path_factory.mktemp("sensitivity") / "out"
    measure_sensitivity(requested(net, crops, out, weight_bits=(8, 4, 2), activation_bits=(8,)))
    return out


@pytest.fixture(scope="package")
def searched(net: Path, crops: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with that table."""
    out = tmp_path_factory.mktemp("search") / "out"
    base = requested(net, crops, out)
    budget = Budget.parse("5bits")
    search_plans(SearchRequest(base, budget, (8, 4, 2), table=table / "sensitivity.json", points=3, tries=1))
    return out


@pytest.fixture(scope="package")
def blocks(net: Path, crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep by block."""
    out = tmp_path_factory.mktemp("blocks") / "out"
    measure_sensitivity(requested(net, crops, out, weight_bits=(4, 2), activation_bits=(4,), by="block"))
    return out
