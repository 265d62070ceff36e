"""Seconds and memory of scoring templates: a make-believe IJB-C of the real size.

    OMP_NUM_THREADS=1 python benchmarks/templates.py [--folder out/templates] [--only TEXT]

469,375 images of 3,531 subjects, 512 numbers each, in a memory-mapped float32 file: every image is its subject's centre
and noise of its own. They make 3,531 enrolled templates and 19,593 probes, which are compared in 15,658,489 pairs,
19,557 of them genuine. Each row is a process of its own, so that its peak of memory is too; pages of the mapped file
count. The figures of such embeddings mean nothing, and aren't reported.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bitface.evaluation.lists.templates import SearchList, TemplateList, TemplatePairs
from bitface.evaluation.protocols.base import Embeddings
from bitface.evaluation.protocols.galleries import SearchProtocol
from bitface.evaluation.protocols.templates import TemplateProtocol
from bitface.evaluation.scores.pooling import pair_scores, pool

IMAGES, SIZE = 469_375, 512
SUBJECTS, PROBES = 3_531, 19_593
PAIRS, GENUINE = 15_658_489, 19_557
_BLOCK = 8192


def templates() -> TemplateList:
    """The list: every subject's gallery template first, then the probes; media of about five images."""
    rng = np.random.default_rng(0)
    count = SUBJECTS + PROBES
    # Every subject has a probe; the last 36 probes stand in no genuine pair.
    subject = np.concatenate((np.arange(SUBJECTS), np.arange(SUBJECTS), rng.integers(0, SUBJECTS, PROBES - SUBJECTS)))
    template = np.sort(np.concatenate((np.arange(count), rng.integers(0, count, IMAGES - count))))
    return TemplateList(
        paths=tuple(f"{image}.jpg" for image in range(1, IMAGES + 1)),
        ids=np.arange(1, count + 1),
        image=np.arange(IMAGES, dtype=np.int32),
        template=template.astype(np.int32),
        medium=(np.arange(IMAGES) // 5).astype(np.int32),
        subject=subject.astype(np.int32),
        quality=rng.uniform(0.5, 1, IMAGES).astype(np.float32),
    )


def pairs(listed: TemplateList) -> TemplatePairs:
    """Each subject's gallery template with its probes and with some 4,429 others, sorted as the published file is."""
    rng = np.random.default_rng(1)
    assert listed.subject is not None
    subject = listed.subject[SUBJECTS:]
    counts = np.full(SUBJECTS, (PAIRS - GENUINE) // SUBJECTS)
    counts[: (PAIRS - GENUINE) % SUBJECTS] += 1
    left, right = [], []
    for person in range(SUBJECTS):
        others = np.flatnonzero(subject != person)
        mine = np.flatnonzero(subject[:GENUINE] == person)
        chosen = np.concatenate((mine, rng.choice(others, counts[person], replace=False)))
        left.append(np.full(len(chosen), person, dtype=np.int32))
        right.append((np.sort(chosen) + SUBJECTS).astype(np.int32))
    first, second = np.concatenate(left), np.concatenate(right)
    same = listed.subject[first] == listed.subject[second]
    assert (len(same), int(np.count_nonzero(same))) == (PAIRS, GENUINE)
    return TemplatePairs(first, second, same)


def make(folder: Path) -> None:
    """Writes the embeddings, block by block, and the pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = templates()
    assert listed.subject is not None
    whose = listed.subject[listed.template]
    centres = np.random.default_rng(2).standard_normal((SUBJECTS, SIZE), dtype=np.float32)
    values = np.lib.format.open_memmap(folder / "embeddings.npy", "w+", np.float32, (IMAGES, SIZE))
    for begin in range(0, IMAGES, _BLOCK):
        part = slice(begin, begin + _BLOCK)
        noise = np.random.default_rng((3, begin)).standard_normal(values[part].shape, dtype=np.float32)
        values[part] = centres[whose[part]] + 2 * noise
    values.flush()
    found = pairs(listed)
    np.savez(folder / "pairs.npz", left=found.left, right=found.right, same=found.same)


def step(name: str, folder: Path) -> dict[str, float]:
    """Runs one step on what `make` wrote: its seconds, the process' peak of memory and what it had before."""
    listed = templates()
    embeddings = Embeddings(np.load(folder / "embeddings.npy", mmap_mode="r"))
    with np.load(folder / "pairs.npz") as kept:
        listed_pairs = TemplatePairs(kept["left"], kept["right"], kept["same"])
    run: Callable[[], object]
    if name == "pooling":
        run = lambda: pool(embeddings, listed, norm=True, quality=True)  # noqa: E731
    elif name == "scoring":
        both = pool(embeddings, listed, norm=True, quality=True)
        run = lambda: pair_scores(both, both, listed_pairs.left, listed_pairs.right)  # noqa: E731
    elif name == "scoring, shuffled":
        both = pool(embeddings, listed, norm=True, quality=True)
        order = np.random.default_rng(4).permutation(np.arange(PAIRS, dtype=np.int32))
        left, right = listed_pairs.left[order], listed_pairs.right[order]
        del order, listed_pairs
        run = lambda: pair_scores(both, both, left, right)  # noqa: E731
    elif name == "1:1 result":
        protocol = TemplateProtocol("IJB-C", listed, listed_pairs, quality=True)
        run = lambda: protocol.score(embeddings)  # noqa: E731
    else:
        half = np.arange(SUBJECTS, dtype=np.int32)
        galleries = {"G1": half[:1772], "G2": half[1772:]}
        searches = SearchList(listed, galleries, np.arange(SUBJECTS, SUBJECTS + PROBES, dtype=np.int32))
        search = SearchProtocol("IJB-C 1:N", searches, quality=True)
        run = lambda: search.score(embeddings)  # noqa: E731
    before, began = peak(), time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - began, "peak MB": peak(), "MB before": before}


def peak() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STEPS = {
    "pooling": f"pooling {IMAGES:,} images into {SUBJECTS + PROBES:,} templates",
    "scoring": f"scoring {PAIRS:,} pairs",
    "scoring, shuffled": "the same pairs, shuffled",
    "1:1 result": "1:1, everything: diagnosis, pooling, scoring, AUC, EER, TAR, intervals",
    "1:N result": f"1:N, everything: {PROBES:,} probes in galleries of 1,772 and 1,759",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("out/templates"))
    parser.add_argument("--only", default="", help="steps whose name holds this text")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        print(json.dumps(step(options.step, options.folder)))
        return
    from lib.common import save

    if not (options.folder / "pairs.npz").is_file():
        began = time.perf_counter()
        make(options.folder)
        print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
    rows = []
    for name, what in STEPS.items():
        if options.only in name:
            command = [sys.executable, __file__, "--folder", str(options.folder), "--step", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured = {key: round(value, 1) for key, value in json.loads(done.stdout).items()}
            rows.append({"step": what, **measured, "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None})
            print(rows[-1], flush=True)
    save("templates", rows)


if __name__ == "__main__":
    main()
