"""The gate: memory regressions planted into the real engine are caught, and their category and module named."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cases import make_case
from bench.check import simulate_entry
from methods.auxiliary import Auxiliary, Reconstruction
from methods.engine import TrainingNetwork
from reports.changes import explain, to_lines
from results.baseline import Baseline, Entry, Tolerance, compare, is_failure, read_baseline, write_baseline

CASES = [
    make_case(method=method, network="cifar_resnet14", module_count=modules, batch_size=1024)
    for method, modules in (("e2e", 1), ("dgl", 3), ("contsup[R1E]", 3))
]


def simulate():
    entries = []
    for case in CASES:
        try:
            entries.append(simulate_entry(case, lambda phase: None))
        except RuntimeError as error:
            entries.append(Entry(case=case, status="failed", message=str(error)))
    return Baseline(
        suite="planted",
        torch_version=torch.__version__,
        simulator_version=1,
        device_name="H200",
        entries=tuple(entries),
    )


BASELINE = simulate()


def changes_by_method(tolerance=Tolerance()):  # noqa: B008 - frozen
    return {change.case.method: change for change in compare(BASELINE, simulate(), tolerance)}


def test_nothing_planted_is_the_same_to_the_byte():
    changes = changes_by_method()
    assert {change.verdict for change in changes.values()} == {"same"}
    assert not is_failure(changes.values())


def test_a_graph_that_is_kept_too_long_is_caught(monkeypatch):
    kept, plain = [], torch.Tensor.backward

    def backward(loss, **options):
        kept.append(loss)
        plain(loss, retain_graph=True, **options)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    change = changes_by_method()["dgl"]
    assert change.verdict == "grew"
    assert change.growth > 0.3
    categories = {category for category, _, size in change.holders if size > 0}
    assert "activations" in categories
    assert "activations in module 1" in explain(change)


def test_a_decoder_that_nobody_needs_is_caught(monkeypatch):
    plain = Auxiliary.__init__

    def build(self, chain, shape, parts, weights):
        plain(self, chain, shape, parts, weights)
        self.terms["needless"] = Reconstruction(chain, shape, parts)

    def forward(self, features, images, labels):
        return sum(term(features, images, labels) for term in self.terms.values())

    monkeypatch.setattr(Auxiliary, "__init__", build)
    monkeypatch.setattr(Auxiliary, "forward", forward)
    changes = changes_by_method()
    assert changes["e2e"].verdict == "same"
    assert changes["dgl"].verdict == "grew"
    assert any(category == "auxiliary" and size > 0 for category, _, size in changes["dgl"].holders)
    assert "MiB of the auxiliary network in module 2" in explain(changes["dgl"])


def test_a_detach_that_is_removed_is_caught(monkeypatch):
    """Losses that are summed and sent back at once, through all modules."""

    def train(self, images, labels, after_module):
        features, losses = images, []
        for k, units in enumerate(self.split.modules()):
            features, _ = self.run_units(k, units, features, labels)
            losses.append(self.loss(k, features, images, labels))
        sum(losses).backward()
        return [loss.detach() for loss in losses]

    monkeypatch.setattr(TrainingNetwork, "_train_isolated", train)
    change = changes_by_method()["dgl"]
    assert change.verdict == "grew"
    assert "activations" in explain(change)


def test_a_context_that_keeps_its_graph_is_caught(monkeypatch):
    """Without the detach the step fails: a graph is gone when the next module needs it."""
    plain = TrainingNetwork.add_context

    def add_context(self, k, features, images, contexts):
        features = plain(self, k, features, images, contexts)
        if k in contexts:
            contexts[k] = features
        return features

    monkeypatch.setattr(TrainingNetwork, "add_context", add_context)
    changes = changes_by_method()
    assert changes["contsup[R1E]"].verdict == "broken"
    assert "backward through the graph a second time" in explain(changes["contsup[R1E]"])
    assert is_failure(changes.values())


def test_a_float64_tensor_is_caught(monkeypatch):
    plain = TrainingNetwork.training_step

    def step(self, images, labels, after_module=None):
        wide = images.double()
        result = plain(self, images, labels, after_module)
        del wide
        return result

    monkeypatch.setattr(TrainingNetwork, "training_step", step)
    changes = changes_by_method()
    assert {change.verdict for change in changes.values()} == {"grew"}
    grown = 1024 * 3 * 32 * 32 * 8
    assert changes["e2e"].after.requested_bytes - changes["e2e"].before.requested_bytes == grown
    assert explain(changes["e2e"]) == "+24.0 MiB temporary tensors outside of modules"


def test_a_growth_within_the_tolerance_passes(monkeypatch):
    monkeypatch.setattr(
        TrainingNetwork, "finish_step", lambda self: setattr(self, "extra", torch.empty(1000, device="meta"))
    )
    assert changes_by_method()["e2e"].verdict == "grew"
    assert changes_by_method(Tolerance(bytes=4096))["e2e"].verdict == "same"
    assert changes_by_method(Tolerance(fraction=0.01))["e2e"].verdict == "same"


def test_across_torch_versions_ratios_to_backprop_are_compared():
    entries = [replace(entry, allocated_bytes=2 * entry.allocated_bytes) for entry in BASELINE.entries]
    other = replace(BASELINE, torch_version="2.99.0", entries=tuple(entries))
    assert {change.verdict for change in compare(BASELINE, other, Tolerance())} == {"same"}
    entries[1] = replace(entries[1], allocated_bytes=int(1.05 * entries[1].allocated_bytes))
    found = compare(BASELINE, replace(other, entries=tuple(entries)), Tolerance(fraction=0.01))
    assert [change.verdict for change in found] == ["same", "grew", "same"]
    assert found[1].growth == pytest.approx(0.05, abs=1e-6)


def test_a_check_that_compares_nothing_fails():
    other = replace(BASELINE, entries=tuple(replace(e, case=replace(e.case, batch_size=2)) for e in BASELINE.entries))
    added = replace(BASELINE, entries=other.entries)
    new = [change for change in compare(added, BASELINE, Tolerance()) if change.verdict == "new"]
    assert len(new) == len(CASES)
    assert is_failure(new)
    assert is_failure([])
    without_e2e = replace(BASELINE, torch_version="2.99.0", entries=BASELINE.entries[1:])
    changes = compare(without_e2e, replace(BASELINE, entries=BASELINE.entries[1:]), Tolerance())
    assert {change.verdict for change in changes} == {"unknown"}
    assert is_failure(changes)
    lines = to_lines(changes)
    assert lines[0] == "nothing was compared, which is a failure, not a pass"
    assert "add e2e to the suite" in lines[2]


def test_a_case_that_is_gone_fails_and_a_new_one_does_not():
    fewer = replace(BASELINE, entries=BASELINE.entries[:2])
    assert [c.verdict for c in compare(BASELINE, fewer, Tolerance())] == ["same", "same", "gone"]
    assert is_failure(compare(BASELINE, fewer, Tolerance()))
    assert [c.verdict for c in compare(fewer, BASELINE, Tolerance())] == ["same", "same", "new"]
    assert not is_failure(compare(fewer, BASELINE, Tolerance()))


def test_a_baseline_survives_its_file(tmp_path):
    path = tmp_path / "deep" / "memory.json"
    write_baseline(path, BASELINE)
    assert read_baseline(path) == BASELINE
    assert len(path.read_text().splitlines()) == len(CASES) + 10
    assert [item.name for item in path.parent.iterdir()] == ["memory.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no baseline"),
        ("{", "cannot read baseline"),
        ("[]", "is not a baseline of peakbench"),
        ('{"kind": "peakbench baseline", "version": 99}', "has version 99"),
        ('{"kind": "peakbench baseline", "version": 1, "entries": [{}]}', "is damaged"),
        ('{"kind": "peakbench baseline", "version": 1, "entries": []}', "has no case"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_with_the_reason(tmp_path, content, message):
    path = tmp_path / "memory.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_baseline(path)


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(
        'title = "tiny"\n[[grid]]\nnetworks = ["cifar_resnet8"]\nmethods = ["e2e"]\nmodules = [1]\nbatch_size = 8\n'
    )
    return str(path)


def test_the_commands_keep_check_and_refuse(tmp_path, suite, peakbench):
    baseline, summary = tmp_path / "memory.json", tmp_path / "summary.md"
    made = peakbench("baseline", "update", suite, "--baseline", baseline)
    assert made.returncode == 0, made.stdout
    passed = peakbench("check", "--baseline", baseline, "--summary", summary)
    assert passed.returncode == 0, passed.stdout
    assert "1 same" in passed.stdout
    content = json.loads(baseline.read_text())
    content["entries"][0]["allocated_bytes"] -= 2**20
    content["entries"][0]["holders"][0][2] -= 2**20
    baseline.write_text(json.dumps(content))
    category = content["entries"][0]["holders"][0][0]
    failed = peakbench("check", "--baseline", baseline, "--summary", summary)
    assert failed.returncode == 1
    assert f"+1.0 MiB {category}" in failed.stdout
    assert "peakbench baseline update" in failed.stdout
    assert "| grew | `e2e cifar_resnet8 K=1` |" in summary.read_text()
    assert peakbench("check", "--baseline", baseline, "--tolerance", "2MiB").returncode == 0
    exports = {"--github-benchmark": tmp_path / "github.json", "--bencher": tmp_path / "bencher.json"}
    answer = peakbench("check", "--baseline", baseline, "--json", *(x for pair in exports.items() for x in pair))
    name = "e2e cifar_resnet8 K=1 batch 8"
    peak = content["entries"][0]["allocated_bytes"] + 2**20
    [point] = json.loads(exports["--github-benchmark"].read_text())
    assert (point["name"], point["unit"], point["value"]) == (name, "bytes", peak)
    assert json.loads(exports["--bencher"].read_text())[name]["peak-allocated-bytes"] == {"value": peak}
    assert json.loads(answer.stdout)["failed"] is True
    rolled = peakbench("baseline", "update", suite, "--baseline", baseline)
    assert "grew" in rolled.stdout
    assert peakbench("check", "--baseline", baseline, "--anchor", baseline).returncode == 0


def test_an_empty_suite_is_a_failure(tmp_path):
    from bench.check import simulate_suite  # noqa: PLC0415

    with pytest.raises(RuntimeError, match="nothing to check"):
        simulate_suite("nothing", [], 1.0, lambda: None)


def test_a_change_is_told_in_words():
    entry = BASELINE.entries[1]
    grown = replace(entry, allocated_bytes=entry.allocated_bytes + 64 * 2**20,
                    holders=(*entry.holders, ("activations", 7, 64 * 2**20)))  # fmt: skip
    changes = compare(BASELINE, replace(BASELINE, entries=(BASELINE.entries[0], grown)), Tolerance())
    lines = to_lines(changes)
    assert lines[0].startswith("grew   dgl cifar_resnet14 K=3:")
    assert "GiB (+64.0 MiB, +" in lines[0]
    assert lines[1].strip() == "+64.0 MiB activations in module 8"


def test_the_tracked_baselines_are_of_suites_that_exist():
    from bench.suites import load_suite  # noqa: PLC0415

    files = sorted((Path(__file__).parents[2] / "results" / "baselines").glob("*.json"))
    assert files
    for file in files:
        baseline = read_baseline(file)
        assert [entry.case for entry in baseline.entries] == load_suite(baseline.suite).simulated_cases()
