"""Several seeds of one quantization."""

import statistics

import pytest

from bitface.cli.console import seeds_of
from bitface.errors import UsageError
from bitface.jobs.runs.seeds import Seeds


def test_mean_and_deviation_as_tables() -> None:
    values = [0.91, 0.93, 0.95]
    seen = Seeds((0, 1, 5), {"mean cosine": values, "minimum": [0.5, 0.5, 0.5]})
    assert statistics.stdev(values) == pytest.approx(0.02)
    assert seen.markdown() == (
        "| seed | mean cosine | minimum |\n|---|---|---|\n| 0 | 0.9100 | 0.5000 |\n| 1 | 0.9300 | 0.5000 |\n"
        "| 5 | 0.9500 | 0.5000 |\n| mean ± sd | 0.9300 ± 0.0200 | 0.5000 ± 0.0000 |\n"
    )
    assert seen.latex() == (
        "\\begin{tabular}{cc}\nmean cosine & minimum \\\\\n$0.9300 \\pm 0.0200$ & $0.5000 \\pm 0.0000$ \\\\\n"
        "\\end{tabular}\n"
    )


@pytest.mark.parametrize("text", ["0", "0,0", "0,x", "0,-1", ""])
def test_words_that_are_no_seeds(text: str) -> None:
    with pytest.raises(UsageError, match="two or more different whole numbers"):
        seeds_of(text)
    assert seeds_of("0,1,7") == [0, 1, 7]
