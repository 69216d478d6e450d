"""What can be read from states linearly: a translation by its nearest neighbour, a label by logistic regression.

Legend of array sizes: S sentences, N examples, E hidden size.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["majority_hits", "probe_hits", "retrieval_hits"]

_ROWS = 1024
"""Sentences that are compared with all others at a time: a bound on memory only."""

_ITERATIONS = 2000
_TOLERANCE = 1e-3


def retrieval_hits(one_SE: NDArray[np.float32], other_SE: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return for each pair in how many of both directions the translation is the nearest by cosine, [S], 0 to 2.

    Of several equally near ones the first counts.
    """
    one_SE, other_SE = (_normalised(each) for each in (one_SE, other_SE))
    return _nearest(one_SE, other_SE) + _nearest(other_SE, one_SE)


def _nearest(one_SE: NDArray[np.float32], other_SE: NDArray[np.float32]) -> NDArray[np.int64]:
    parts = [
        (one_SE[start : start + _ROWS] @ other_SE.T).argmax(1) == np.arange(start, min(start + _ROWS, len(one_SE)))
        for start in range(0, len(one_SE), _ROWS)
    ]
    return np.concatenate(parts).astype(np.int64)


def _normalised(states_SE: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(states_SE, axis=1, keepdims=True)
    return np.asarray(states_SE / np.maximum(norms, np.finfo(np.float32).tiny))


def probe_hits(
    train_NE: NDArray[np.float32],
    train_N: NDArray[np.generic],
    test_NE: NDArray[np.float32],
    test_N: NDArray[np.generic],
) -> NDArray[np.int64]:
    """Return which labels a linear probe gets right, [N] of the test examples, 0 or 1.

    The probe is multinomial logistic regression on standardised states, with scikit-learn's default L2 penalty.

    Args:
        train_NE: States it learns from.
        train_N: Their labels.
        test_NE: States it is tested on.
        test_N: Their labels; some may be none of the training set's.
    """
    if len(np.unique(train_N)) == 1:
        return majority_hits(train_N, test_N)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_ITERATIONS, tol=_TOLERANCE))
    predicted = probe.fit(train_NE, train_N).predict(test_NE)
    return np.asarray(predicted == test_N, np.int64)


def majority_hits(train_N: NDArray[np.generic], test_N: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return which labels the most frequent one of the training set gets right, [N] of the test examples, 0 or 1."""
    names, counts = np.unique(train_N, return_counts=True)
    return np.asarray(test_N == names[counts.argmax()], np.int64)
