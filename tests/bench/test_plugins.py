"""Plugins from the command line: an installed package, and a file, from nothing to a row in the report."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest

from methods import plugins

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "example_plugin"
PLUGIN = EXAMPLE / "peakbench_predsim.py"
SUITE = """
[[grid]]
networks = ["cifar_resnet8"]
methods = ["e2e"]
modules = [1]
batch_size = 64
cpu_batch_size = 8

[[grid]]
networks = ["cifar_resnet8"]
methods = ["predsim[beta=0.5]+decoder", "mine[0c2f]"]
modules = [2]
batch_size = 64
cpu_batch_size = 8

[timing]
minimum_pairs = 2
maximum_pairs = 2
maximum_seconds = 0.3
"""
MINE = """
from methods.api import HEAD, Method
METHODS = Method(name="mine", summary="s", source="s", begins={"local_loss": "contrast"}, options=(HEAD,))
"""


def run_process(*arguments, path="", cwd=ROOT):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)])), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The example package, installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("package")
    source = copytree(EXAMPLE, folder / "source", ignore=lambda *_: ["__pycache__"])  # pip builds inside
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return str(folder / "site")


def test_an_installed_package_is_listed_with_where_it_comes_from(installed, peakbench):
    entries = {entry["name"]: entry for entry in json.loads(run_process("methods", "--json", path=installed).stdout)}
    assert entries["predsim"]["plugin"] == "peakbench-predsim 1.0"
    assert entries["dgl"]["plugin"] is None
    assert [option["name"] for option in entries["predsim"]["options"]] == ["beta", "step"]
    assert "predsim" not in peakbench("methods").stdout


def test_methods_of_a_package_and_of_a_file_run_and_get_their_rows_in_the_report(installed, tmp_path, peakbench):
    """Cases run in processes of their own, which must know the methods as well."""
    (tmp_path / "mine.toml").write_text(SUITE)
    (tmp_path / "mine.py").write_text(MINE)
    out = tmp_path / "run"
    done = run_process(
        "run", tmp_path / "mine.toml", "--out", out, "--device", "cpu", "--plugin", tmp_path / "mine.py", path=installed
    )
    assert done.returncode == 0, done.stderr
    # Reports read records alone: they need no plugin.
    shown = peakbench("report", "overhead", "--run", out, "--format", "csv")
    rows = {row["method"]: row for row in csv.DictReader(shown.stdout.splitlines())}
    assert rows.keys() == {"e2e", "predsim[beta=0.5]+decoder", "mine[head=0c2f]"}
    for row in rows.values():
        assert (row["simulated_status"], row["measured_status"]) == ("ok", "ok")
        assert 0 < float(row["peak_ratio"]) <= 1


@pytest.mark.parametrize("place", ["before the command", "behind it"])
def test_the_option_stands_before_the_command_or_behind_it(place, monkeypatch, peakbench):
    monkeypatch.setattr(plugins, "_FILES", {})
    option = ["--plugin", str(PLUGIN)]
    case = ["simulate", "predsim", "--network", "cifar_resnet8", "--modules", "2", "--batch", "4", "--json"]
    asked = option + case if place == "before the command" else case + option
    record = json.loads(peakbench(*asked).stdout)
    assert (record["method"], record["status"]) == ("predsim", "ok")
    assert record["parameter_count"] > record["deployed_parameter_count"]


def test_a_wrong_plugin_is_a_message_and_no_traceback(tmp_path, peakbench):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("METHODS = undefined")
    done = peakbench("methods", "--plugin", wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: plugin {wrong} fails in line 1 (`METHODS = undefined`): NameError: name 'undefined' is not defined\n"
    )


def test_the_example_takes_less_than_sixty_lines():
    assert len(PLUGIN.read_text().splitlines()) < 60
    assert PLUGIN.read_text() in (ROOT / "docs" / "adding-a-method.md").read_text()
