"""A report stays small, however many scores it is about."""

from pathlib import Path

import numpy as np

from bitface.evaluation import all_pairs
from bitface.files import write_json
from bitface.jobs.report import ReportRequest, make_report
from support.report_example import verification

MEGABYTES = 5


def test_three_models_of_thirty_million_scores(tmp_path: Path) -> None:
    # 1,000 images stand for 7,750: a curve keeps 200 corners and a histogram 256 bins of any number of scores.
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(250), 4)
    centres = rng.normal(size=(250, 32))
    for number in range(3):
        rows = centres[people] + (0.8 + 0.2 * number) * rng.normal(size=(1000, 32))
        found = all_pairs(rows, people, resamples=0).to_json(curve=True)
        scale = 30_000_000 / sum(found["bins"]["impostor"])
        found["bins"]["impostor"] = [round(count * scale) for count in found["bins"]["impostor"]]
        result = {
            **verification(), **found, "bitface": "0.1.0", "model": f"model-{number}.bitface", "kind": "artifact",
            "fingerprint": str(number), "engine": "openvino", "precision": "integer", "pairs": "pairs.csv",
        }  # fmt: skip
        (tmp_path / str(number)).mkdir()
        write_json(tmp_path / str(number) / "evaluation.json", result)
    content = make_report(ReportRequest([tmp_path / str(number) for number in range(3)], tmp_path / "r.html"))
    assert len(content["curves"][0]["series"]) == 3
    for kind in ("html", "json", "md"):
        assert (tmp_path / f"r.{kind}").stat().st_size < MEGABYTES * 1e6
