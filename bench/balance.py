"""The best boundaries for a case: by its cost profile where it has one, else by simulating splits."""

from dataclasses import replace
from functools import cache

from bench.balanced import Balanced
from bench.balancer import Balancer
from bench.cost_profile import ProfileError
from bench.segments import Placer, search_segments
from bench.simulated_search import place_segments_by_simulation, search_by_simulation
from bench.simulator.model import Model, read_model
from bench.splits import find_split, is_placed
from bench.workloads.networks import network_for
from methods.registry import read_spec
from partition.module_segments import SegmentError
from partition.runs import BALANCED
from results.record import Case

NO_PROFILE = (ProfileError, SegmentError)


def balance(case: Case, model: Model | None = None) -> Balanced:
    """The best split of a case into its number of modules.

    Raises:
        SplitError: there is no split into so many modules.
    """
    balancer = find_balancer(case, model)
    if balancer is None:
        return search_by_simulation(case, model)
    return balancer.verify(balancer.least_peak(case.module_count))


def find_balancer(case: Case, model: Model | None = None) -> Balancer | None:
    """What solves for a case; None where its method has no cost profile, or its segments follow no recurrence."""
    try:
        balancer = Balancer(case, model)
        balancer.least_peak(1)
    except NO_PROFILE:
        return None
    return balancer


def place_boundaries(case: Case, model: Model | None = None) -> Case:
    """A case whose split is `balanced` with the sizes that this means; any other as it is.

    Args:
        case: any case.
        model: the device whose memory counts; None for `read_model()`.
    """
    if is_placed(case):
        return case
    return _place(case, model) if model else _place_by_default(case)


@cache
def _place_by_default(case: Case) -> Case:
    return _place(case, read_model())


def _place(case: Case, model: Model) -> Case:
    parts = read_spec(case.method).parts
    if parts.segments != BALANCED:
        return replace(case, split_policy="equal") if case.module_count == 1 else balance(case, model).case
    if parts.local_loss is None:
        return _place_segments(replace(case, split_policy="equal"), model)
    if case.split_policy == BALANCED:
        return balance(case, model).case
    network = network_for(parts, case.network, case.module_count, case.height_and_width)
    split = find_split(case.split_policy, network, case.module_count)
    try:
        return Balancer(case, model).place(split)
    except NO_PROFILE:
        return place_segments_by_simulation(replace(case, split_policy=str(split)), model)


def _place_segments(case: Case, model: Model) -> Case:
    """Segments of a network that is one module."""
    try:
        placer = Placer(case, model)
    except ProfileError:
        return search_segments(case, model).case
    return placer.verify(placer.least_peak()).case
