"""Does quantization turn whole classes, as RCM's paper saw on a ResNet18, or tear them apart? On two MobileFaceNets.

    python benchmarks/angles.py [--bits w8a8,w6a6,w4a4] [--only TEXT] [--out out/angles] [--trained out/qat]

Artifacts by post-training quantization with 300 faces outside the LFW pairs, and those that `qat.py` has left in
`--trained`, are analysed as `bitface analyse` does it, on the people of whom LFW has ten images or more: on all of
their images, and on those alone that are in the LFW pairs, which calibrated and trained nothing (trained artifacts on
these only). Reports stay in `--out` and are not made again of the same artifact; nor is a row that
`results/angles.json` holds.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from lib.common import LFW, artifact, known, networks, save

from bitface.data.face_source import FaceSource
from bitface.data.faces import find_images
from bitface.evaluation import identity_of, read_pairs
from bitface.jobs.analyse import AnalyseRequest, analyse_student
from bitface.runtime import open_model

_LEAST = 10


def image_list(folder: Path, unseen: bool) -> Path:
    """The images of people who have enough of them, as a list; or those of them that are in pairs."""
    images = [file.relative for file in find_images([LFW / "images"])]
    counts = Counter(map(identity_of, images))
    paired = set(read_pairs(LFW / "pairs.csv", LFW / "images").paths)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("unseen.txt" if unseen else "all.txt")
    chosen = [one for one in images if counts[identity_of(one)] >= _LEAST and (one in paired or not unseen)]
    path.write_text("\n".join(chosen))
    return path


def students(bits: str, only: str, trained: Path) -> dict[str, tuple[str, Path | None]]:
    """Key → (network, artifact); None: still to be made. Trained ones are known by their folder's name."""
    names = [name for name in networks() if name.startswith("MobileFaceNet")]
    found: dict[str, tuple[str, Path | None]] = {
        f"{name} {word} ptq": (name, None) for name in names for word in bits.split(",")
    }
    for path in sorted(trained.glob("*/model.bitface")):
        for name in names:
            if path.parent.name.startswith(f"{name.replace(' ', '-')}-"):
                recipe = path.parent.name.removeprefix(f"{name.replace(' ', '-')}-")
                found[f"{name} {recipe} qat"] = (name, path)
    return {key: value for key, value in found.items() if only in key}


def report_of(key: str, out: Path) -> Path:
    """The folder of a student's analysis."""
    return out / "reports" / key.replace(" ", "-")


def analysed(key: str, network: str, made: Path, out: Path, unseen: bool) -> dict[str, Any]:
    """The analysis of an artifact; the one that is there, if it is of the same artifact."""
    file = report_of(key, out) / "analysis.json"
    if file.is_file():
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if result["student"]["fingerprint"] == open_model(made).network.fingerprint():
            return result
    path, preprocess = networks()[network]
    listed = image_list(out, unseen)
    return analyse_student(
        AnalyseRequest(
            path,
            made,
            FaceSource([LFW / "images"], listed, labels="folder"),
            file.parent,
            preprocess=preprocess,
            force=True,
        )
    )


def measure(key: str, network: str, made: Path, out: Path, unseen: bool) -> dict[str, Any]:
    """The angles of one student."""
    result = analysed(key, network, made, out, unseen)
    plain, turned, angles = *result["errors"].values(), result["angles"]
    point = result["flips"]["points"][0]
    return {
        "key": key,
        "network": network,
        "bits": result["student"]["bits"],
        "method": result["student"]["method"],
        "unseen": unseen,
        "faces": result["faces"]["used"],
        "people": result["faces"]["classes"],
        "A-QE": plain["face"],
        "class": plain["class"],
        "individual": plain["individual"],
        "individual vector": plain["individual vector"],
        "turned back": turned,
        **{
            f"{kind} {side}": {figure: angles[f"{kind}-class"][side][figure] for figure in ("mean", "p05", "p95")}
            for kind in ("inter", "within")
            for side in ("teacher", "student")
        },
        "neighbours kept": result["neighbourhoods"]["kept"],
        "flips": {figure: point[figure] for figure in ("far", "rejected", "accepted", "gained", "genuine", "impostor")},
        "start": result["layers"]["start"],
        "embedding dB": result["layers"]["points"][-1]["snr"],
        "seconds": round(sum(result["seconds"].values()), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", default="w8a8,w6a6,w4a4")
    parser.add_argument("--only", default="", help="students whose key holds this text")
    parser.add_argument("--out", type=Path, default=Path("out/angles"))
    parser.add_argument("--trained", type=Path, default=Path("out/qat"), help="where qat.py leaves its artifacts")
    options = parser.parse_args()
    rows = known("angles")
    wanted = students(options.bits, options.only, options.trained)
    if not wanted:
        raise SystemExit(f"no student's name holds '{options.only}'")
    for unseen in (True, False):
        for student, (network, made) in wanted.items():
            key = f"{student} {'unseen' if unseen else 'all'}"
            if any(row["key"] == key for row in rows) or (made is not None and not unseen):
                continue
            model = made or artifact(network, student.split()[-2], options.out)
            rows.append(measure(key, network, model, options.out, unseen))
            save("angles", rows, test=f"people with {_LEAST} or more images in LFW; unseen: in pairs of View 2")


if __name__ == "__main__":
    main()
