"""`bitface demo`: the whole way on the default assets, without a single real face."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from bitface import report
from bitface.data.assets import ASSETS, fetch
from bitface.data.face_source import FaceSource
from bitface.data.sheet import sheet_png
from bitface.data.sources import MANIFEST
from bitface.data.synthetic import SyntheticFaces, make_faces, write_faces
from bitface.errors import BitfaceError, option
from bitface.files import write_json
from bitface.jobs.evaluate import EvaluateRequest, evaluate_model
from bitface.jobs.quantize import QuantizeRequest, quantize_model
from bitface.progress import Steps, silent
from bitface.quant import BitPlan
from bitface.report.next_steps import after_quantization
from bitface.report.quantization import report_of
from bitface.results.bench import BenchRecord
from bitface.results.demo import DemoRecord
from bitface.results.folder import RESULT, check_foreign, holds
from bitface.results.locks import holding
from bitface.runtime import open_model
from bitface.runtime.bench import bench, slower_in_integers
from bitface.targets.registry import title_of

BITS = ("w8a8", "w4a8")
FACES, QUICK_FACES = 2000, 400
_CALIBRATION, _QUICK_CALIBRATION = 300, 64
_SHEET = 60
_CONTENT = "demo.json"


def demo(out: Path, quick: bool = False, seed: int = 0, steps: Steps = silent) -> dict[str, Any]:
    """Fetches SFace, YuNet and the generator; makes faces; quantizes, checks, measures; writes `out/report.html`.

    An earlier demo's folder is written over.

    Args:
        quick: fewer faces and shorter measurements, and no evaluation on LFW.

    Returns:
        The content of `out/demo.json`.

    Raises:
        BitfaceError: the assets can't be fetched, or `out` can't be written or holds somebody else's faces or results.
    """
    with holding(out, "demo"):
        if not (out / _CONTENT).exists() and not (out / "faces").exists():
            for bits in BITS:
                if (out / bits / RESULT).exists():
                    raise BitfaceError(f"{out / bits}: holds another command's result; choose another {option('out')}")
        check_foreign(out, (_CONTENT, "report.html"), ours=holds(out, _CONTENT, DemoRecord.kind_name()))
        return _shown(out, quick, seed, steps)


def _shown(out: Path, quick: bool, seed: int, steps: Steps) -> dict[str, Any]:
    for name in ASSETS:
        fetch(name)
    teacher = fetch("sface")
    count = QUICK_FACES if quick else FACES
    faces = make_faces(count, seed, progress=steps("making synthetic faces"))
    folder = out / "faces"
    write_demo_faces(folder, faces, (out / _CONTENT).exists())
    results = []
    for bits in BITS:
        request = QuantizeRequest(
            teacher,
            FaceSource([folder], max_images=_QUICK_CALIBRATION if quick else _CALIBRATION),
            out / bits,
            BitPlan.parse(bits),
            preprocess="rgb-raw",
            seed=seed,
            force=True,
        )
        results.append(quantize_model(request, lambda name, bits=bits: steps(f"{bits}: {name}")))  # type: ignore[misc]
    artifacts = [out / bits / "model.bitface" for bits in BITS]
    models = [open_model(teacher), open_model(artifacts[0])]
    latency = BenchRecord.of(bench(models, (1,), (1,), progress=steps("measuring speed")).to_json())
    if not quick and lfw_folder():
        reference = _on_lfw(teacher, "float32", steps)
        for bits, path, result in zip(BITS, artifacts, results, strict=True):
            result["evaluation"] = [reference, _on_lfw(path, bits, steps)]
    record = DemoRecord.of({"faces": faces.manifest, "results": results, "latency": latency.to_json()})
    page = report_of(
        record.results,
        "bitface demo: SFace in integers",
        latency=latency.to_json(),
        faces={
            "caption": f"{_SHEET} of the {len(faces.images)} synthetic faces: people who don't exist",
            "png": sheet_png(faces.images[:_SHEET]),
        },
    )
    page["next"] = after_quantization(str(teacher), artifacts[0])
    page["warnings"] += slower_in_integers(latency.rows)
    page["headline"] += _speed_headline(latency, record.results[0].engine)
    content = record.to_json()
    write_json(out / _CONTENT, content)  # first, since it says whose the page is
    report.write(out / "report.html", page)
    return content


def write_demo_faces(folder: Path, faces: SyntheticFaces, earlier: bool) -> None:
    """Writes the faces, where they aren't there; an earlier demo's others go."""
    try:
        if json.loads((folder / MANIFEST).read_text(encoding="utf-8")) == faces.manifest:
            return
        if earlier:
            shutil.rmtree(folder, ignore_errors=True)
    except (OSError, ValueError):
        pass  # none, or somebody else's
    write_faces(folder, faces.images, faces.manifest)


def lfw_folder() -> Path | None:
    """LFW as a folder with `images/` and `pairs.csv` below `$BITFACE_DATA/lfw` or `../shared/data/lfw`, if there."""
    places = [os.environ.get("BITFACE_DATA"), "../shared/data"]
    for place in places:
        folder = Path(place) / "lfw" if place else None
        if folder and (folder / "pairs.csv").is_file() and (folder / "images").is_dir():
            return folder
    return None


def _on_lfw(path: Path, label: str, steps: Steps) -> dict[str, Any]:
    folder = lfw_folder()
    assert folder is not None
    content, _ = evaluate_model(
        EvaluateRequest(path, folder / "pairs.csv", folder / "images", all_pairs=True, fars=(1e-3, 1e-4, 1e-5)),
        lambda name: steps(f"LFW: {label}: {name}"),
    )
    return {"label": f"{label} on LFW ({title_of(content['engine'])})", "result": content}


def _speed_headline(latency: BenchRecord, engine: str) -> list[dict[str, str]]:
    rows = [row for row in latency.rows if row.precision == "int8" and row.engine == engine]
    if not rows or not rows[0].ratio:
        return []
    return [
        {
            "label": "speed",
            "value": f"{rows[0].ratio:.1f}x",
            "note": f"as fast as float32 in {title_of(engine)}, batch 1, one thread, measured alternating on this "
            "machine",
        }
    ]
