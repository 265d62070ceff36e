"""`bitface run --seeds`: the same quantization with several seeds, and what they differ by."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitface import ranks
from bitface.files import write_bytes
from bitface.jobs.quantize import QuantizeRequest, quantize_model
from bitface.progress import Steps, silent
from bitface.results.folder import RESULT, check_foreign, finished
from bitface.results.quantization import agreed

# What is told of each seed → where it stands in an agreement, and its digits.
FIGURES = {"mean cosine": ("mean", 4), "1st percentile": ("p01", 4), "minimum": ("minimum", 4)}


@dataclass(frozen=True)
class Seeds:
    """What each seed gave: figure → its values, in the order of the seeds."""

    seeds: tuple[int, ...]
    figures: Mapping[str, Sequence[float]]

    def rows(self) -> list[tuple[str, str, str]]:
        """Each figure with its mean and its standard deviation (of a sample) as they are printed."""
        rows = []
        for name, values in self.figures.items():
            digits = FIGURES[name][1]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            rows.append((name, f"{statistics.mean(values):.{digits}f}", f"{spread:.{digits}f}"))
        return rows

    def markdown(self) -> str:
        """A table, a row for each seed and one for mean ± sd."""
        names = list(self.figures)
        lines = [f"| seed | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        for place, seed in enumerate(self.seeds):
            values = [f"{self.figures[name][place]:.{FIGURES[name][1]}f}" for name in names]
            lines.append(f"| {seed} | {' | '.join(values)} |")
        lines.append(f"| mean ± sd | {' | '.join(f'{mean} ± {spread}' for _, mean, spread in self.rows())} |")
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """The row of mean ± sd as a LaTeX tabular."""
        rows = self.rows()
        head = " & ".join(name for name, _, _ in rows)
        cells = " & ".join(rf"${mean} \pm {spread}$" for _, mean, spread in rows)
        return f"\\begin{{tabular}}{{{'c' * len(rows)}}}\n{head} \\\\\n{cells} \\\\\n\\end{{tabular}}\n"


def quantize_seeds(
    request: Callable[[int, Path], QuantizeRequest], seeds: Sequence[int], out: Path, steps: Steps = silent
) -> Seeds | None:
    """Quantizes with each seed into `out/seed-N`, and writes `seeds.md` and `seeds.tex` to `out`.

    A request that resumes leaves out the seeds whose results are there.

    Args:
        request: of a seed, into a folder.

    Returns:
        What the seeds gave; None in a rank that isn't the first.

    Raises:
        BitfaceError, UsageError: see `quantize_model`.
    """
    figures: dict[str, list[float]] = {name: [] for name in FIGURES}
    check_foreign(out, ("seeds.md", "seeds.tex"), ours=any(out.glob(f"seed-*/{RESULT}")))
    for seed in seeds:
        folder = out / f"seed-{seed}"
        one = request(seed, folder)
        done = one.resume and finished(folder, "quantize")
        if ranks.told(done)[0]:
            result: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        else:
            result = quantize_model(one, lambda name, seed=seed: steps(f"seed {seed}: {name}"))  # type: ignore[misc]
        if result:
            _, values = agreed(result)
            for name, (key, _) in FIGURES.items():
                figures[name].append(values[key])
    if not ranks.is_first():
        return None
    seen = Seeds(tuple(seeds), figures)
    write_bytes(out / "seeds.md", seen.markdown().encode())
    write_bytes(out / "seeds.tex", seen.latex().encode())
    return seen
