"""What a row of a table stands for: a fusion and its layer. Rows are in the order of the registry of fusions."""

from collections.abc import Iterable
from typing import Any, Final

import pandas as pd

from dlfa.fusions import BASELINE, FUSIONS

__all__ = ["KEY", "NO_LAYER", "arm_of", "columns_of", "described", "fusions_of", "in_order", "layered", "layers_of"]

KEY: Final = ["fusion", "fusion_layer"]
"""Columns that tell rows apart; the layer is missing for fusions that have none."""

NO_LAYER: Final = -1
"""Stands for the layer of fusions that have none, among numbers that cannot be missing."""

_RANKS: Final = {name: rank for rank, name in enumerate(FUSIONS)}


def in_order(table: pd.DataFrame, *then: str) -> pd.DataFrame:
    """Sort rows by fusion, the baseline first, and then by columns, ascending and missing values first."""
    ordered: pd.DataFrame = table.sort_values(
        ["fusion", *then],
        key=lambda values: values.map(_RANKS) if values.name == "fusion" else values,
        na_position="first",
    )
    return ordered


def fusions_of(table: pd.DataFrame) -> list[str]:
    """Return the fusions that a table has rows of, without the baseline, in order."""
    found = set(table["fusion"].dropna()) - {BASELINE}
    return [name for name in FUSIONS if name in found]


def layered(fusions: Iterable[str]) -> list[str]:
    """Return those fusions that have a layer."""
    return [name for name in fusions if FUSIONS[name].has_layer]


def columns_of(table: pd.DataFrame, fusion: str | None) -> pd.DataFrame:
    """Return a fusion's columns, named by their layers, of a table whose columns are of two levels; perhaps none."""
    found: pd.DataFrame = table.loc[:, table.columns.get_level_values("fusion") == fusion]
    found.columns = pd.Index(found.columns.get_level_values("fusion_layer"))
    return found


def layers_of(table: pd.DataFrame, fusions: Iterable[str]) -> list[int]:
    """Return the layers that such a table has columns of for any of some fusions, ascending."""
    return sorted({layer for fusion in fusions for layer in columns_of(table, fusion).columns.astype("int64").tolist()})


def arm_of(fusion: str) -> str:
    """Return what readers call a fusion: its name, or `baseline`."""
    return "baseline" if fusion == BASELINE else fusion


def described(fusion: str, layer: Any) -> str:
    """Return what readers call a row: `baseline`, `dlfa layer 3`, `scalar_mix`."""
    return arm_of(fusion) if pd.isna(layer) else f"{arm_of(fusion)} layer {layer}"
