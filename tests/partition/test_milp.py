"""The solver against HiGHS, which knows nothing of paths, labels or bounds: the same question as a linear programme."""

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from partition.local_modules import local_modules
from partition.solve import Solver
from tests.partition.profiles import MIB, random_profile, residual_profile


def solve_with_highs(pieces, count, unit=1):
    """Least peak over all paths of so many pieces, in `unit` bytes: a switch per arc and the peak as variables."""
    arcs, last = len(pieces.source), len(pieces.positions) - 1
    source, target = pieces.source.astype(int), pieces.target.astype(int)
    bytes_ = {
        name: getattr(pieces, name).astype(float) / unit for name in ("opening", "before", "peak", "after", "end")
    }
    flow = np.zeros((last + 1, arcs + 1))
    for arc in range(arcs):
        flow[source[arc], arc] += 1
        flow[target[arc], arc] -= 1
    balance = np.zeros(last + 1)
    balance[0], balance[last] = 1, -1
    constraints = [
        LinearConstraint(flow, balance, balance),
        LinearConstraint(np.append(np.ones(arcs), 0), count, count),
        LinearConstraint(np.append(-bytes_["end"], 1), 0, np.inf),
    ]
    huge = 4 * sum(float(np.abs(column).max()) for column in bytes_.values()) * (last + 1)
    for arc in range(arcs):
        earlier = np.where(target <= source[arc], bytes_["before"], 0)
        later = np.where(source >= target[arc], bytes_["after"], 0)
        for own, others in ((bytes_["peak"][arc], earlier + later), (bytes_["opening"][arc], earlier)):
            row = np.append(-others, 1)
            row[arc] -= huge
            constraints.append(LinearConstraint(row, own - huge, np.inf))
    result = milp(
        np.append(np.zeros(arcs), 1),
        integrality=np.append(np.ones(arcs), 0),
        bounds=Bounds(np.append(np.zeros(arcs), -np.inf), np.append(np.ones(arcs), np.inf)),
        constraints=constraints,
        options={"mip_rel_gap": 0},
    )
    assert result.status == 0, result.message
    return result.fun + pieces.base_bytes / unit


@pytest.mark.parametrize("seed", range(8))
def test_highs_finds_the_same_peak_for_random_chains(seed):
    pieces = local_modules(random_profile(seed, 5, 50))
    for solution in Solver(pieces).least_peaks():
        assert round(solve_with_highs(pieces, solution.split.module_count)) == solution.predicted_peak_bytes


def test_highs_finds_the_same_peak_for_a_residual_chain():
    pieces = local_modules(residual_profile(9, noise=30))
    for count in (2, 3, 5):
        exact = Solver(pieces).least_peak(count).predicted_peak_bytes
        assert solve_with_highs(pieces, count, unit=MIB) == pytest.approx(exact / MIB, rel=1e-6)  # in floating point
