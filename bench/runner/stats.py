"""Medians, and how sure they are."""
from math import comb
from statistics import median

__all__ = ["interval", "median", "spread"]


def spread(values):
    """Half the distance between the quartiles, as a part of the median."""
    if len(values) < 2 or not median(values):
        return 0.0
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return (high - low) / 2 / median(ordered)


def interval(values, confidence=0.95):
    """The narrowest pair of order statistics that holds the median with at least this confidence;
    with few values, all of them (five values: 94 %)."""
    ordered = sorted(values)
    n = len(ordered)
    best = 0
    for cut in range(1, n // 2):
        outside = 2 * sum(comb(n, i) for i in range(cut + 1)) / 2**n
        if 1 - outside < confidence:
            break
        best = cut
    return ordered[best], ordered[-1 - best]
