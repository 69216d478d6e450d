"""Which searched parameters the scores depend on."""

from typing import Final

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from dlfa.fusions import FUSIONS
from orchestrator.report.arms import fusions_of

__all__ = ["TRIALS_NEEDED", "complete_trials", "importances", "is_log", "searched", "searched_fusions"]

TRIALS_NEEDED = 10
"""A forest that is grown on fewer trials tells what chance did."""

_NO_PARAMS: Final = ("number", "state", "fusion", "last_step", "score")


def is_log(name: str) -> bool:
    """Tell whether steps of a parameter are factors: of rates, and of what is searched in powers of two."""
    return name.endswith("learning_rate") or name in ("reduction_ratio", "batch_size")


def searched_fusions(search: pd.DataFrame) -> list[str]:
    """Return the fusions with parameters of their own that search trials were made of, in order."""
    return [name for name in fusions_of(search) if FUSIONS[name].parameters]


def complete_trials(search: pd.DataFrame, fusion: str) -> pd.DataFrame:
    """Return the trials of a fusion that ran to their end, of those that `search_trials` lists.

    Other fusions have other parameters, and a pruned trial has no score that can be compared.
    """
    ended: pd.DataFrame = search[search["fusion"].eq(fusion) & search["state"].eq("COMPLETE") & search["score"].notna()]
    return ended


def searched(trials: pd.DataFrame) -> list[str]:
    """Return the parameters that all trials have, and not all the same value of."""
    params = trials.columns.difference(_NO_PARAMS, sort=False)
    return [str(name) for name in params if trials[name].notna().all() and trials[name].nunique() > 1]


def importances(search: pd.DataFrame, fusion: str) -> pd.Series:
    """Return the share of the variance in scores that each parameter of a fusion explains, by Optuna's fANOVA.

    A forest learns scores from parameters, and each parameter's share is taken over the whole range that was searched
    (Hutter, Hoos and Leyton-Brown 2014).

    Args:
        search: As `search_trials` returns it.
        fusion: Whose trials.

    Returns:
        By parameter, descending, 1 in all; empty for fewer than `TRIALS_NEEDED` complete trials, or equal scores.
    """
    trials = complete_trials(search, fusion)
    params = searched(trials)
    if len(trials) < TRIALS_NEEDED or trials["score"].nunique() < 2 or not params:
        return pd.Series(dtype="float64")
    space: dict[str, BaseDistribution] = {}
    for name in params:
        low, high = float(trials[name].min()), float(trials[name].max())
        space[name] = FloatDistribution(low, high, log=is_log(name) and low > 0)
    study = _quiet_study()
    study.add_trials(
        [
            create_trial(params={name: float(row[name]) for name in params}, distributions=space, value=row["score"])
            for row in trials.to_dict("records")
        ]
    )
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    shares: pd.Series = pd.Series(found, dtype="float64")
    return shares


def _quiet_study() -> optuna.Study:
    """Return a study in memory, without Optuna's line that there is one."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(before)
