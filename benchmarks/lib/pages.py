"""Which table stands on which page, and the pages with their tables as the results say."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lib import bit_tables, engine_tables, gallery_tables, network_tables, pictures, tables
from lib.drawings import DRAWINGS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "docs" / "results.md"
FIGURES = ROOT / "docs" / "figures"
EVALUATION = ROOT / "docs" / "evaluation.md"
ANALYSIS = ROOT / "docs" / "analysis.md"
PLANS = ROOT / "docs" / "mixed-precision.md"
NETWORKS = ROOT / "docs" / "networks.md"
TRAINING, FACES = ROOT / "docs" / "training.md", ROOT / "docs" / "faces.md"
SCALING = ROOT / "docs" / "scaling.md"
# The name of a table's place → (the file, its results, joined by + where there are several, and what makes the table of
# the first of them).

TABLES: dict[str, tuple[Path, str, Callable[[dict[str, Any]], list[str]]]] = {
    "headline": (README, "accuracy+four_bits_trained", tables.headline),
    "accuracy": (RESULTS, "accuracy", tables.accuracy),
    "qat": (RESULTS, "qat+four_bits_trained", tables.qat),
    "seeds": (RESULTS, "qat+four_bits_trained", tables.seeds),
    "speed": (RESULTS, "speed", tables.speed),
    "papers": (TRAINING, "qat", tables.papers),
    "ablation": (TRAINING, "qat", tables.ablation),
    "training_speed": (TRAINING, "training_speed", tables.training_speed),
    "faceless": (FACES, "faceless", tables.faceless),
    "variety": (FACES, "variety", tables.variety),
    "made_faces": (FACES, "made_faces", bit_tables.four_bits_trained),
    "making_faces": (FACES, "making_faces", tables.making_faces),
    "datasets": (ROOT / "docs" / "datasets.md", "datasets", tables.datasets),
    "thresholds": (EVALUATION, "thresholds", tables.thresholds),
    "extrapolation": (EVALUATION, "extrapolation", gallery_tables.extrapolation),
    "stolen_gallery": (ROOT / "docs" / "galleries.md", "stolen_gallery", gallery_tables.stolen_gallery),
    "mixed": (EVALUATION, "mixed", tables.mixed),
    "templates": (EVALUATION, "templates", tables.templates),
    "identification": (EVALUATION, "identification", tables.identification),
    "angles": (ANALYSIS, "angles", tables.angles),
    "galleries": (EVALUATION, "mixed", tables.galleries),
    "post_training": (ROOT / "docs" / "quantization.md", "post_training", bit_tables.post_training),
    "four_bits": (ROOT / "docs" / "quantization.md", "four_bits", bit_tables.four_bits),
    "equalizing": (ROOT / "docs" / "quantization.md", "equalizing", bit_tables.equalizing),
    "four_bits_trained": (ROOT / "docs" / "quantization.md", "four_bits_trained", bit_tables.four_bits_trained),
    "tried": (ROOT / "docs" / "quantization.md", "tried", bit_tables.tried),
    "rebuilding": (ROOT / "docs" / "quantization.md", "rebuilding", bit_tables.rebuilding),
    "saturation": (ROOT / "docs" / "quantization.md", "saturation", engine_tables.saturation),
    "mixed_precision": (PLANS, "mixed_precision", bit_tables.mixed_precision),
    "front": (PLANS, "sensitivity", bit_tables.front),
    "proxies": (PLANS, "sensitivity", bit_tables.proxies),
    "transformers": (ROOT / "docs" / "transformers.md", "transformers", tables.transformers),
    "smaller": (ROOT / "docs" / "smaller.md", "smaller", tables.smaller),
    "reliability": (ROOT / "docs" / "reliability.md", "reliability", engine_tables.reliability),
    "asked": (ROOT / "docs" / "reliability.md", "reliability", partial(engine_tables.reliability, group="asked")),
    "standard": (ROOT / "docs" / "reliability.md", "reliability", partial(engine_tables.reliability, group="standard")),
    "networks": (NETWORKS, "networks", network_tables.networks),
    "network_packages": (NETWORKS, "networks", network_tables.network_packages),
    "network_forms": (NETWORKS, "networks", network_tables.network_forms),
    "network_refusals": (NETWORKS, "networks", network_tables.network_refusals),
    "arm": (ROOT / "docs" / "targets.md", "arm", engine_tables.arm),
    "start": (ROOT / "docs" / "targets.md", "start", engine_tables.start),
    "native": (ROOT / "docs" / "targets.md", "native", engine_tables.native),
    "rknn": (ROOT / "docs" / "targets.md", "npus-rknn", engine_tables.npus),
    "qnn": (ROOT / "docs" / "targets.md", "npus-qnn", engine_tables.npus),
    "machines": (ROOT / "docs" / "targets.md", "machines", engine_tables.machines),
    "firmware": (ROOT / "docs" / "targets.md", "machines", engine_tables.firmware),
    "roofline": (ROOT / "docs" / "targets.md", "roofline", engine_tables.roofline),
    "targets": (ROOT / "docs" / "targets.md", "targets", engine_tables.targets),
    "ranks": (SCALING, "ranks", engine_tables.ranks),
    "scaling": (SCALING, "scaling", engine_tables.scaling),
    "fuzz": (ROOT / "docs" / "reliability.md", "fuzz", engine_tables.counts),
    "chaos": (ROOT / "docs" / "reliability.md", "chaos", engine_tables.chaos),
    "many_operators": (ROOT / "docs" / "reliability.md", "many_operators", engine_tables.counts),
    "soak": (ROOT / "docs" / "reliability.md", "soak", engine_tables.counts),
    "one_face": (ROOT / "docs" / "api.md", "one_face", engine_tables.one_face),
    "large_gallery": (EVALUATION, "large_gallery", gallery_tables.large_gallery),
    "threads": (ROOT / "docs" / "reliability.md", "threads", engine_tables.threads),
}


def pages() -> dict[Path, str]:
    """Every page that holds tables: its text, with every table made from its results; and the SVG pictures.

    Raises:
        SystemExit: a page has no place for a table.
    """
    texts: dict[Path, str] = {}
    for name, (file, scripts, lines) in TABLES.items():
        contents = {script: tables.read(script) for script in scripts.split("+")}
        sources = "\\\n".join(source(script, content) for script, content in contents.items())
        made = lines(next(iter(contents.values())))
        block = "\n".join([f"<!-- {name} -->", *made, "", sources, f"<!-- /{name} -->"])
        text = texts.get(file) or file.read_text(encoding="utf-8")
        texts[file], places = re.subn(
            f"<!-- {name} -->.*?<!-- /{name} -->", lambda _, block=block: block, text, flags=re.DOTALL
        )
        if not places:
            raise SystemExit(f"{file} has no place for the table '{name}'")
    return texts | {FIGURES / f"{name}.svg": draw() for name, draw in {"sizes": pictures.sizes, **DRAWINGS}.items()}


def source(script: str, content: dict[str, Any]) -> str:
    """Where a table comes from: the command, the day, the machine."""
    machine = content["machine"]
    cpus = " and ".join(sorted({row.get("cpu", machine["cpu"]) for row in content["rows"]}))
    return (
        f"*`{content.get('command', f'python benchmarks/{script}.py')}`, {content['created'][:10]}, "
        f"{cpus}, {machine['cores']} core{'s' * (machine['cores'] != '1')}, "
        f"OpenVINO {machine['openvino']}, ONNX Runtime {machine['onnxruntime']}*"
    )
