"""The properties of ONNX files, beside what onnx reads."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from bitface.runtime.onnx_properties import read_properties


def model() -> onnx.ModelProto:
    values = numpy_helper.from_array(np.arange(300, dtype=np.float32), "values")
    node = helper.make_node("Identity", ["values"], ["out"])
    out = helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, [300])
    return helper.make_model(helper.make_graph([node], "graph", [], [out], [values]))


@given(entries=st.dictionaries(st.text(max_size=300), st.text(max_size=300), max_size=4))
def test_as_onnx_reads_them(entries: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    made, path = model(), tmp_path_factory.getbasetemp() / "properties.onnx"
    helper.set_model_props(made, entries)
    path.write_bytes(made.SerializeToString())
    read, graph = read_properties(path)
    assert read == {entry.key: entry.value for entry in onnx.load(path).metadata_props} == entries
    assert graph == hashlib.sha256(onnx.load(path).graph.SerializeToString()).hexdigest()


@pytest.mark.parametrize(
    "content", [b"no network", b"\xff" * 20, b"\x3a\x80", b"\x3a\x05abc", b"\x0b", b"\x72\x03\x0a\x01\xff"]
)
def test_what_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        read_properties(tmp_path / "x.onnx")


def test_cut_files_end_in_one_kind_of_error(tmp_path: Path) -> None:
    whole = model().SerializeToString()
    for size in range(0, len(whole), 97):
        (tmp_path / "x.onnx").write_bytes(whole[:size])
        try:
            read_properties(tmp_path / "x.onnx")
        except ValueError:
            continue
