"""What is known of the C that is written now isn't computed again; what is known of another one is."""

from pathlib import Path
from typing import Any

import pytest

KEY = ("x86-64", "plain C", "gcc", "O3")
ROW = {"artifact": "net/w8a8", "machine": "x86-64", "kernels": "plain C", "compiler": "gcc", "optimisation": "O3"}


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import machines
    from lib import common

    (tmp_path / "results").mkdir()
    monkeypatch.setattr(common, "HERE", tmp_path)
    return machines


def test_rows_of_this_c_are_known(machines: Any) -> None:
    machines.Results().read().add({**ROW, "same": True})
    again = machines.Results().read()
    assert again.known("net/w8a8", KEY)
    assert not again.known("net/w4a4", KEY)
    assert not again.known("net/w8a8", (*KEY[:3], "O0"))


def test_rows_of_another_c_are_left_out(machines: Any) -> None:
    machines.Results(source="before").add({**ROW, "same": True})
    assert machines.Results().read().rows == []
