"""A training under torchrun: one result, one voice, and a state to go on from when a rank is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitface.training.checkpoint import Checkpoint

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


def command_on_ranks(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, env=environment)


def error_lines(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("error:")]


def test_ranks_evaluate_as_one(net: Path, crops: Path, pairs: Path, tmp_path: Path) -> None:
    asked = ["evaluate", net, "--pairs", pairs, "--root", crops, "--preprocess", "rgb-127.5-128", "--used", crops]
    alone = subprocess.run(
        [sys.executable, "-m", "bitface", *map(str, asked), "--json", str(tmp_path / "1.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    several = command_on_ranks("-m", "bitface", *asked, "--json", tmp_path / "2.json")
    assert several.returncode == 0, several.stderr
    assert several.stdout == alone.stdout
    one, two = (json.loads((tmp_path / f"{count}.json").read_text("utf-8")) for count in (1, 2))
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_what_ranks_do_not_share_is_refused(net: Path, tmp_path: Path) -> None:
    result = command_on_ranks("-m", "bitface", "export", net, "--target", "openvino", "--out", tmp_path / "x.onnx")
    assert error_lines(result.stderr) == ["error: export isn't divided among ranks; run it without torchrun"]
    assert result.returncode
    assert not (tmp_path / "x.onnx").exists()


FULL_DISK = """
import os, resource
from bitface.cli import main
from bitface.training import loop

loop.CHECKPOINT_SECONDS = 0.0
write = loop._Run.write

def fill_disk(self):
    if self.step == 2 and os.environ["RANK"] == "0":
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    write(self)

loop._Run.write = fill_disk
main()
"""


def test_a_full_disk_of_the_first_rank(net: Path, crops: Path, tmp_path: Path) -> None:
    recipe, program, out = tmp_path / "recipe.yaml", tmp_path / "program.py", tmp_path / "out"
    recipe.write_text(RECIPE.replace("EPOCHS", "5"), "utf-8")
    program.write_text(FULL_DISK, "utf-8")
    asked = ["run", recipe, net, "--images", crops, "--out", out]
    result = command_on_ranks(program, *asked)
    checkpoint = out / "checkpoint.safetensors"
    assert error_lines(result.stderr) == [f"error: {checkpoint}: can't be written (File too large)"], result.stderr
    assert [path.name for path in out.iterdir()] == [checkpoint.name]
    assert Checkpoint.read(checkpoint, {}).step == 1
    resumed = subprocess.run(
        [sys.executable, "-m", "bitface", *map(str, asked), "--resume"], capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr


OTHER_VERSION = """
import os
import bitface

if os.environ["RANK"] == "1":
    bitface.__version__ = "0.0.1"
from bitface.cli import main

main()
"""


OTHER_FACES = """
import os, sys

if os.environ["RANK"] == "1":
    sys.argv += ["--max-images", "20"]
from bitface.cli import main

main()
"""


@pytest.mark.parametrize(("other", "text"), [("version of bitface", OTHER_VERSION), ("faces", OTHER_FACES)])
def test_ranks_about_something_else(net: Path, crops: Path, tmp_path: Path, other: str, text: str) -> None:
    recipe, program = tmp_path / "recipe.yaml", tmp_path / "program.py"
    recipe.write_text(RECIPE.replace("EPOCHS", "1"), "utf-8")
    program.write_text(text, "utf-8")
    result = command_on_ranks(program, "run", recipe, net, "--images", crops, "--out", tmp_path / "out")
    assert error_lines(result.stderr) == [
        f"error: rank 1 has other {other} than rank 0; give all machines the same files and the same version of bitface"
    ], result.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
