"""Builds the wheel, the same bytes from the same source, with its bill of materials in it.

    python release/wheel.py [--out dist]        (make wheel)

The time in it is $SOURCE_DATE_EPOCH, else that of the last commit. Files are sorted, have one mode, and nothing but
what the repository holds goes in. The bill of materials lies in `*.dist-info/sboms/` (PEP 770).
"""

import argparse
import base64
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "release"))
sys.path.insert(0, str(ROOT / "src"))
_OLDEST = 315_532_800  # of a zip archive: 1980


def epoch_of(root: Path) -> int:
    """The time of the source, in seconds since 1970."""
    if word := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(word)
    log = subprocess.run(["git", "-C", root, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(log.stdout.strip() or _OLDEST)


def source_files(root: Path) -> list[str]:
    """What belongs to a build, by the repository; without one, by where it lies."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0") if listed.returncode == 0 else []
    if not any(names):
        names = [path.relative_to(root).as_posix() for path in (root / "src" / "bitface").rglob("*") if path.is_file()]
        names += ["pyproject.toml", "README.md", "LICENSE"]
    inside = [name for name in names if name.startswith("src/") or "/" not in name]
    return sorted(name for name in inside if "__pycache__" not in name and (root / name).is_file())


def build(out: Path, root: Path = ROOT) -> Path:
    """Builds the wheel into a folder, and gives its path.

    Raises:
        CalledProcessError: setuptools refuses the source.
    """
    epoch = max(epoch_of(root), _OLDEST)
    with tempfile.TemporaryDirectory() as place:
        source, made = Path(place) / "source", Path(place) / "made"
        for name in source_files(root):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, source / name)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "PYTHONPATH": ""}
        subprocess.run([*command, "--wheel-dir", made, source], check=True, env=environment)
        (wheel,) = made.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        return finished(wheel, out / wheel.name, epoch, root)


def finished(wheel: Path, target: Path, epoch: int, root: Path = ROOT) -> Path:
    """The same wheel with its bill of materials, its files in one order, of one time and mode."""
    from sbom import sbom

    with zipfile.ZipFile(wheel) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    record = next(name for name in files if name.endswith(".dist-info/RECORD"))
    folder = record.removesuffix("/RECORD")
    version = folder.removesuffix(".dist-info").split("-")[1]
    document = json.dumps(sbom(version, epoch, root), indent=2) + "\n"
    files[f"{folder}/sboms/bitface.cdx.json"] = document.encode()
    del files[record]
    names = sorted(files, key=lambda name: (".dist-info/" in name, name))  # as the format wants it: facts at the end
    files[record] = _record({name: files[name] for name in names}, record)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in [*names, record]:
            info = zipfile.ZipInfo(name, time.gmtime(epoch)[:6])
            info.external_attr, info.compress_type, info.create_system = 0o100644 << 16, zipfile.ZIP_DEFLATED, 3
            archive.writestr(info, files[name])
    return target


def _record(files: dict[str, bytes], own: str) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow((name, f"sha256={digest}", len(content)))
    rows.writerow((own, "", ""))
    return text.getvalue().encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    wheel = build(parser.parse_args().out)
    print(f"{hashlib.sha256(wheel.read_bytes()).hexdigest()}  {wheel}")


if __name__ == "__main__":
    main()
