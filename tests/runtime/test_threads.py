"""One embedder in many threads and processes: everybody gets the embedding of the image that they gave."""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from bitface.artifact import Artifact, write
from bitface.graph import from_module
from bitface.quant import BitPlan, quantize
from bitface.runtime import Embedder, Model, load
from bitface.targets import DEFAULTS, runs_here
from bitface.targets.registry import NATIVE

from .test_embedder import SIDE, Small, faces

ENGINES = [name for name in (NATIVE, *DEFAULTS) if runs_here(name)]
THREADS, CALLS = 8, 40
SECONDS = 60  # after which a process that waits for ever is ended


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = from_module(Small(), "rgb-127.5-127.5", "small", (SIDE, SIDE))
    plan = BitPlan.from_json({"bits": "w7a8", "first": "w7a8", "last": "w7a8"})
    student, _ = quantize(net, faces(8), plan)
    path = tmp_path_factory.mktemp("threads") / "model.bitface"
    write(path, Artifact(student, plan.to_json(), {"name": "small"}))
    return path


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("streams", [None, 1])
@pytest.mark.parametrize("engine", ENGINES)
def test_threads_share_an_embedder(artifact: Path, engine: str, streams: int | None, count: int) -> None:
    """Images one by one, and several in a call."""
    embedder = load(artifact, engine, threads=2, streams=streams)
    images = faces(64, seed=5)
    expected = [embedder.embed(images[start : start + count]).tobytes() for start in range(64)]

    def wrong(thread: int) -> int:
        starts = np.random.default_rng(thread).integers(0, 64, CALLS)
        return sum(embedder.embed(images[start : start + count]).tobytes() != expected[start] for start in starts)

    with ThreadPoolExecutor(THREADS) as pool:
        assert sum(pool.map(wrong, range(THREADS))) == 0


def test_threads_load_at_once(artifact: Path) -> None:
    images = faces(4, seed=6)
    with ThreadPoolExecutor(THREADS) as pool:
        found = set(pool.map(lambda _: load(artifact).embed(images).tobytes(), range(THREADS)))
    assert len(found) == 1


def test_torch_has_its_threads_back(artifact: Path) -> None:
    """Torch's number of threads is the whole process's."""
    before = torch.get_num_threads()
    embedder = load(artifact, "torch", threads=before + 1)
    assert torch.get_num_threads() == before
    embedder.embed(faces(2))
    assert torch.get_num_threads() == before


FORKING = """
import os, signal, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import bitface
path, engine, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3])
images = np.random.default_rng(7).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
embedder = bitface.load(path, engine, threads=3)
expected = embedder.embed(images).tobytes()
children = []
for number in range(4):
    if (child := os.fork()) == 0:
        signal.alarm(seconds)
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda _: embedder.embed(images).tobytes(), range(6)))
        found += [embedder.embed(images).tobytes()]
        os._exit(sum(one != expected for one in found))
    children.append(child)
assert embedder.embed(images).tobytes() == expected
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_forked_process_goes_on(artifact: Path, engine: str) -> None:
    """In a program of its own, as a fork of the tests' process would copy whatever they have running."""
    arguments = [sys.executable, "-c", FORKING, str(artifact), engine, str(SECONDS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "[0, 0, 0, 0]", f"{done.stdout} {done.stderr} (-{int(signal.SIGALRM)}: it hung)"


def embed(embedder: Embedder, images: np.ndarray) -> bytes:
    return embedder.embed(images).tobytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_spawned_process_starts_again(artifact: Path, engine: str) -> None:
    embedder, images = load(artifact, engine, threads=2), faces(5, seed=8)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(embed, (embedder, images)) == embedder.embed(images).tobytes()


def test_a_float_network_in_memory_is_sent_too() -> None:
    torch.manual_seed(0)
    net = from_module(Small(), "rgb-127.5-127.5", "small", (SIDE, SIDE))
    embedder, images = Embedder(Model(Path("small.onnx"), "float", net)), faces(3, seed=9)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(embed, (embedder, images)) == embedder.embed(images).tobytes()
