"""The bill of materials of a wheel: what it needs, and what it fetches, as CycloneDX 1.6 in JSON.

    python release/sbom.py > bitface.cdx.json

It is made of `pyproject.toml` and of the pinned assets alone, so that the same source gives the same bytes. A library's
version is whatever the installer takes within the range that is written down; the assets have their hashes.
"""

import json
import re
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# What the host of a project's own names looks like: any that never changes will do.
_NAMES = uuid.uuid5(uuid.NAMESPACE_URL, "pkg:pypi/bitface")


def sbom(version: str, epoch: int, root: Path = ROOT) -> dict[str, Any]:
    """The document.

    Args:
        epoch: seconds since 1970, of the source.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    libraries = list(_libraries(project))
    assets, wheels = _assets()
    itself = f"pkg:pypi/{project['name']}@{version}"
    components = [*libraries, *wheels, *assets]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "library", "bom-ref": itself, "name": project["name"], "version": version, "purl": itself,
                "description": project["description"], "licenses": [{"license": {"id": project["license"]}}],
            },
        },
        "components": components,
        "dependencies": [
            {"ref": itself, "dependsOn": sorted(one["bom-ref"] for one in components)},
            *({"ref": one["bom-ref"], "dependsOn": []} for one in components),
        ],
    }  # fmt: skip
    return {"serialNumber": uuid.uuid5(_NAMES, json.dumps(document)).urn, **document}


def _libraries(project: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each library that is asked for: the ranges, and which extras ask; None: everybody needs it."""
    asked: dict[str, list[tuple[str | None, str]]] = {}
    extras = {None: project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in extras.items():
        for requirement in requirements:
            name, rest = re.fullmatch(r"([\w.-]+)(.*)", requirement, re.DOTALL).groups()  # type: ignore[union-attr]
            if name != project["name"]:
                asked.setdefault(re.sub(r"[-_.]+", "-", name).lower(), []).append((extra, rest))
    for name, places in sorted(asked.items()):
        yield {
            "type": "library", "bom-ref": f"pkg:pypi/{name}", "name": name, "purl": f"pkg:pypi/{name}",
            "scope": "required" if any(extra is None for extra, _ in places) else "optional",
            "properties": [
                {"name": f"bitface:requirement{f':{extra}' if extra else ''}", "value": rest or "any"}
                for extra, rest in places
            ],
        }  # fmt: skip


def _assets() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The files that are fetched when they are used, and the wheels that they lie in."""
    from bitface.data.assets import ASSETS

    files = [
        {
            "type": "machine-learning-model", "bom-ref": f"asset:{asset.name}", "name": asset.name,
            "scope": "optional", "description": f"{asset.what}. {asset.source}",
            "hashes": [{"alg": "SHA-256", "content": asset.sha256}],
            "licenses": [{"license": {"id": asset.licence}}],
            "properties": [{"name": "bitface:file", "value": f"{asset.wheel.file}:{asset.member}"}],
        }
        for asset in ASSETS.values()
    ]  # fmt: skip
    wheels = {asset.wheel.file: asdict(asset.wheel) for asset in ASSETS.values()}
    return files, [
        {
            "type": "file", "bom-ref": f"file:{name}", "name": name, "scope": "optional",
            "purl": f"pkg:pypi/{wheel['requirement'].replace('==', '@')}",
            "hashes": [{"alg": "SHA-256", "content": wheel["sha256"]}],
        }
        for name, wheel in sorted(wheels.items())
    ]  # fmt: skip


def main() -> None:
    import bitface

    json.dump(sbom(bitface.__version__, 0), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
