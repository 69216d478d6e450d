"""What the layers of an encoder know, as measured and as drawn with other examples.

C(l), cross-lingual capability: the mean of translation retrieval and of how little a probe tells the language.
S(l), language-structure ability: accuracy of probes for parts of speech, within a language, mean over languages.
E(l), equilibrium: harmonic mean of both, each scaled to 0..1 over the layers.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlfa.errors import DataError
from orchestrator.report.intervals import drawn_shares

__all__ = ["Balance", "balance"]


@dataclass(frozen=True, kw_only=True)
class Balance:
    """An encoder's layers, as observed and as drawn; D draws, L+1 layers, shares and not percent."""

    layers: NDArray[np.int64]
    """[L+1] from 0, the embedding layer's output."""

    retrieval: NDArray[np.float64]
    """[L+1] accuracy of retrieval in both directions, mean over languages."""

    language: NDArray[np.float64]
    """[L+1] accuracy of the probe for the language, mean over languages."""

    capability: NDArray[np.float64]
    """[1+D, L+1] C; the first row is what was observed."""

    structure: NDArray[np.float64]
    """[1+D, L+1] S, likewise."""

    source: NDArray[np.float64]
    """[L+1] accuracy of the probe for parts of speech in the source language; NaN where there is none."""

    majority: float
    """Accuracy of the most frequent tag, mean over languages."""

    @property
    def equilibrium(self) -> NDArray[np.float64]:
        """[1+D, L+1] E; NaN where all layers are alike."""
        one, other = _scaled(self.capability), _scaled(self.structure)
        whole = one + other
        nothing = np.where(np.isnan(whole), np.nan, 0.0)
        harmonic: NDArray[np.float64] = np.divide(2 * one * other, whole, out=nothing, where=whole > 0)
        return harmonic


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    scaled: NDArray[np.float64] = np.divide(
        values - low, high - low, out=np.full_like(values, np.nan), where=high > low
    )
    return scaled


def balance(measured: pd.DataFrame, source: str) -> Balance:
    """Return C, S and E of an encoder's layers, and draws of them with other test examples.

    Each draw takes the examples of every language and measure with replacement, the same ones for all layers (a paired
    bootstrap); the examples that the probes learnt from stay as they are.

    Args:
        measured: As `dlfa.probing.measure_layers` returns it.
        source: The source language.

    Raises:
        DataError: A measure is missing.
    """
    layers = np.sort(measured["layer"].dropna().unique()).astype(np.int64)
    chance = np.random.default_rng(0)
    drawn: dict[str, list[NDArray[np.float64]]] = {}
    of_source = np.full(len(layers), np.nan)
    for (measure, language), rows in measured.dropna(subset="layer").groupby(["measure", "language"], sort=True):
        shares = _shares(rows, layers, chance)
        drawn.setdefault(measure, []).append(shares)
        if measure == "upos" and language == source:
            of_source = shares[0]
    if missing := {"retrieval", "language", "upos"} - drawn.keys():
        raise DataError(f"measures of layers: no {', '.join(sorted(missing))}; allowed: retrieval, language and upos")
    means = {measure: np.mean(shares, axis=0) for measure, shares in drawn.items()}
    plain = measured[measured["measure"].eq("upos_majority")].groupby("language")[["numerator", "denominator"]].sum()
    return Balance(
        layers=layers,
        retrieval=means["retrieval"][0],
        language=means["language"][0],
        capability=(means["retrieval"] + 1 - means["language"]) / 2,
        structure=means["upos"],
        source=of_source,
        majority=float((plain["numerator"] / plain["denominator"]).mean()),
    )


def _shares(rows: pd.DataFrame, layers: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.float64]:
    """Return the accuracy of each layer, observed and drawn, [1+D, L+1]."""
    numerators, denominators = (
        rows.pivot(index="example", columns="layer", values=name).reindex(columns=layers).to_numpy("float64")
        for name in ("numerator", "denominator")
    )
    return drawn_shares(numerators, denominators, chance)
