"""A suite's memory in the formats of services that draw its history."""

from results.baseline import Baseline


def to_github_benchmark(baseline: Baseline) -> list[dict[str, object]]:
    """For github-action-benchmark, tool `customSmallerIsBetter`: a name, a unit and a value per case."""
    return [
        {
            "name": f"{entry.case.label} batch {entry.case.batch_size}",
            "unit": "bytes",
            "value": entry.allocated_bytes,
            "extra": f"allocated peak of a steady training step, simulated for {baseline.device_name}",
        }
        for entry in baseline.entries
        if entry.allocated_bytes is not None
    ]


def to_bencher(baseline: Baseline) -> dict[str, dict[str, dict[str, int]]]:
    """Bencher Metric Format: measures by case."""
    return {
        f"{entry.case.label} batch {entry.case.batch_size}": {
            "peak-allocated-bytes": {"value": entry.allocated_bytes},
            **({} if entry.training_flops is None else {"training-flops": {"value": entry.training_flops}}),
        }
        for entry in baseline.entries
        if entry.allocated_bytes is not None
    }
