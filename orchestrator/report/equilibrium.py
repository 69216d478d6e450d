"""Where cross-lingual capability and language structure balance, beside T(l), a fusion's target score with layer l."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import permutation_test, rankdata

from orchestrator.report.arms import columns_of, fusions_of
from orchestrator.report.balance import Balance
from orchestrator.report.best_layers import best_layers, model_runs
from orchestrator.report.intervals import EDGES
from orchestrator.report.similarity import SIMILARITY, similarity
from orchestrator.report.trials import Sweep

__all__ = ["LAYERS_NEEDED", "equilibrium", "sweep_equilibrium", "verdicts"]

LAYERS_NEEDED = 5
"""Of fewer layers even a perfect rank correlation is no rarity: with four, one order in twelve is as extreme."""

_PERMUTATIONS = 9999
_BESIDE = ("near", "far", *SIMILARITY[:2])


def sweep_equilibrium(sweep: Sweep) -> tuple[pd.DataFrame, list[str]]:
    """Return the table of `equilibrium` for a sweep, and what may be said of it; both empty if nothing was measured.

    Models that the sweep has replaced since they were measured are left out, which the lines say.
    """
    if not sweep.measures:
        return pd.DataFrame(), []
    layers = _layers(sweep.frame)
    runs = model_runs(sweep.frame)
    measured_on = {name: measured.attrs for name, measured in sweep.measures.items()}
    outdated = [name for name, what in measured_on.items() if name != "pretrained" and what["trial"] != runs.get(name)]
    balances = {name: found for name, found in sweep.balances.items() if name not in outdated}
    first = next(iter(measured_on.values()))
    lines = [
        f"layers measured on {first['treebanks']} and on parallel sentences of {', '.join(first['parallel'])}, "
        f"first {first['limit']} of each set; probes learn from a train set, or else from a dev set",
        *(f"{name}: measured on another run than the best one now; left out" for name in outdated),
        *verdicts(balances, sweep.target_draws, layers),
    ]
    return equilibrium(balances, sweep.target_draws, layers), lines


def _layers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what `equilibrium` wants to know of fusion layers."""
    table = best_layers(frame)
    similar = similarity(frame)
    if not similar.empty:
        table[list(SIMILARITY[:2])] = similar[list(SIMILARITY[:2])]
    beside = [name for name in _BESIDE if name in table]
    found: pd.DataFrame = table.loc[table["fusion_layer"].notna(), ["fusion", "fusion_layer", "avg_target", *beside]]
    return found


def equilibrium(balances: Mapping[str, Balance], targets: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Return what the layers of each encoder know, beside what they are worth as fusion layers.

    Args:
        balances: Of encoders, by what they are called.
        targets: Draws of T, [DRAWS, fusions and layers], as `target_draws` returns them.
        layers: One row per fusion layer: fusion, fusion_layer; avg_target (T as observed, in percent); and what else
            stands beside it: near, far, similarity, similarity_unrelated.

    Returns:
        One row per encoder, fusion with layers (missing where there is none), and layer: encoder, fusion, layer;
        retrieval, language (probe's accuracy), capability; upos_source, structure, majority; in percent; equilibrium,
        in 0..1; target, in percent, and what else `layers` has, NaN for layers that are no fusion layer. capability,
        structure, equilibrium and target have a 95 % interval (`_low`, `_high`). selected: the predicted layer, which
        of the fusion's layers has the highest equilibrium.
    """
    fusions: list[str | None] = [*fusions_of(layers)]
    parts = [
        _of_fusion(name, found, fusion, targets, layers)
        for name, found in balances.items()
        for fusion in fusions or [None]
    ]
    table: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return table


def _of_fusion(
    name: str, found: Balance, fusion: str | None, targets: pd.DataFrame, layers: pd.DataFrame
) -> pd.DataFrame:
    index = pd.Index(found.layers)
    drawn = columns_of(targets, fusion)
    low, high = (
        pd.Series(np.percentile(drawn, edge, axis=0) if drawn.shape[1] else [], drawn.columns, "float64")
        for edge in EDGES
    )
    is_ours = layers["fusion"].eq(fusion) if fusion else layers["fusion"].isna()
    beside = layers[is_ours].set_index("fusion_layer").drop(columns="fusion").reindex(index)
    part: pd.DataFrame = pd.DataFrame(
        {
            "encoder": name,
            "fusion": pd.array([fusion] * len(index), dtype="string"),
            "layer": pd.array(found.layers, dtype="Int64"),
            "retrieval": 100 * found.retrieval,
            "language": 100 * found.language,
            **_with_edges("capability", 100 * found.capability),
            "upos_source": 100 * found.source,
            **_with_edges("structure", 100 * found.structure),
            "majority": 100 * found.majority,
            **_with_edges("equilibrium", found.equilibrium),
            "target": beside["avg_target"].to_numpy("float64"),
            "target_low": low.reindex(index).to_numpy("float64"),
            "target_high": high.reindex(index).to_numpy("float64"),
            **{column: beside[column].to_numpy("float64") for column in beside if column != "avg_target"},
        }
    )
    predicted = _predicted(found, beside["avg_target"].dropna())
    part["selected"] = [layer == predicted for layer in found.layers]
    return part


def _with_edges(name: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    low, high = np.percentile(values[1:], EDGES, axis=0)
    return {name: values[0], f"{name}_low": low, f"{name}_high": high}


def _predicted(found: Balance, scores: pd.Series) -> int | None:
    """Return the fusion layer with the highest equilibrium, of equals the lowest; none where there is none."""
    fused = np.isin(found.layers, scores.index)
    values = found.equilibrium[0][fused]
    return None if not fused.any() or np.isnan(values).any() else int(found.layers[fused][values.argmax()])


def verdicts(balances: Mapping[str, Balance], targets: pd.DataFrame, layers: pd.DataFrame) -> list[str]:
    """Return what may be said of prediction and outcome, and what may not, one line each.

    Args:
        balances: As for `equilibrium`.
        targets: Likewise.
        layers: Likewise.
    """
    if not fusions_of(layers):
        return [f"encoder {name}: nothing is predicted, no fusion layer has a confirmed run" for name in balances]
    scores = {
        fusion: layers[layers["fusion"].eq(fusion)].set_index("fusion_layer")["avg_target"]
        for fusion in fusions_of(layers)
    }
    return [
        line
        for name, found in balances.items()
        for fusion, of_fusion in scores.items()
        for line in _verdict(f"encoder {name}, {fusion}", found, columns_of(targets, fusion), of_fusion)
    ]


def _verdict(name: str, found: Balance, targets: pd.DataFrame, scores: pd.Series) -> list[str]:
    predicted = _predicted(found, scores)
    if predicted is None:
        return [f"{name}: no equilibrium (all layers are alike, or none that was measured has a confirmed run)"]
    fused = found.layers[np.isin(found.layers, scores.index)]
    index = np.searchsorted(found.layers, fused)
    drawn = found.equilibrium[1:, index]
    behind = np.percentile(drawn[:, [list(fused).index(predicted)]] - drawn, EDGES[0], axis=0) > 0
    alike = [int(layer) for layer, is_behind in zip(fused, behind, strict=True) if not is_behind and layer != predicted]
    lines = [
        f"{name}: predicted layer {predicted} (highest equilibrium of the fusion layers"
        + (f"; layer{'s' * (len(alike) > 1)} {_join(alike)} cannot be told from it)" if alike else ")")
    ]
    observed = scores[fused]
    best = int(fused[observed.to_numpy("float64").argmax()])
    if not set(fused) <= set(targets.columns):
        lines.append(f"{name}: best layer on the target test sets {best}; no intervals, so no more is said")
    elif best == predicted:
        lines.append(f"{name}: the predicted layer is the one with the best mean over the target test sets")
    else:
        low, high = np.percentile(targets[best] - targets[predicted], EDGES)
        inside = "lies within the interval of" if low <= 0 else "is worse than"
        lines.append(
            f"{name}: the predicted layer {inside} the best on the target test sets, {best} "
            f"(ahead by {observed[best] - observed[predicted]:.2f} [{low:+.2f}, {high:+.2f}])"
        )
    return [*lines, _correlated(name, found.equilibrium[:, index], targets, observed)]


def _correlated(name: str, values: NDArray[np.float64], targets: pd.DataFrame, observed: pd.Series) -> str:
    if len(observed) < LAYERS_NEEDED:
        return f"{name}: {len(observed)} fusion layers are too few to correlate equilibrium and target score"
    ranks, outcome = rankdata(values[0]), rankdata(observed.to_numpy("float64"))
    if np.ptp(ranks) == 0 or np.ptp(outcome) == 0:
        return f"{name}: all fusion layers are alike, so nothing correlates"
    test = permutation_test(
        (ranks,),
        lambda drawn, axis: _pearson(drawn, outcome),
        permutation_type="pairings",
        n_resamples=_PERMUTATIONS,
        vectorized=True,
        random_state=0,
    )
    text = f"{name}: equilibrium and target score over {len(observed)} layers: Spearman's rho {test.statistic:+.2f}"
    if set(observed.index) <= set(targets.columns):
        drawn = _pearson(rankdata(values[1:], axis=1), rankdata(targets[observed.index].to_numpy("float64"), axis=1))
        low, high = np.nanpercentile(drawn, EDGES)
        text += f" [{low:+.2f}, {high:+.2f}]"
    return f"{text}, permutation p {test.pvalue:.3f} (neighbouring layers are alike, which makes p too small)"


def _pearson(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return correlations along the last axis."""
    one, other = (each - each.mean(axis=-1, keepdims=True) for each in (one, other))
    norm = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    nothing = np.full(np.shape(norm), np.nan)
    found: NDArray[np.float64] = np.divide((one * other).sum(-1), norm, out=nothing, where=norm > 0)
    return found


def _join(layers: list[int]) -> str:
    return ", ".join(map(str, layers))
