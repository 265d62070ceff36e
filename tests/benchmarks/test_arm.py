"""What `make arm` says where it can't run."""

import sys
from importlib import import_module

import pytest


def test_it_is_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["arm.py"])
    monkeypatch.setenv("PATH", "")
    import_module("arm").main()
    expected = "skipped: qemu-aarch64-static isn't here (Debian's package qemu-user-static)\n"
    assert capsys.readouterr().out == expected
