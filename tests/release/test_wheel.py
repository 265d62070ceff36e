"""The wheel: the same bytes from the same source, and a bill of materials that names all it needs."""

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from bitface.data.assets import ASSETS

ROOT = Path(__file__).parents[2]


def test_every_asset_has_its_hash() -> None:
    for asset in ASSETS.values():
        for digest in (asset.sha256, asset.wheel.sha256):
            assert re.fullmatch(r"[0-9a-f]{64}", digest), asset.name


def test_the_bill_of_materials_names_everything() -> None:
    script: list[str | Path] = [sys.executable, ROOT / "release" / "sbom.py"]
    texts = {subprocess.run(script, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(texts) == 1
    document = json.loads(texts.pop())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {one["name"]: one for one in document["components"]}

    def names(requirements: list[str]) -> set[str]:
        found = {re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in requirements}
        return found - {project["name"]}

    required = names(project["dependencies"])
    optional = {name for one in project["optional-dependencies"].values() for name in names(one)} - required
    libraries = {name: one["scope"] for name, one in listed.items() if one["type"] == "library"}
    assert libraries == {**dict.fromkeys(required, "required"), **dict.fromkeys(optional, "optional")}
    for asset in ASSETS.values():
        assert listed[asset.name]["hashes"] == [{"alg": "SHA-256", "content": asset.sha256}]
        assert listed[asset.wheel.file]["hashes"] == [{"alg": "SHA-256", "content": asset.wheel.sha256}]
    references = [one["bom-ref"] for one in document["components"]]
    assert len(set(references)) == len(references)
    assert {one["ref"] for one in document["dependencies"]} == {
        document["metadata"]["component"]["bom-ref"], *references,
    }  # fmt: skip


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two builds, with other masks, in other places."""
    paths = []
    for mask in ("022", "077"):
        out = tmp_path_factory.mktemp("dist")
        command = f'umask {mask}; exec "$@"'
        script: list[Any] = ["sh", "-c", command, "sh", sys.executable, ROOT / "release" / "wheel.py", "--out", out]
        subprocess.run(script, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"})
        paths += list(out.iterdir())
    return paths


@pytest.mark.slow
def test_two_builds_are_the_same_bytes(wheels: list[Path]) -> None:
    first, second = wheels
    assert first.name == second.name
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


@pytest.mark.slow
def test_the_wheel_records_all_it_holds(wheels: list[Path]) -> None:
    with zipfile.ZipFile(wheels[0]) as archive:
        infos = {info.filename: info for info in archive.infolist()}
        contents = {name: archive.read(name) for name in infos}
    assert {info.date_time for info in infos.values()} == {(2023, 11, 14, 22, 13, 20)}
    assert {info.external_attr >> 16 for info in infos.values()} == {0o100644}
    (record,) = (name for name in infos if name.endswith("/RECORD"))
    rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(contents[record].decode()))}
    assert set(rows) == set(infos)
    for name, content in contents.items():
        if name != record:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            assert rows[name] == (f"sha256={digest}", str(len(content)))
    sbom = json.loads(contents[record.replace("RECORD", "sboms/bitface.cdx.json")])
    assert sbom["metadata"]["component"]["version"] in wheels[0].name
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src" / "bitface").rglob("*.py")}
    assert sources <= set(infos)
