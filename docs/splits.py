"""The tables and the figure of `docs/splits.md`."""

from functools import cache

from bench.balancer import Balancer
from bench.cases import make_case
from bench.segments import Placer
from docs.tables import write_table
from partition.runs import write_runs
from reports.units import format_change, format_gib, format_percent

SHOWN = 18
"""Characters of sizes in a table."""
LEFT, BOTTOM, WIDTH, TALL = 52, 184, 10, 140
"""Place and size of the figure's bars, in its units."""
BARS, LINES = "#7a9cc0", "#1a1a1a"
"""Apart in lightness, so that print and any eyes tell them apart."""


@cache
def infopro_balancer() -> Balancer:
    """The solver for InfoPro on ResNet-110."""
    return Balancer(make_case(method="infopro[softmax]", network="resnet110"))


def splits() -> str:
    """Best splits of ResNet-110 beside equal and heuristic ones."""
    balancer, rows = infopro_balancer(), []
    for count in (2, 3, 4, 8, 16, 38, 55):
        best = balancer.least_peak(count)
        found = balancer.verify(best)
        others = {name: balancer.evaluate(s).predicted_peak_bytes for name, s in balancer.heuristics(count).items()}
        rows.append(
            [
                str(count),
                shorten(str(found.split), ","),
                format_gib(found.peak_bytes),
                found.proof or format_change(found.peak_bytes / best.lower_bound_bytes - 1),
                format_change(others["equal units"] / found.peak_bytes - 1),
                format_change(min(others.values()) / found.peak_bytes - 1),
                f"+{format_percent(found.readings.theoretical_overhead)}",
            ]
        )
    return write_table(["K", "sizes", "peak GiB", "proof", "equal split", "best heuristic", "extra FLOPs"], rows)


def segments() -> str:
    """Placed segments of ResNet-110 beside the rules."""
    placer = Placer(make_case(method="checkpoint", network="resnet110"))
    best = placer.least_peak()
    asked = [(str(count), placer.least_peak(count)) for count in (2, 3, 5, 7, 10)]
    asked.append(("any number", best))
    asked += [(f"within {gib} GiB", placer.within_budget(gib * 2**30)) for gib in (2, 4)]
    rows = [
        [name, shorten(write_runs(runs), "."), format_gib(peak), "", ""]
        for name, (runs, peak) in placer.rules().items()
    ]
    for name, solution in asked:
        placed = placer.verify(solution)
        rows.append(
            [
                name,
                shorten(write_runs(placed.runs), "."),
                format_gib(placed.peak_bytes),
                "yes" if placed.optimal else "",
                f"+{format_percent(placed.readings.theoretical_overhead)}",
            ]
        )
    return write_table(["segments", "sizes", "peak GiB", "proven least", "extra FLOPs"], rows)


def shorten(sizes: str, separator: str) -> str:
    """Sizes as code, cut to a narrow column."""
    if len(sizes) > SHOWN:
        sizes = sizes[: SHOWN - 2].rsplit(separator, 1)[0] + separator + ".."
    return f"`{sizes}`"


def unit_costs() -> str:
    """A bar per unit of ResNet-110, and the boundaries of its best split into four."""
    balancer = infopro_balancer()
    kept = [max(net for net, _ in unit.forward.values()) / 2**20 for unit in balancer.profile(4).units]
    names = [name.removeprefix("layer") for name in balancer.profiler.chain.unit_names]
    scale, right = TALL / max(kept), LEFT + len(kept) * WIDTH
    lines = ['<rect width="100%" height="100%" fill="white"/>']
    lines.append(f'<text x="{LEFT}" y="14">MiB that each unit keeps for the backward</text>')
    for label in (0, round(max(kept) / 2), round(max(kept))):
        y = BOTTOM - label * scale
        lines.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
        lines.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#cccccc"/>')
    for unit, size in enumerate(kept):
        x, y = LEFT + unit * WIDTH, BOTTOM - size * scale
        lines.append(f'<rect x="{x}" y="{y:.1f}" width="{WIDTH - 2}" height="{size * scale:.1f}" fill="{BARS}"/>')
    for unit, name in enumerate(names):
        if name == "stem" or name.endswith(".0"):
            words = name if name == "stem" else f"stage {name[0]}"
            x = LEFT + unit * WIDTH - (8 if name == "stem" else 0)
            anchor = "end" if name == "stem" else "start"
            lines.append(f'<text x="{x if anchor == "start" else x + 14}" y="{BOTTOM + 14}" text-anchor="{anchor}">'
                         f"{words}</text>")  # fmt: skip
    split = balancer.least_peak(4).split
    for k, units in enumerate(split.modules()):
        start, stop = LEFT + units.start * WIDTH - 1, LEFT + units.stop * WIDTH - 1
        lines.append(f'<text x="{(start + stop) / 2}" y="{BOTTOM + 34}" text-anchor="middle" fill="{LINES}">'
                     f"module {k + 1}: {len(units)}</text>")  # fmt: skip
        if units.stop < len(kept):
            lines.append(f'<path d="M{stop} 26V{BOTTOM + 38}" stroke="{LINES}" stroke-width="1.6" '
                         'stroke-dasharray="5 3"/>')  # fmt: skip
            lines.append(f'<text x="{stop + 3}" y="34" fill="{LINES}">{names[units[-1]]}</text>')
    lines.append(f'<text x="{LEFT}" y="{BOTTOM + 54}">units of ResNet-110; dashed: where K = 4 modules end, with the '
                 "last unit</text>")  # fmt: skip
    return "\n".join(lines)
