"""How far a sweep's numbers may go, as flags and as fields of a file; importing them costs nothing."""

__all__ = ["MOST", "MOST_SECONDS", "MOST_SEEDS", "MOST_TRIALS", "SMALLEST_SHARE"]

MOST = 2**31 - 1
"""Of what is counted, and the largest seed."""

MOST_TRIALS = 100_000
"""Of a search: far more than any has, and few enough to plan them one by one."""

MOST_SEEDS = 1000
"""Of the confirm phase, for each layer."""

MOST_SECONDS = 1000 * 86_400.0
"""That anything is waited for: the system's timers end at a few hundred years."""

SMALLEST_SHARE = 0.0001
"""Of a GPU: Ray knows no smaller one."""
