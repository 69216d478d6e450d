"""Cosine similarity of an example and its translation, as a model's head reads them.

The DLFA paper (ICPR 2022, doi 10.1109/ICPR56361.2022.9956721) compares models by the mean cosine similarity of final
embeddings across languages. All states of a model may be alike, so the similarity of unrelated examples is given, too.

Legend of array sizes: R examples, E hidden size.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["similarity"]


def similarity(
    source_RE: NDArray[np.float32], target_RE: NDArray[np.float32], labels_R: NDArray[np.int16]
) -> dict[str, float]:
    """Return mean cosines, in -1..1, of a language and the source language.

    Args:
        source_RE: States of examples in the source language, one or more, finite.
        target_RE: States of their translations, in the same order.
        labels_R: Label of each example and its translation.

    Returns:
        `similarity`, of an example and its translation, and `similarity_unrelated`: the mean over examples of the mean
        cosine of an example and the translations of all others of its label. Examples alone with their label are
        left out of that, and it is absent where all are.
    """
    s_RE, t_RE = _unit(source_RE), _unit(target_RE)
    own_R = np.einsum("re,re->r", s_RE, t_RE)
    found = {"similarity": float(own_R.mean())}
    # The sum over others is that over all less the example's own: R cosines instead of R x R.
    unrelated = []
    for label in np.unique(labels_R):
        of_label = labels_R == label
        others = np.count_nonzero(of_label) - 1
        if others:
            all_R = s_RE[of_label] @ t_RE[of_label].sum(axis=0)
            unrelated.append((all_R - own_R[of_label]) / others)
    if unrelated:
        found["similarity_unrelated"] = float(np.concatenate(unrelated).mean())
    return found


def _unit(states_RE: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return vectors of length 1; a vector of zeros, which has no direction, stays as it is."""
    double_RE = states_RE.astype(np.float64)
    norm_R = np.linalg.norm(double_RE, axis=1)
    units_RE: NDArray[np.float64] = double_RE / np.where(norm_R > 0, norm_R, 1)[:, None]
    return units_RE
