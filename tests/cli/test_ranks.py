"""A training under torchrun: one result, one voice, and a state to go on from when a rank is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

RECIPE = """
bits: w4a4
preprocess: rgb-127.5-127.5
calibration: {observer: minmax}
training: {loss: {feature: {form: cosine}}, epochs: EPOCHS, batch: 8, precision: f32, views: flip}
"""


def launched(folder: Path, net: Path, crops: Path, epochs: int, *options: str) -> "subprocess.Popen[str]":
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("EPOCHS", str(epochs)), "utf-8")
    arguments = ["-m", "bitface", "run", recipe, net, "--images", crops, "--out", folder / "out", *options]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_two_ranks_make_one_result(net: Path, crops: Path, tmp_path: Path) -> None:
    output, errors = launched(tmp_path, net, crops, 2, "--track", "jsonl").communicate()
    assert (tmp_path / "out" / "result.json").exists(), errors
    result = json.loads((tmp_path / "out" / "result.json").read_text("utf-8"))
    assert (result["training"]["ranks"], result["training"]["devices"]) == (2, ["cpu", "cpu"]), errors
    assert output.count("agreement with the teacher") == 1
    steps = [json.loads(line)["step"] for line in (tmp_path / "out" / "log.jsonl").read_text("utf-8").splitlines()]
    assert steps == list(range(1, result["training"]["steps"] + 1))


def test_a_killed_rank_ends_all_with_one_line(net: Path, crops: Path, tmp_path: Path) -> None:
    process = launched(tmp_path, net, crops, 5000)
    checkpoint = tmp_path / "out" / "checkpoint.safetensors"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.1)
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False
    )
    ranks = listed.stdout.split()
    os.kill(max(map(int, ranks)), signal.SIGKILL)
    _, errors = process.communicate()
    lines = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: another rank has ended")
    assert lines[0].endswith(f"go on with --resume ({checkpoint})")
    assert process.returncode
    assert not list((tmp_path / "out").glob(".*"))
    # One process goes on with what two began: so far that it writes again.
    command = [sys.executable, "-m", "bitface", "run", tmp_path / "recipe.yaml", net, "--images", crops]
    program = "import sys; from bitface.training import loop; from bitface.cli import main\n" + (
        "before = loop._Run.advance\n"
        "def advance(self, stop=False):\n"
        "    before(self, stop); self.steps = self.step\n"
        "loop._Run.advance = advance\n"
        "main()"
    )
    resumed = subprocess.run(
        [sys.executable, "-c", program, *map(str, command[3:]), "--out", str(tmp_path / "out"), "--resume"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "out" / "result.json").exists()
