"""The command line as a user meets it."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from results.record import Measurement
from results.store import read_runs

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
WITHOUT_TORCH = """
import sys
from bench.__main__ import main
try:
    main()
finally:
    assert not {"torch", "pyarrow"} & set(sys.modules)
"""


@pytest.mark.parametrize("command", ["methods", "networks", "suites"])
def test_listings_print_tables_and_json_without_torch(command, peakbench):
    shown = peakbench(command)
    assert shown.returncode == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    entries = json.loads(peakbench(command, "--json").stdout)
    assert all(entry["name"].partition("@")[0] in shown.stdout for entry in entries)
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, command], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_of_every_command_has_an_example(peakbench):
    assert "peakbench run smoke" in peakbench("--help").stdout
    for command in ("simulate", "run", "report", "methods", "networks", "suites"):
        assert "Example" in peakbench(command, "--help").stdout


def test_version_is_printed(peakbench):
    assert peakbench("--version").stdout.startswith("peakbench 0.")


def test_simulate_prints_the_record_as_one_object(peakbench):
    done = peakbench("simulate", "infopro[softmax]", "--network", "resnet32", "--modules", "4", "--batch", "64",
                     "--split", "equal", "--workspace", "none", "--json")  # fmt: skip
    record = json.loads(done.stdout)
    assert record["split_sizes"] == [4, 4, 4, 4]
    assert record["parameter_count"] > record["deployed_parameter_count"] == 466_906
    assert record["peak_requested_bytes"] <= record["peak_allocated_bytes"]
    assert record["peak_allocated_bytes"] <= record["peak_reserved_bytes"]
    assert record.pop("retries") == []
    assert record["peak_allocated_bytes"] <= record["least_memory_bytes"] <= record["peak_reserved_bytes"]
    assert sum(holder["bytes"] for holder in record["peak_holders"]) == record["peak_allocated_bytes"]
    held = record.pop("peak_holders_by_unit")
    assert sum(row["bytes"] for row in held) == record["peak_allocated_bytes"]
    assert {"category", "module", "unit", "bytes"} == set(held[0])
    assert record["theoretical_overhead"] > 0
    assert record["training_flops"] > record["inference_flops"] > 0
    assert (record["status"], record["provenance"], record["workspace"]) == ("ok", "simulated", "none")
    assert json.loads(json.dumps(Measurement.from_row(record).to_row())) == record


def test_under_a_limit_it_is_said_what_the_allocator_tried(peakbench):
    case = ("simulate", "contsup[R1E]", "--network", "resnet32", "--modules", "16", "--batch", "512")
    least = json.loads(peakbench(*case, "--json").stdout)["least_memory_bytes"]
    survives = json.loads(peakbench(*case, "--limit", f"{least}B", "--json").stdout)
    assert survives["status"] == "ok"
    assert survives["retries"][0]["step"] == 1
    assert survives["retries"][0]["efforts"][-1]["action"] == "emptying the cache"
    assert survives["retries"][0]["efforts"][-1]["returned_bytes"] > 0
    fails = json.loads(peakbench(*case, "--limit", f"{least - 1}B", "--json").stdout)
    assert (fails["status"], fails["least_memory_bytes"]) == ("out_of_memory", least)
    assert ", step 3, after emptying the cache (" in fails["message"]


def test_options_of_a_case_are_options_of_simulate(peakbench):
    shown = json.loads(
        peakbench("simulate", "e2e", "--network", "cifar_resnet8", "--batch", "8", "--precision", "bfloat16",
                  "--no-tf32", "--memory-format", "channels_last", "--cudnn-benchmark", "--optimizer", "adamw",
                  "--json").stdout
    )  # fmt: skip
    names = ("precision", "tf32", "memory_format", "cudnn_benchmark", "optimizer")
    assert [shown[name] for name in names] == ["bfloat16", False, "channels_last", True, "adamw"]
    refused = peakbench("simulate", "e2e", "--precision", "float8")
    assert refused.returncode == 2
    assert "unknown precision 'float8': there are float32, bfloat16, float16" in refused.stderr


def test_simulate_shows_what_it_found_in_80_columns(peakbench):
    shown = peakbench("simulate", "contsup[R1E]", "--network", "resnet32", "--modules", "16", "--batch", "256").stdout
    assert "contsup[R1E] · resnet32 · cifar10 32x32 · K=16 · batch 256" in shown
    assert "GiB in a steady step" in shown
    assert "in local module" in shown
    assert "activations" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_simulate_says_whether_a_limit_is_enough(peakbench):
    shown = peakbench("simulate", "e2e", "--network", "resnet32", "--limit", "1GiB").stdout
    assert "out of memory at forward of unit layer1." in shown
    assert "GiB before memory ran out" in shown
    nothing = peakbench("simulate", "e2e", "--network", "cifar_resnet8", "--limit", "4B")
    assert nothing.returncode == 1
    assert "no step began" in nothing.stdout
    assert "- GiB" not in nothing.stdout
    assert "what holds the peak" not in nothing.stdout
    record = json.loads(peakbench("simulate", "e2e", "--network", "resnet32", "--limit", "1GiB", "--json").stdout)
    assert record["status"] == "out_of_memory"
    assert record["phase"].endswith("in local module 1, step 1")
    assert record["peak_allocated_bytes"] is None


def test_simulate_says_that_a_limit_is_enough(peakbench):
    done = peakbench("simulate", "e2e", "--network", "resnet32", "--batch", "64", "--limit", "1GiB")
    assert done.returncode == 0
    assert "1.00 GiB is enough" in done.stdout


@pytest.mark.parametrize(
    ("command", "spec"),
    [("simulate", "infopro[contrast]"), ("split", "dgl+checkpoint[balanced]"), ("fit", "[softmax]")],
)
def test_help_shows_the_brackets_of_specs(command, spec, peakbench):
    assert spec in peakbench(command, "--help").stdout


def test_simulate_draws_a_timeline_and_writes_its_numbers(tmp_path, peakbench):
    picture = tmp_path / "step.png"
    done = peakbench("simulate", "dgl", "--network", "resnet32", "--modules", "4", "--batch", "64", "--json",
                     "--timeline", str(picture))  # fmt: skip
    record = json.loads(done.stdout)
    assert picture.read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((tmp_path / "step.csv").read_text().splitlines()))
    totals = [sum(int(row[name]) for name in list(row)[6:]) for row in rows]
    assert max(totals) == record["peak_allocated_bytes"]
    assert max(int(row["reserved_bytes"]) for row in rows) == record["peak_reserved_bytes"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["simulate", "infpro"], "unknown method 'infpro': did you mean 'infopro'?"),
        (["simulate", "dgl", "--network", "resnet11"], "unknown network 'resnet11': did you mean 'resnet110'?"),
        (["simulate", "dgl", "--modules", "56"], "too few units for the modules (units: 55, modules: 56)"),
        (["simulate", "dgl", "--modules", "2", "--split", "1,2"], "sizes 1,2 sum to 3, but the chain has 55 units"),
        (["simulate", "e2e", "--batch", "0"], "the batch needs at least 2 images"),
        (["simulate", "e2e", "--workspace", "magic"], "unknown source of workspaces 'magic'"),
        (["simulate", "e2e", "--workspace", "measured:/nowhere.csv"], "/nowhere.csv: No such file or directory"),
        (["simulate", "e2e", "--device-profile", "H20"], "unknown device profile 'H20'"),
        (["simulate", "e2e", "--limit", "much"], "cannot read 'much' as an amount of memory: write 2.5GiB"),
        (["simulate", "e2e", "--allocator", "expandable:1"], "unknown allocator setting 'expandable:1'; there are"),
        (["simulate", "e2e", "--timeline", "step.xyz"], "the ending says the kind, such as .png"),
        (["simulate", "infopro[weights=0/0]", "--modules", "2"], "both its weights are 0"),
        (["run", "cifer"], "unknown suite 'cifer': did you mean 'cifar'?"),
        (["run", "smoke", "--data", "cifar10"], "the loader of cifar10 need --data-root"),
        (["run", "smoke", "--data", "cifar10", "--measure", "least-memory"], "found with synthetic data"),
        (["run", "smoke", "--time-limit", "inf"], "Invalid value for '--time-limit'"),
        (["run", "smoke", "--cpu-batch", "9" * 20], "take fewer or smaller images"),
        (["simulate", "e2e", "--batch", "9" * 20], "take fewer or smaller images"),
        (["run", "smoke", "--out", "x" * 300], "File name too long; choose another --out"),
        (["run", "smoke", "--data", "stl10", "--data-root", "/"], "--data stl10 does not fit the suite"),
        (["run", "smoke", "--data", "cifar10", "--data-root", "/nowhere"], "cifar-10-batches-py/data_batch_1"),
        (["run", "smoke", "--out", "/proc/nowhere"], "/proc/nowhere"),
        (["run", "smoke", "--cpu-batch", "1"], "the batch needs at least 2 images"),
        (["run", "smoke", "--device", "cuda"], "this machine has no usable GPU"),
        (["report", "memory", "--run", "/nowhere"], "/nowhere"),
        (["report", "memry", "--run", "."], "unknown report 'memry'"),
        (["report", "page", "--run", ".", "--format", "latex"], "the page is HTML with its figures inside"),
        (["check", "smoky"], "unknown suite 'smoky': did you mean 'smoke'?"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_a_mistake_gets_a_message_and_exit_code_2(arguments, message, peakbench):
    done = peakbench(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_grid_with_a_loader_asks_for_its_files_before_anything(tmp_path, peakbench):
    suite = tmp_path / "loaded.toml"
    suite.write_text(
        '[[grid]]\nnetworks = ["resnet32"]\nmethods = ["e2e"]\nmodules = [1]\nbatch_size = 8\ndata = "loader"\n'
    )
    done = peakbench("run", str(suite), "--out", str(tmp_path / "out"))
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    assert "the loader of cifar10 need --data-root" in " ".join(done.stderr.split())


def test_a_suite_runs_resumes_and_reports_from_any_directory(tmp_path, monkeypatch, peakbench):
    (tmp_path / "results").mkdir()  # names a user may well have must not get in the way
    (tmp_path / "bench.py").write_text("raise SystemExit('the wrong bench')")
    suite = tmp_path / "mine.toml"
    suite.write_text(
        '[[grid]]\nnetworks = ["cifar_resnet8"]\nmethods = ["e2e"]\nmodules = [1]\nbatch_size = 64\n'
        'cpu_batch_size = 4\n[[grid]]\nnetworks = ["cifar_resnet8"]\nmethods = ["dgl", "contsup[E]"]\nmodules = [2]\n'
        "batch_size = 64\ncpu_batch_size = 4\n[timing]\nminimum_pairs = 4\nmaximum_pairs = 4\nmaximum_seconds = 0.3\n"
    )
    command = [sys.executable, "-P", "-m", "bench"]
    environment = ENVIRONMENT | {"PEAKBENCH_LOCK_FOLDER": str(tmp_path)}

    def call(*arguments):
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
        )

    first = call("run", "mine.toml")
    assert first.returncode == 0, first.stderr
    assert "6 of 6 cases ok; records in runs/mine" in first.stderr
    again = call("run", "mine.toml")
    assert again.returncode == 0
    assert "6 of 6 cases have a row already" in again.stderr
    assert len(read_runs(tmp_path / "runs" / "mine")) == 6
    shown = call("report", "overhead", "--run", "runs/mine")
    assert shown.returncode == 0, shown.stderr
    monkeypatch.chdir(tmp_path)
    for name in ("overhead", "memory", "table10", "table12"):
        for form in ("rich", "markdown", "csv", "json"):
            shown = peakbench("report", name, "--run", "runs/mine", "--format", form)
            assert shown.returncode == 0, shown.stderr
            assert "contsup" in shown.stdout
            if form == "rich":
                assert max(map(len, shown.stdout.splitlines())) <= 80
