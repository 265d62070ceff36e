"""Damaged ONNX files, and what reading any file does, seen from outside: `mutations.py` and `fuzz.py` ask both."""

import json
import os
import resource
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bitface.errors import BitfaceError
from bitface.graph import load_network

SECONDS, BYTES = 20, 1 << 30
_NUMBERS = (0, 1, -1, 2, 3, 4, 7, 112, 7919, 15838, 1 << 16, 1 << 20, 1 << 31, (1 << 31) - 1, 1 << 40, (1 << 63) - 1,
            -(1 << 63), -2, -100)  # fmt: skip
_FLOATS = (0.0, -1.0, 1e-30, 1e30, 3e38, float("nan"), float("inf"), float("-inf"), 1e-45)
_WORDS = ("", "x", "image", "input", "a\nb", "\x1b[2J", "..", "/", "class", "forward", "__class__", "self", "_modules",
          "training", "é" * 40, "x" * 5000, "0", "a.b.c", "weight", "meta", "\0")  # fmt: skip
_NAMES = ("axis", "axes", "perm", "pads", "strides", "dilations", "group", "kernel_shape", "keepdims", "transA",
          "alpha", "transB", "to", "mode", "equation", "value", "scales", "sizes", "epsilon", "allowzero", "split",
          "num_outputs", "block_size", "blocksize", "shape", "batch_dims", "training_mode", "auto_pad")  # fmt: skip
_KINDS = sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})
_PLACES = ("../a", "/dev/zero", "a", ".", "", "/etc/passwd")
_ALLOCATION = ("alloc", "MemoryError", "bad_alloc")

Random = np.random.Generator


@dataclass(frozen=True)
class Outcome:
    """What reading a file did: `read` or `refused`, or what must not be: `crash`, `hang`, `memory`."""

    kind: str
    text: str
    seconds: float
    bytes: int


def pick(random: Random, values: Any) -> Any:
    return values[int(random.integers(len(values)))] if len(values) else None


def mutated(content: bytes, random: Random) -> bytes:
    """A file with some damage: of its bytes, or of what these say."""
    if random.random() < 0.15:
        return damaged(content, random)
    model = onnx.load_from_string(content)
    for _ in range(int(random.integers(1, 4))):
        pick(random, _DAMAGES)(model, random)
    try:
        return bytes(model.SerializeToString())
    except Exception:  # some damage can't be written
        return damaged(content, random)


def damaged(content: bytes, random: Random) -> bytes:
    """A file some of whose bytes are others, gone, or there twice."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 6))):
        if len(data) < 32:
            break
        # The ends of a file say more than its middle, which is weights.
        where = int(random.integers(len(data)))
        if random.random() < 0.7:
            where = int(random.integers(min(3000, len(data))))
            where = len(data) - 1 - where if random.random() < 0.5 else where
        match int(random.integers(5)):
            case 0:
                data[where] = int(random.integers(256))
            case 1:
                data[where] ^= 1 << int(random.integers(8))
            case 2:
                del data[where : where + int(random.integers(1, 40))]
            case 3:
                data[where:where] = data[where : where + int(random.integers(1, 40))]
            case _:
                data[where : where + 9] = b"\xff" * int(random.integers(1, 10))
    if random.random() < 0.1:
        del data[int(random.integers(len(data))) :]
    return bytes(data)


def _some_node(model: onnx.ModelProto, random: Random) -> onnx.NodeProto:
    node: onnx.NodeProto = pick(random, model.graph.node) or model.graph.node.add()
    return node


def _some_name(model: onnx.ModelProto, random: Random) -> str:
    node = _some_node(model, random)
    names = [*node.input, *node.output, *_WORDS[:4]]
    tensor = pick(random, model.graph.initializer)
    return str(pick(random, names + ([tensor.name] if tensor else [])))


def _kind(model: onnx.ModelProto, random: Random) -> None:
    _some_node(model, random).op_type = str(pick(random, _KINDS))


def _wires(model: onnx.ModelProto, random: Random) -> None:
    node = _some_node(model, random)
    side = node.input if random.random() < 0.7 else node.output
    match int(random.integers(4)):
        case 0 if side:
            side[int(random.integers(len(side)))] = _some_name(model, random)
        case 1:
            side.append(_some_name(model, random))
        case 2 if side:
            del side[int(random.integers(len(side)))]
        case _:
            side.extend([_some_name(model, random)] * int(pick(random, (1, 2, 70, 1000))))


def _order(model: onnx.ModelProto, random: Random) -> None:
    nodes = list(model.graph.node)
    match int(random.integers(4)):
        case 0:
            random.shuffle(nodes)
        case 1:
            nodes = nodes[::-1]
        case 2 if nodes:
            del nodes[int(random.integers(len(nodes)))]
        case _:
            nodes += [pick(random, nodes)] * int(pick(random, (1, 5, 3000)))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes if node is not None]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _attribute(model: onnx.ModelProto, random: Random) -> None:
    node = _some_node(model, random)
    if node.attribute and random.random() < 0.3:
        del node.attribute[int(random.integers(len(node.attribute)))]
        return
    name = pick(random, node.attribute).name if node.attribute and random.random() < 0.7 else str(pick(random, _NAMES))
    number = int(pick(random, _NUMBERS))
    value = pick(random, (
        number, [number] * int(random.integers(1, 9)), float(pick(random, _FLOATS)), [float(pick(random, _FLOATS))] * 4,
        str(pick(random, _WORDS)), [str(pick(random, _WORDS))] * 2, [int(pick(random, _NUMBERS)) for _ in range(4)],
        numpy_helper.from_array(np.array([number])), [1] * 70,
    ))  # fmt: skip
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name == name:
            del node.attribute[index]
    node.attribute.append(helper.make_attribute(name, value))
    if random.random() < 0.1:
        node.attribute[-1].type = int(random.integers(15))


def _tensor(model: onnx.ModelProto, random: Random) -> None:
    tensor = pick(random, model.graph.initializer)
    if tensor is None:
        return
    match int(random.integers(7)):
        case 0:
            tensor.dims[:] = [int(pick(random, _NUMBERS)) for _ in range(int(random.integers(6)))]
        case 1:
            dims = list(tensor.dims)
            random.shuffle(dims)
            tensor.dims[:] = dims
        case 2:
            tensor.data_type = int(random.integers(27))
        case 3:
            tensor.raw_data = tensor.raw_data[: int(random.integers(1 + len(tensor.raw_data)))]
        case 4:
            tensor.name = _some_name(model, random)
        case 5:
            tensor.data_location = 1
            tensor.external_data.add(key="location", value=pick(random, _PLACES))
            tensor.external_data.add(key="length", value=str(pick(random, (*_NUMBERS, "x"))))
        case _:
            _numbers(tensor, random)


def _numbers(tensor: TensorProto, random: Random) -> None:
    """Other numbers in a tensor, most often in one of those that say shapes."""
    try:
        array = numpy_helper.to_array(tensor).copy()
        if array.size:
            with np.errstate(all="ignore"):
                array.reshape(-1)[int(random.integers(array.size))] = pick(
                    random, _FLOATS if array.dtype.kind == "f" else _NUMBERS
                )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(array, name))
    except Exception:  # it was damaged before
        tensor.data_type = TensorProto.INT64


def _shape_numbers(model: onnx.ModelProto, random: Random) -> None:
    small = [tensor for tensor in model.graph.initializer if 0 < len(tensor.dims) < 2 and tensor.data_type == 7]
    constants = [
        a.t for node in model.graph.node if node.op_type == "Constant" for a in node.attribute if a.HasField("t")
    ]
    tensor = pick(random, small + constants)
    if tensor is not None:
        _numbers(tensor, random)


def _ports(model: onnx.ModelProto, random: Random) -> None:
    graph = model.graph
    values = list(graph.input) + list(graph.output)
    value = pick(random, values)
    if value is None:
        return
    sides = value.type.tensor_type.shape.dim
    match int(random.integers(6)):
        case 0 if sides:
            sides[int(random.integers(len(sides)))].dim_value = int(pick(random, _NUMBERS))
        case 1 if sides:
            sides[int(random.integers(len(sides)))].dim_param = str(pick(random, _WORDS))
        case 2 if sides:
            del sides[int(random.integers(len(sides)))]
        case 3:
            value.type.tensor_type.elem_type = int(random.integers(27))
        case 4:
            value.name = _some_name(model, random)
        case _:
            (graph.output if random.random() < 0.6 else graph.input).append(
                helper.make_tensor_value_info(_some_name(model, random), 1, [1, 3, 112, 112])
            )


def _header(model: onnx.ModelProto, random: Random) -> None:
    match int(random.integers(5)):
        case 0:
            model.opset_import[0].version = int(pick(random, (*range(1, 30), -1, 1 << 40)))
        case 1:
            model.ir_version = int(pick(random, (0, 1, 3, 8, 99)))
        case 2:
            _some_node(model, random).domain = str(pick(random, ("ai.onnx", "com.microsoft", "x")))
        case 3:
            model.metadata_props.add(key="bitface.preprocess", value=str(pick(random, (*_WORDS, "bgr-nan-1"))))
        case _:
            model.opset_import.add(domain="", version=int(random.integers(1, 30)))


def _insert(model: onnx.ModelProto, random: Random) -> None:
    """A node of another kind between two nodes."""
    node = _some_node(model, random)
    if not node.input:
        return
    place = int(random.integers(len(node.input)))
    inputs = [node.input[place]] + [_some_name(model, random) for _ in range(int(random.integers(3)))]
    name = f"inserted_{int(random.integers(1 << 30))}"
    index = [one is node for one in model.graph.node].index(True) if any(one is node for one in model.graph.node) else 0
    node.input[place] = name
    model.graph.node.insert(index, helper.make_node(str(pick(random, _KINDS)), inputs, [name]))


def _rename(model: onnx.ModelProto, random: Random) -> None:
    node = _some_node(model, random)
    node.name = str(pick(random, _WORDS))
    if node.output and random.random() < 0.5:
        old, new = node.output[0], str(pick(random, _WORDS))
        for one in model.graph.node:
            one.input[:] = [new if name == old else name for name in one.input]
        node.output[0] = new


_DAMAGES: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    _kind, _wires, _wires, _order, _attribute, _attribute, _tensor, _tensor, _shape_numbers, _shape_numbers, _ports,
    _header, _insert, _insert, _rename,
)  # fmt: skip


class Reader:
    """Reads files in a process of its own, a copy of this one, so that nothing is loaded again.

    It reads some files one after the other, each with its own time and peak of memory; another begins after them, and
    after a file that it doesn't survive, or that it took too much memory for.
    """

    def __init__(self, read: Callable[[Path], object] = load_network, files: int = 100) -> None:
        self._read, self._files, self._left = read, files, 0
        self._child, self._asks, self._answers = 0, -1, -1

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, path: Path) -> Outcome:
        if not self._left:
            self._end()
            self._begin()
        self._left -= 1
        start, answer, part = time.monotonic(), b"", b""
        os.write(self._asks, f"{path}\n".encode())
        while not answer.endswith(b"\n"):
            ready = select.select([self._answers], [], [], SECONDS + 10)[0]
            part = os.read(self._answers, 65536) if ready else b""
            if not part:
                break
            answer += part
        seconds = time.monotonic() - start
        if not answer.endswith(b"\n"):
            status, memory = self._end(signal.SIGKILL if not ready else None)
            by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            kind = "hang" if by == signal.SIGALRM or not ready else "crash"
            return Outcome(kind, f"signal {by}" if by else f"exit code {os.WEXITSTATUS(status)}", seconds, memory)
        text, memory = json.loads(answer)
        kind, _, rest = text.partition(":")
        if memory > BYTES or any(word in rest for word in _ALLOCATION):
            kind = "memory"
        if kind in ("crash", "memory"):
            self._end()
        return Outcome(kind, rest, seconds, memory)

    def _begin(self) -> None:
        (asked, self._asks), (self._answers, answered) = os.pipe(), os.pipe()
        self._child, self._left = os.fork(), self._files
        if not self._child:
            try:
                os.close(self._asks)
                os.close(self._answers)
                _serve(self._read, asked, answered)
            finally:
                os._exit(0)
        os.close(asked)
        os.close(answered)

    def _end(self, by: signal.Signals | None = None) -> tuple[int, int]:
        """Waits for the end of the process; its status, and the most memory it took."""
        if not self._child:
            return 0, 0
        if by is not None:
            os.kill(self._child, by)
        os.close(self._asks)
        os.close(self._answers)
        _, status, usage = os.wait4(self._child, 0)
        self._child = self._left = 0
        return status, usage.ru_maxrss * 1024


def _serve(read: Callable[[Path], object], asked: int, answered: int) -> None:
    """Reads each file whose name comes, and answers what that did."""
    with open("/proc/self/statm", encoding="ascii") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    # What the copied process has reserved counts, too; beyond it there is room for a little more than may be used.
    resource.setrlimit(resource.RLIMIT_AS, (own + BYTES, own + BYTES))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with os.fdopen(asked, encoding="utf-8") as lines:
        for line in lines:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # the peak counts from here
            signal.alarm(SECONDS)
            text = _reading(Path(line.rstrip("\n")), read)
            signal.alarm(0)
            status = Path("/proc/self/status").read_text(encoding="ascii")
            peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
            os.write(answered, json.dumps([text[:60_000], peak]).encode() + b"\n")


def _reading(path: Path, read: Callable[[Path], object]) -> str:
    """`read:`, `refused: why`, or `crash: ` and a traceback."""
    try:
        read(path)
    except BitfaceError as error:
        return f"refused:{error}" if "\n" not in str(error) else f"crash:several lines: {error}"
    except BaseException:
        return f"crash:{traceback.format_exc()}"
    return "read:"
