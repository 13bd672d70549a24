"""Where words fit beside the points of a chart: none over another, none over a point, or not at all."""

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""Left, low, right and high end."""


def place_labels(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], area: Box, gap: float
) -> list[tuple[float, float] | None]:
    """Find room for a label beside each point; earlier ones choose first. Quadratic in their number.

    Args:
        points: x and y of every point, in any unit of length.
        sizes: width and height of every label, in the same unit; a label of no width is left out.
        area: in which labels have to stay.
        gap: between a point and its label, about the radius of a marker.

    Returns:
        The low left corner of each label; None where there is no room.
    """
    taken = [(x - gap, y - gap, x + gap, y + gap) for x, y in points]
    placed: list[tuple[float, float] | None] = []
    for (x, y), (width, height) in zip(points, sizes, strict=True):
        free = [box for box in _around(x, y, width, height, gap) if width and _fits(box, area, taken)]
        placed.append(free[0][:2] if free else None)
        taken += free[:1]
    return placed


def _around(x: float, y: float, width: float, height: float, gap: float) -> list[Box]:
    """Boxes that touch the point's own: right of it and above first."""
    corners = [
        (x + across, y + up)
        for distance in (gap, 2.5 * gap)
        for across, up in (
            (distance, distance / 2),
            (-distance - width, distance / 2),
            (distance, -distance / 2 - height),
            (-distance - width, -distance / 2 - height),
            (-width / 2, distance),
            (-width / 2, -distance - height),
            (distance, -height / 2),
            (-distance - width, -height / 2),
        )
    ]
    return [(left, low, left + width, low + height) for left, low in corners]


def _fits(box: Box, area: Box, taken: Sequence[Box]) -> bool:
    inside = area[0] <= box[0] and area[1] <= box[1] and box[2] <= area[2] and box[3] <= area[3]
    return inside and not any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
    )
