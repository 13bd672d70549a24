"""The comparison with released code, on a checkout written here."""

import textwrap

import pytest
import torch
import typer
from typer.testing import CliRunner

from bench.isolate import Outcome
from bench.splits import find_split
from bench.workloads.networks import network_for
from benchmarks.released_code import (
    RELEASED,
    ReleasedCodeError,
    build_side,
    find_module,
    find_peaks,
    main,
    our_case,
    write_ratio,
)
from methods.registry import read_spec

BATCH = 64
IMAGE_BYTES = BATCH * 3 * 32 * 32 * 4
CODE = """
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self, batch_size):
            super().__init__()
            self.layer = nn.Linear(3 * 32 * 32, 10)
            self.mean = torch.Tensor([0.5]).view(1, 1, 1, 1).expand(batch_size, 3, 32, 32).cuda()

        def forward(self, img, target, ixx_1, ixy_1, ixx_2, ixy_2):
            logits = self.layer((img - self.mean).flatten(1))
            loss = nn.functional.cross_entropy(logits, target)
            loss.backward()
            return logits, loss

    def resnet32(local_module_num, batch_size, local_loss_mode):
        return Network(batch_size)
"""


@pytest.fixture
def checkout(tmp_path):
    file = tmp_path / RELEASED["infopro"].folder / "networks" / "resnet.py"
    file.parent.mkdir(parents=True)
    file.write_text(textwrap.dedent(CODE))
    return tmp_path


def test_a_wrong_folder_says_what_is_missing_and_where_it_is_from(tmp_path):
    with pytest.raises(ReleasedCodeError, match=r"there is no .*networks/resnet.py; clone https://github.com/blackf"):
        find_module(RELEASED["infopro"], tmp_path)


def test_code_that_cannot_be_imported_says_why(checkout):
    (checkout / RELEASED["infopro"].folder / "networks" / "resnet.py").write_text("import nothing_of_that_name")
    with pytest.raises(ReleasedCodeError, match=r"cannot be imported: ModuleNotFoundError: .*nothing_of_that_name"):
        find_module(RELEASED["infopro"], checkout)


def test_the_command_line_explains_a_wrong_folder(tmp_path):
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["--method", "mlaan", "--code", str(tmp_path)])
    assert result.exit_code == 2
    assert "no released code at" in result.output
    assert "Traceback" not in result.output


def test_an_expanded_constant_moved_to_the_device_has_bytes_of_its_own(checkout):
    with_constant = find_peaks("released", "infopro", 0, str(checkout), BATCH, "simulated", print)
    file = checkout / RELEASED["infopro"].folder / "networks" / "resnet.py"
    file.write_text(file.read_text().replace(".expand(batch_size, 3, 32, 32)", ""))
    without = find_peaks("released", "infopro", 0, str(checkout), BATCH, "simulated", print)
    assert with_constant["requested"] - without["requested"] == IMAGE_BYTES - 4


def test_released_steps_train_on_a_cpu(checkout):
    step, network, *_ = build_side("released", "infopro", 0, str(checkout), 4, torch.device("cpu"))
    before = network.layer.weight.clone()
    step()
    assert not torch.equal(before, network.layer.weight)


@pytest.mark.parametrize("method", RELEASED)
def test_every_compared_case_is_one_of_ours(method):
    for compared in RELEASED[method].cases:
        case = our_case(compared, BATCH)
        network = network_for(read_spec(case.method).parts, case.network, case.module_count, case.height_and_width)
        assert find_split(case.split_policy, network, case.module_count).module_count == compared.module_count


def test_a_ratio_is_shown_with_its_interval():
    assert write_ratio(Outcome(status="ok", result=(1.0, 0.95, 1.1), seconds=1.0)) == "1.00 (0.95-1.10)"
    assert write_ratio(Outcome(status="timeout", seconds=1.0)) == "timeout"
