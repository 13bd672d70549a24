"""Convolution workspaces against what torch's CUDA dispatch borrowed.

`workspaces_<device>.csv` were recorded by `tests/oracle/record_workspaces.py`: torch 2.15.0 with its own CUDA dispatch
and caching allocator over a stand-in for the CUDA runtime, and cuDNN 9.26.0 in its device-less mode.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.cases import make_case
from bench.simulator import cudnn_query
from bench.simulator.cudnn_query import CudnnMissingError, NoPlanError, library_version, load_library
from bench.simulator.profiles import list_profiles, load_profile
from bench.simulator.workspaces import (
    DIRECTIONS,
    SOURCES,
    ConvolutionSignature,
    UnknownSourceError,
    WorkspaceTableError,
    bound_bytes,
    format_table,
    read_table,
    runs_on_cudnn,
    workspace_source,
)
from bench.training import build_training

HERE = Path(__file__).parent
RECORDED = {name: read_table(HERE / f"workspaces_{name}.csv") for name in ("H200", "RTX3090", "T4")}
RECORDED_WITH = "9.26.0"
H200 = load_profile("H200")
CONVOLUTION = ConvolutionSignature(
    direction="forward",
    dtype="float32",
    input_shape=(1024, 16, 32, 32),
    weight_shape=(16, 16, 3, 3),
    stride=(1, 1),
    padding=(1, 1),
    dilation=(1, 1),
)
FEATURES = 1024 * 16 * 32 * 32 * 4  # bytes of input and of output


@pytest.fixture
def cudnn():
    """Version of the cuDNN that can be asked."""
    try:
        return library_version()
    except CudnnMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def cudnn_of_the_records(cudnn):
    if cudnn != RECORDED_WITH:
        pytest.skip(f"recorded with cuDNN {RECORDED_WITH}, this is {cudnn}")


@pytest.mark.parametrize("device", RECORDED)
def test_a_query_equals_what_torch_borrowed(device, cudnn_of_the_records):
    source = workspace_source("cudnn", load_profile(device))
    recorded = RECORDED[device]
    assert len(recorded) > 300
    assert {signature: source(signature) for signature in recorded} == recorded
    assert source.label == "cudnn"


@pytest.mark.parametrize("device", list_profiles())
def test_a_table_equals_the_query(device, cudnn_of_the_records):
    profile = load_profile(device)
    source = workspace_source("cudnn", profile)
    table = read_table(profile.table)
    some = list(table)[::19]
    assert len(some) > 100
    assert [table[signature] for signature in some] == [source(signature) for signature in some]


@pytest.mark.parametrize("device", ["H200", "RTX3090", "T4"])
def test_a_table_equals_what_torch_borrowed(device):
    table, recorded = read_table(load_profile(device).table), RECORDED[device]
    shared = table.keys() & recorded.keys()
    assert len(shared) >= 12
    assert {signature: table[signature] for signature in shared} == {
        signature: recorded[signature] for signature in shared
    }


class ConvolutionRecorder(TorchDispatchMode):
    """Signatures of the convolutions that run."""

    def __init__(self, **fixed):
        super().__init__()
        self.fixed = fixed
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.note(("forward",), args[0], args[1], *args[3:])
        elif func is torch.ops.aten.convolution_backward.default:
            wanted = [d for d, is_wanted in zip(DIRECTIONS[1:], args[10], strict=False) if is_wanted]
            self.note(wanted, args[1], args[2], *args[4:10])
        return func(*args, **(kwargs or {}))

    def note(self, directions, source, weight, stride, padding, dilation, transposed, output_padding, groups):
        for direction in directions:
            self.found.add(
                ConvolutionSignature(
                    direction=direction,
                    dtype=str(source.dtype).removeprefix("torch."),
                    input_shape=tuple(source.shape),
                    weight_shape=tuple(weight.shape),
                    stride=tuple(stride),
                    padding=tuple(padding),
                    dilation=tuple(dilation),
                    output_padding=tuple(output_padding),
                    groups=groups,
                    transposed=transposed,
                    **self.fixed,
                )
            )


@pytest.mark.parametrize("method", ["e2e", "infopro[contrast,head=2c2f]", "contsup[R1E]+decoder"])
@pytest.mark.parametrize("network", ["resnet32", "cifar_resnet20@96"])
def test_the_table_knows_every_convolution_of_the_papers_networks(method, network):
    case = make_case(method=method, network=network, module_count=1 if method == "e2e" else 4, batch_size=64)
    training = build_training(case, torch.device("meta"))
    with ConvolutionRecorder(tf32=True) as recorder:
        training.step()
    assert len(recorder.found) > 20
    for device in ("H200", "T4"):
        source = workspace_source("table", load_profile(device))
        sizes = [source(signature) for signature in recorder.found]
        assert source.unknown == set()
        assert source.label == "table"
        assert device == "T4" or max(sizes) > 0


def test_a_convolution_that_is_not_in_the_table_is_answered_by_the_bound_and_counted():
    source = workspace_source("table", H200)
    unusual = replace(CONVOLUTION, input_shape=(1000, 16, 32, 32))
    assert source(unusual) == 2 * FEATURES // 1024 * 1000
    assert source(CONVOLUTION) == 134_226_960
    assert source.unknown == {unusual}
    assert source.label == "table, 1 of 2 by bound"


def test_no_source_gives_nothing():
    source = workspace_source("none", H200)
    assert source(CONVOLUTION) == 0
    assert source.label == "none"


@pytest.mark.parametrize(
    ("changes", "capability", "expected"),
    [
        ({}, (9, 0), 2 * FEATURES),
        ({}, (8, 0), 2 * FEATURES),
        ({}, (7, 5), 0),
        ({"tf32": False}, (9, 0), 0),
        ({"dtype": "bfloat16"}, (9, 0), FEATURES),
        ({"dtype": "float16"}, (7, 0), FEATURES),
        ({"dtype": "float16"}, (6, 1), 0),
        ({"dtype": "float64"}, (9, 0), 0),
        ({"channels_last": True}, (9, 0), 0),
    ],
)
def test_the_bound_is_input_and_output_where_tensor_cores_want_channels_last(changes, capability, expected):
    assert bound_bytes(replace(CONVOLUTION, **changes), capability) == expected


@pytest.mark.parametrize("device", list_profiles())
def test_without_tensor_cores_cudnn_needs_little(device):
    table = read_table(load_profile(device).table)
    plain = {
        s: size / (s.input_bytes + s.output_bytes) for s, size in table.items() if s.dtype == "float32" and not s.tf32
    }
    contiguous = [share for s, share in plain.items() if not s.channels_last]
    assert len(contiguous) > 700
    assert max(contiguous) <= 0.2
    channels_last = [share for s, share in plain.items() if s.channels_last]
    assert sum(share < 0.01 or 0.8 < share < 1.1 for share in channels_last) > 0.75 * len(channels_last)


@pytest.mark.parametrize("name", SOURCES)
def test_no_source_gives_workspace_to_what_does_not_run_on_cudnn(name, tmp_path):
    if name == "cudnn":
        pytest.importorskip("nvidia.cudnn", reason="cuDNN is not installed")
    path = tmp_path / "measured.csv"
    path.write_text(format_table({CONVOLUTION: 7}))
    source = workspace_source(name, H200, measured=path if name == "measured" else None)
    depthwise = replace(CONVOLUTION, weight_shape=(16, 1, 3, 3), groups=16)
    empty = replace(CONVOLUTION, input_shape=(0, 16, 32, 32))
    assert (source(depthwise), source(empty), source.unknown) == (0, 0, set())


def test_what_runs_on_cudnn():
    depthwise = replace(CONVOLUTION, input_shape=(64, 64, 32, 32), weight_shape=(64, 1, 3, 3), groups=64)
    assert runs_on_cudnn(CONVOLUTION, (7, 5))
    assert not runs_on_cudnn(depthwise, (9, 0))
    assert runs_on_cudnn(replace(depthwise, channels_last=True), (9, 0))
    assert runs_on_cudnn(replace(depthwise, dtype="float16"), (9, 0))
    assert not runs_on_cudnn(replace(depthwise, dtype="float16", stride=(2, 2)), (9, 0))
    assert runs_on_cudnn(replace(depthwise, transposed=True), (9, 0))
    assert runs_on_cudnn(replace(CONVOLUTION, dtype="bfloat16"), (8, 0))
    assert not runs_on_cudnn(replace(CONVOLUTION, dtype="bfloat16"), (7, 5))


def test_a_query_neither_imports_torch_nor_initialises_cuda(cudnn):
    program = (
        "import sys; from bench.simulator.workspaces import *; from bench.simulator.profiles import load_profile;"
        "s = ConvolutionSignature(direction='forward', dtype='float32', input_shape=(1024, 16, 32, 32),"
        " weight_shape=(16, 16, 3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1));"
        "assert workspace_source('cudnn', load_profile('H200'))(s) > 0;"
        "assert 'torch' not in sys.modules; import torch; assert not torch.cuda.is_initialized()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=HERE.parents[2])


def test_a_device_that_cannot_run_a_convolution_is_an_error(cudnn):
    query = cudnn_query.PlanQuery(load_profile("T4").cudnn_json)
    values = {"x": (8, 16, 32, 32), "w": (16, 16, 3, 3), "y": (8, 16, 32, 32)}
    lists = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    with pytest.raises(NoPlanError, match="no engine"):
        query.workspace_bytes("forward", dtype="bfloat16", tf32=False, channels_last=False, **values, **lists)
    wrong = values | {"y": (8, 16, 30, 32)}
    with pytest.raises(NoPlanError, match="rejects"):
        query.workspace_bytes("forward", dtype="float32", tf32=False, channels_last=False, **wrong, **lists)


def test_a_device_that_cudnn_does_not_understand_is_an_error(cudnn):
    with pytest.raises(ValueError, match="does not accept"):
        workspace_source("cudnn", replace(H200, cudnn_json='{"deviceVer": 900}'))


def test_without_cudnn_the_way_out_is_named(monkeypatch):
    def find_nothing(*_):
        raise OSError("no such library")

    monkeypatch.setattr(cudnn_query.ctypes, "CDLL", find_nothing)
    load_library.cache_clear()
    try:
        with pytest.raises(CudnnMissingError, match=r"pip install 'peakbench\[cudnn\]'.*no such library"):
            load_library()
    finally:
        load_library.cache_clear()


@pytest.mark.parametrize(
    ("name", "profile", "message"),
    [
        ("cuddn", H200, "did you mean 'cudnn'"),
        ("magic", H200, "there are none, table"),
        ("measured", H200, "go together"),
        ("table", replace(H200, table=None), "no table of workspaces is shipped"),
        ("cudnn", replace(H200, cudnn_json=None), "no 'cudnn' part"),
    ],
)
def test_a_source_that_cannot_be_had_says_why(name, profile, message):
    with pytest.raises(UnknownSourceError, match=message):
        workspace_source(name, profile)


def test_a_measured_file_needs_its_source():
    with pytest.raises(UnknownSourceError, match="go together"):
        workspace_source("table", H200, measured="x.csv")


def test_a_measured_table_is_used_as_it_is(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(format_table({CONVOLUTION: 12_345}, ["recorded by hand"]))
    source = workspace_source("measured", H200, measured=path)
    gradient = replace(CONVOLUTION, direction="input_gradient")
    assert (source(CONVOLUTION), source(gradient)) == (12_345, 2 * FEATURES)
    assert source.label == "measured, 1 of 2 by bound"


@pytest.mark.parametrize("device", RECORDED)
def test_a_table_survives_being_written_and_read(device, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(format_table(RECORDED[device]))
    assert read_table(path) == RECORDED[device]


HEADER = "dtype,tf32,input_shape,weight_shape,stride,padding,forward\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column dtype"),
        ("dtype,forward\n", "no column input_shape, padding, stride, weight_shape"),
        (HEADER + "float32,1,8x3x4x4,8x3x3x3,1x1,1x1,many\n", "line 2: 'many' is no whole number"),
        (HEADER + "float32,2,8x3x4x4,8x3x3x3,1x1,1x1,0\n", "line 2: a flag is 0 or 1"),
        (HEADER + "# note\nfloat32,1,8x3x4x4,8x4x3x3,1x1,1x1,0\n", "line 3: input and weight differ in channels"),
        (HEADER + "float8,1,8x3x4x4,8x3x3x3,1x1,1x1,0\n", "line 2: no convolution in 'float8'"),
        (HEADER + "float32,1,8x3x4x4\n", "line 2: not as many cells"),
        (HEADER + "float32,1,8x3x4x4,8x3x3x3,1x1,1x1,0,0\n", "line 2: not as many cells"),
    ],
)
def test_a_damaged_table_says_where(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(WorkspaceTableError, match=message):
        read_table(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(WorkspaceTableError, match="cannot read"):
        workspace_source("measured", H200, measured=tmp_path / "none.csv")


@pytest.mark.parametrize(
    "changes",
    [{"direction": "backward"}, {"dtype": "int8"}, {"stride": (1,)}, {"groups": 2}, {"output_padding": (1,)}],
)
def test_a_signature_that_makes_no_sense_is_an_error(changes):
    with pytest.raises(ValueError, match=r"direction|convolution|channels"):
        replace(CONVOLUTION, **changes)


@pytest.mark.parametrize(
    "signature", [s for s in RECORDED["H200"] if s.direction == "forward" and s.dtype == "float32"]
)
def test_output_shapes_are_those_of_torch(signature):
    s, meta = signature, torch.device("meta")
    output = torch.ops.aten.convolution.default(
        torch.empty(s.input_shape, device=meta), torch.empty(s.weight_shape, device=meta), None,
        s.stride, s.padding, s.dilation, s.transposed, s.output_padding or [0] * len(s.stride), s.groups,
    )  # fmt: skip
    assert s.output_shape == tuple(output.shape)
