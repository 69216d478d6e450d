"""Do languages of one family gain from the same layers? Similarity of gain profiles, within families and between."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orchestrator.report.arms import columns_of, layered, layers_of
from orchestrator.report.languages import families_of, gains_by_language

__all__ = ["Alikeness", "alikeness", "families", "gain_similarity"]

_GAINS_NEEDED = 4
"""A correlation over fewer fusions and layers says nothing."""

_PERMUTATIONS = 9999


@dataclass(frozen=True, kw_only=True)
class Alikeness:
    """How alike the gain profiles of languages are, within families and between them."""

    within: float
    """Mean correlation of two languages of one family."""

    between: float
    """Mean correlation of two languages of different families."""

    p: float
    """One-sided: how often families drawn at random, of the same sizes, are at least as much more alike within."""

    @property
    def told(self) -> str:
        """In a few words."""
        return (
            f"gain profiles correlate {self.within:.2f} within families and {self.between:.2f} between, "
            f"one-sided permutation p {self.p:.3f}"
        )


def gain_similarity(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how alike target languages are in what they gain: [languages, languages], Pearson correlations.

    A language's gain profile is its difference to the baseline with every confirmed fusion and layer, of which there
    must be four. Languages without a difference at one of them, or with the same at all of them, are left out.
    """
    profiles = gains_by_language(frame).dropna()
    profiles = profiles[~profiles.index.isin(set(frame["source_language"]))]
    if len(profiles.columns) < _GAINS_NEEDED:
        profiles = profiles[:0]
    profiles = profiles[profiles.std(axis=1) > 0]
    names = list(profiles.index)
    alike = np.atleast_2d(np.corrcoef(profiles.to_numpy("float64"))) if names else np.empty((0, 0))
    table: pd.DataFrame = pd.DataFrame(alike, index=names, columns=names)
    return table


def alikeness(alike: pd.DataFrame, family: Mapping[str, str]) -> Alikeness | None:
    """Compare similarities within families with those between them, by permuting which language is of which family.

    Args:
        alike: As `gain_similarity` returns it.
        family: Language to family; others are left out.

    Returns:
        None where there is no pair of languages within a family, or none between two.
    """
    names = [name for name in alike.index if name in family]
    labels = np.unique([family[name] for name in names], return_inverse=True)[1].astype(np.int16)
    one, other = np.triu_indices(len(names), 1)
    values = alike.loc[names, names].to_numpy("float64")[one, other]
    pairs = labels[one] == labels[other]
    if not pairs.any() or pairs.all():
        return None
    chance = np.random.default_rng(0)
    drawn = chance.permuted(np.tile(labels, (_PERMUTATIONS, 1)), axis=1)
    # So many pairs are within families however languages are permuted: their mean alone decides.
    within = (drawn[:, one] == drawn[:, other]) @ values / pairs.sum()
    # Rounded: the families as they are, drawn again, must not miss themselves.
    beyond = np.sum(within.round(9) >= values[pairs].mean().round(9))
    return Alikeness(
        within=float(values[pairs].mean()),
        between=float(values[~pairs].mean()),
        p=float((1 + beyond) / (1 + _PERMUTATIONS)),
    )


def families(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what the families of target languages gain.

    Returns:
        One row per fusion with layers and family, in order of the registry and of name: fusion, family, languages
        (their codes), then for each confirmed layer its difference to the baseline, mean over the family's languages,
        in points (`layer_3`); within (mean correlation of the gain profiles of two of its languages over all fusions
        and layers, NaN for one language or fewer than four of these). Languages that nothing is known of stand under
        `unknown`.
    """
    gains = gains_by_language(frame)
    gains = gains[~gains.index.isin(set(frame["source_language"]))]
    alike, known = gain_similarity(frame), families_of(gains.index)
    family = [known.get(str(language), "unknown") for language in gains.index]
    rows = []
    fusions = layered(dict.fromkeys(gains.columns.get_level_values("fusion")))
    for fusion in fusions:
        of_fusion = columns_of(gains, fusion)
        for name in sorted(set(family)):
            of_family = of_fusion[np.array(family) == name]
            members = [language for language in of_family.index if language in alike.index]
            pairs = alike.loc[members, members].to_numpy("float64")[np.triu_indices(len(members), 1)]
            rows.append(
                {
                    "fusion": fusion,
                    "family": name,
                    "languages": " ".join(of_family.index),
                    **{f"layer_{layer}": value for layer, value in of_family.mean().items()},
                    "within": pairs.mean() if len(pairs) and name != "unknown" else float("nan"),
                }
            )
    layers = layers_of(gains, fusions)
    columns = ["fusion", "family", "languages", *(f"layer_{layer}" for layer in layers), "within"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table
