"""A sweep's folder as the driver leaves it, written through Optuna."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from dlfa.fusions import FUSIONS

SETTINGS: dict[str, Any] = {
    "name": "udpos-1",
    "task": "udpos",
    "encoder": "some/encoder",
    "data": {
        "path": "treebanks",
        "source_language": "en",
        "languages": ["de", "fr"],
        "train_limit": 800,
        "eval_limit": None,
    },
    "select_on": "source",
    "seed": 1,
    "confirm_seeds": 2,
    "provenance": {"layout": "conllu"},
}

SPACE: dict[str, BaseDistribution] = {
    "fusion": CategoricalDistribution(["dlfa", "gate", "mean", "scalar_mix", "none", "other"]),
    "fusion_layer": IntDistribution(1, 4),
    "reduction_ratio": IntDistribution(1, 64),
    "learning_rate": FloatDistribution(1e-6, 1e-2, log=True),
    "head_learning_rate": FloatDistribution(1e-6, 1e-2, log=True),
}

Trial = tuple[str, TrialState, float | None, Mapping[str, Any], Mapping[str, Any]]
"""Phase, state, value, parameters and user attributes."""

WriteSweep = Callable[..., Path]


def fused(fusion: str, layer: int | None = None, **more: Any) -> dict[str, Any]:
    """Parameters of a trial of any fusion, with those that it has."""
    own = {"fusion_layer": layer, "reduction_ratio": 16}
    return {"fusion": fusion, "learning_rate": 2e-5, **{name: own[name] for name in FUSIONS[fusion].parameters}, **more}


def dlfa(layer: int, **more: Any) -> dict[str, Any]:
    return fused("dlfa", layer, **more)


def none(**more: Any) -> dict[str, Any]:
    return {"fusion": "none", "learning_rate": 3e-5, **more}


def scores(de: float, en: float = 90.0, fr: float = 50.0) -> dict[str, float]:
    targets = (de + fr) / 2
    return {
        "test/de/f1": de,
        "test/de/accuracy": de + 1,
        "test/en/f1": en,
        "test/en/accuracy": en + 1,
        "test/fr/f1": fr,
        "test/fr/accuracy": fr + 1,
        "test/avg": (de + en + fr) / 3,
        "test/avg_target": targets,
        "test/worst": min(de, fr),
        "test/gap": en - targets,
    }


def report(f1: float) -> dict[str, float]:
    return {"dev/en/f1": f1, "dev/en/accuracy": f1 + 1, "train/loss": 0.5}


COMPLETE, PRUNED, FAIL, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING

SEARCH: list[Trial] = [
    ("search", COMPLETE, 81.0, none(), {"seed": 1, "report:1": report(80.0), "report:2": report(81.0)}),
    (
        "search",
        COMPLETE,
        82.0,
        dlfa(1, head_learning_rate=1e-4),
        {"seed": 1, "report:2": report(82.0), "report:10": report(79.0), "best_step": 2, "scores": scores(60.0)},
    ),
    ("search", PRUNED, None, dlfa(2), {"seed": 1, "report:1": report(70.0)}),
    ("search", FAIL, None, dlfa(3), {"seed": 1, "reason": "CUDA out of\nmemory"}),
]

CONFIRM: list[Trial] = [
    ("confirm", COMPLETE, 81.0, none(), {"seed": 1, "best_step": 2, "scores": scores(60.0)}),
    ("confirm", COMPLETE, 81.5, none(), {"seed": 2, "best_step": 2, "scores": scores(61.0)}),
    ("confirm", COMPLETE, 83.0, dlfa(1), {"seed": 1, "best_step": 1, "scores": scores(62.0)}),
    ("confirm", COMPLETE, 82.0, dlfa(1), {"seed": 1, "best_step": 2, "scores": scores(61.0)}),
    ("confirm", COMPLETE, 82.5, dlfa(1), {"seed": 2, "best_step": 2, "scores": scores(65.0)}),
]


@pytest.fixture
def write_sweep(tmp_path: Path) -> WriteSweep:
    """Return a function that writes `runs/udpos-1` (or another name) with the given trials, by default both phases.

    Of the confirm trials, those numbered in `superseded` do not count; None: the study does not say so far.
    """

    def write(
        trials: list[Trial] | None = None, name: str = "udpos-1", superseded: Collection[int] | None = (2,)
    ) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        text = yaml.safe_dump({**SETTINGS, "name": name})
        (folder / "sweep.yaml").write_text(text, encoding="utf-8")
        storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
        for phase, state, value, params, attrs in SEARCH + CONFIRM if trials is None else trials:
            study = optuna.create_study(study_name=phase, storage=storage, direction="maximize", load_if_exists=True)
            space = {key: SPACE[key] for key in params}
            study.add_trial(
                create_trial(state=state, value=value, params=dict(params), distributions=space, user_attrs=dict(attrs))
            )
            if phase == "confirm" and superseded is not None:
                numbers = [t.number for t in study.get_trials(deepcopy=False) if t.number not in superseded]
                study.set_user_attr("numbers", numbers)
        storage.engine.dispose()
        return folder

    return write
