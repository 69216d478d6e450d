"""How much training the search needs to find what a full grid finds.

    python benchmarks/search.py

Replays a recorded grid through the real searcher and pruner, at no training cost: what is searched are the grid's
points, with their scores, and each report costs as much as any other. Every way to search starts 100 times, on the
curves of either seed in turn, and is measured by the share of the grid's training after which a DLFA trial that ran
its full budget is within 0.1 points of the grid's best of DLFA. The baseline's trials are no goal, but cost training,
as in a sweep; "alone" is the share without them. Beside them stands what Trainer.hyperparameter_search hands its
trials to in benchmarks/trainer_sweep.py: Ray Tune's OptunaSearch and ASHAScheduler, with the same trials fixed
beforehand. "any rate" searches the whole range of learning rates; a trial's scores are those of the nearest point.

The grid, benchmarks/grid.parquet, has every fusion layer of the embedded encoder, 4 reduction ratios, 5 learning rates
and 2 seeds, and the baseline, with a score on English dev at each of 6 reports. It was recorded by

    for seed in 1 2; do
        dlfa-sweep --task udpos --profile quickstart --space benchmarks/grid.yaml --sampler grid --pruner none \\
            --train-limit 800 --eval-limit 200 --languages de,hi,zh --keep-models none --seed $seed --name grid-$seed
    done
    python benchmarks/search.py --record runs/grid-1 runs/grid-2

seed 1 up to commit 140615d, seed 2 at 5440a91, which computes attention otherwise.
"""

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import median, quantiles
from types import SimpleNamespace
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import FloatDistribution
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from dlfa.flags import COUNT
from dlfa.model import EncoderShape
from orchestrator import report
from orchestrator.pruning import make_pruner
from orchestrator.search import StudySearch, make_sampler
from orchestrator.space import Params, SearchSpace
from orchestrator.space_file import load_space

_HERE = Path(__file__).parent
_REPORTS = 6
_NEAR = 0.1
"""Points below the grid's best that are near enough."""

_SHARE = 0.15
"""Of the grid's training: where what was found is compared."""

_LIMIT = 0.6
"""Of the grid's training: where a replay ends that has found nothing near, unless it has tried every point before."""

Point = tuple[int, int, float]
"""Fusion layer and reduction ratio, both 0 for the baseline, and learning rate."""

_RANGE = "tpe, any rate"
_SAMPLERS: Mapping[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: make_sampler("random", seed),
    "tpe": lambda seed: make_sampler("tpe", seed),
    _RANGE: lambda seed: make_sampler("tpe", seed),
    "tpe after 5": lambda seed: optuna.samplers.TPESampler(
        n_startup_trials=5, multivariate=True, constant_liar=True, seed=seed % 2**32
    ),
}
_PRUNERS: Mapping[str, Callable[[], optuna.pruners.BasePruner]] = {
    "none": lambda: make_pruner("none", _REPORTS),
    "median": lambda: make_pruner("median", _REPORTS),
    "hyperband": lambda: make_pruner("hyperband", _REPORTS),
    "hyperband, 2 brackets": lambda: optuna.pruners.HyperbandPruner(1, _REPORTS, 3),
    "hyperband, 2 from report 2": lambda: optuna.pruners.HyperbandPruner(2, _REPORTS, 3),
    # ASHA (arXiv 1810.05934) is what Optuna calls successive halving.
    "ASHA from report 1": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
    "ASHA from report 2": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3),
}
_TUNES = "OptunaSearch"
_TUNES_PRUNERS = {"Tune's ASHA from report 1": 1, "Tune's ASHA from report 3": 3}
_DEFAULT = ("tpe", "hyperband")
_WAYS = [
    ("random", "none"),
    ("random", "hyperband"),
    *(("tpe", pruner) for pruner in _PRUNERS),
    ("tpe after 5", "hyperband"),
    (_RANGE, "hyperband"),
    *((_TUNES, pruner) for pruner in _TUNES_PRUNERS),
]


@dataclass(frozen=True)
class Grid:
    """The curves of one seed, and what the other seed says of the same points."""

    curves: Mapping[Point, Sequence[float]]
    other: Mapping[Point, float]
    """The other seed's selection scores."""

    @property
    def best(self) -> float:
        """The best selection score of the points of DLFA."""
        return max(max(curve) for point, curve in self.curves.items() if point[0])

    @property
    def training(self) -> int:
        """Reports of all points."""
        return sum(map(len, self.curves.values()))


@dataclass(frozen=True)
class Found:
    """What one replay has found."""

    near: float
    """Share of the grid's training after which a trial was near the grid's best; infinite: none was."""

    near_alone: float
    """The same without what the baseline's trials took."""

    missed: float
    """Points between the grid's best and the best trial at `_SHARE` of the grid's training; infinite: none had run
    its full budget."""

    missed_again: float
    """The same trial's configuration against the best of the grid, both by the other seed's scores."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print, or record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", type=Path, default=_HERE / "grid.parquet", help="a recorded grid")
    parser.add_argument("--record", type=Path, nargs="+", metavar="SWEEP", help="folders of sweeps to make it from")
    parser.add_argument("--seeds", type=COUNT, default=100, help="replays of every way to search (default 100)")
    parser.add_argument(
        "--slots",
        type=COUNT,
        nargs="+",
        default=[4],
        help="trials at a time (default 4); with several, only the way that sweeps search by default",
    )
    parser.add_argument("--processes", type=COUNT, default=2, help="replays at a time (default 2)")
    args = parser.parse_args(argv)
    if args.record:
        pd.concat([_recorded(folder) for folder in args.record], ignore_index=True).to_parquet(args.grid, index=False)
        return
    grids = _grids(pd.read_parquet(args.grid))
    for grid in grids:
        near = sum(max(curve) >= grid.best - _NEAR for point, curve in grid.curves.items() if point[0])
        print(
            f"grid: {len(grid.curves)} points, the best of DLFA {grid.best:.2f}, {near} within {_NEAR:g} points of it; "
            f"of the baseline {max(max(curve) for point, curve in grid.curves.items() if not point[0]):.2f}"
        )
    ways = _WAYS if len(args.slots) == 1 else [_DEFAULT]
    head = f"{'training until near':>26} {'alone':>9} {'near at 15 %':>13} {'missed':>7} {'again':>7}"
    print(f"\n{'sampler':14} {'pruner':26} {'at a time':>9} {head}")
    with ProcessPoolExecutor(args.processes) as pool:
        for (sampler, pruner), slots in product(ways, args.slots):
            jobs = [
                pool.submit(_replay, grids[seed % len(grids)], sampler, pruner, seed, slots)
                for seed in range(args.seeds)
            ]
            _print(f"{sampler:14} {pruner:26} {slots:9}", [job.result() for job in jobs])


def _print(way: str, found: Sequence[Found]) -> None:
    shares = [one.near for one in found]
    low, _, high = quantiles(shares, n=4)
    share = f"{_percent(median(shares))} ({_percent(low)} to {_percent(high)})"
    alone = _percent(median(one.near_alone for one in found))
    near = sum(one.near <= _SHARE for one in found)
    missed, again = median(one.missed for one in found), median(one.missed_again for one in found)
    print(f"{way} {share:>26} {alone:>9} {near:>6} of {len(found)} {missed:7.2f} {again:7.2f}", flush=True)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if math.isfinite(share) else "never"


def _recorded(folder: Path) -> pd.DataFrame:
    """Return one row for each run of a sweep over the grid."""
    sweep = report.load(folder)
    rows = []
    for trial, frame in sweep.frame[sweep.frame["state"] == "COMPLETE"].groupby("trial"):
        first = frame.iloc[0]
        dev = frame[(frame["split"] == "dev") & (frame["metric"] == "f1")].sort_values("step")
        assert len(dev) == _REPORTS, f"{folder}: {trial} has {len(dev)} reports"
        test = frame[(frame["split"] == "test") & (frame["metric"] == "avg_target")]
        rows.append(
            {
                "seed": first["seed"],
                "fusion_layer": 0 if first["fusion"] == "none" else first["fusion_layer"],
                "reduction_ratio": 0 if first["fusion"] == "none" else first["reduction_ratio"],
                "learning_rate": first["learning_rate"],
                **{f"dev_{step}": value for step, value in enumerate(dev["value"], start=1)},
                "test_avg_target": test["value"].item(),
            }
        )
    recorded: pd.DataFrame = pd.DataFrame(rows)
    return recorded


def _grids(frame: pd.DataFrame) -> list[Grid]:
    curves: dict[int, dict[Point, list[float]]] = {}
    for row in frame.to_dict("records"):
        point = (int(row["fusion_layer"]), int(row["reduction_ratio"]), float(row["learning_rate"]))
        scores = [float(row[f"dev_{step}"]) for step in range(1, _REPORTS + 1)]
        curves.setdefault(int(row["seed"]), {})[point] = scores
    one, two = curves.values()
    assert one.keys() == two.keys(), "the seeds have other points"
    return [
        Grid(mine, {point: max(curve) for point, curve in others.items()}) for mine, others in ((one, two), (two, one))
    ]


def _space(grid: Grid) -> SearchSpace:
    layers, ratios, _ = map(max, zip(*grid.curves, strict=True))
    shape = EncoderShape(layers=layers + 1, hidden_size=12 * ratios, vocabulary=1, max_positions=512)
    return load_space((_HERE / "grid.yaml").read_text(), "grid.yaml", "udpos", shape)


def _ranged(space: SearchSpace) -> SearchSpace:
    """Return the space with a range of learning rates; it ends half a step beyond the grid's, each of which has as much
    of it."""
    rates = space.grid["learning_rate"]
    beyond = math.sqrt(rates[1] / rates[0])
    rate = FloatDistribution(rates[0] / beyond, rates[-1] * beyond, log=True)
    return replace(space, distributions={**space.distributions, "learning_rate": rate})


def _replay(grid: Grid, sampler: str, pruner: str, seed: int, slots: int) -> Found:
    """Search as far as anything is asked of it: all slots report in turn, so that trials run beside each other."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = _Tunes(grid, pruner, seed) if sampler == _TUNES else _Ours(grid, sampler, pruner, seed)
    running: dict[int, tuple[str, Point, int]] = {}
    trained, of_baseline, begun = 0, 0, 0
    best, at_share = (-math.inf, (0, 0, 0.0)), (-math.inf, (0, 0, 0.0))
    near, near_alone = math.inf, math.inf
    over = False
    while trained <= _SHARE * grid.training or (near == math.inf and trained < _LIMIT * grid.training):
        if over and not running:
            break
        for slot in range(slots):
            if slot not in running:
                params = search.begin(str(begun))
                if params is None:
                    over = True
                    continue
                running[slot] = (str(begun), _nearest(grid, params), 0)
                begun += 1
            name, point, step = running[slot]
            curve = grid.curves[point]
            step += 1
            trained += 1
            of_baseline += not point[0]
            running[slot] = (name, point, step)
            if search.report(name, step, curve):
                del running[slot]
            if step == _REPORTS:
                best = max(best, (max(curve), point)) if point[0] else best
                if best[0] >= grid.best - _NEAR and near == math.inf:
                    near, near_alone = trained / grid.training, (trained - of_baseline) / grid.training
            if trained <= _SHARE * grid.training:
                at_share = best
    score, point = at_share
    again = max(other for point, other in grid.other.items() if point[0]) - grid.other.get(point, -math.inf)
    return Found(near=near, near_alone=near_alone, missed=grid.best - score, missed_again=again)


class _Ours:
    """The search of a sweep."""

    def __init__(self, grid: Grid, sampler: str, pruner: str, seed: int) -> None:
        space = _space(grid)
        if sampler == _RANGE:
            space = _ranged(space)
        # A search that is long enough to try every point: half of its trials are the baseline's, which has few.
        trials = grid.training if sampler == _RANGE else 2 * len(grid.curves)
        plan = space.plan(seed, trials)
        self._search = StudySearch(
            optuna.create_study(study_name="search", direction="maximize", pruner=_PRUNERS[pruner]()),
            phase="search",
            space=space,
            total=sum(space.shares(trials).values()),
            fixed=lambda number: (plan(number), seed),
            sampler=lambda number: _SAMPLERS[sampler](seed * 1_000_003 + number),
            assign=lambda ref: dict(ref.params),
            observers=(),
            reports=_REPORTS,
            stopping=lambda: False,
            halt=self._halt,
        )

    def begin(self, name: str) -> Params | None:
        """Return the parameters of the next trial, or nothing where there is none."""
        params: Any = self._search.suggest(name)
        return None if params == StudySearch.FINISHED else dict(params)

    def report(self, name: str, step: int, curve: Sequence[float]) -> bool:
        """Return whether a trial ends with a report."""
        ends = self._search.on_report(name, {"step": step, "score": curve[step - 1], "metrics": "{}"})
        if not ends and step == _REPORTS:
            summary = {"scores": {}, "best_step": 0, "reports": [], "selection_score": max(curve)}
            ends = self._search.on_report(name, {"summary": json.dumps(summary)})
        return ends

    def _halt(self, reason: str) -> None:
        raise AssertionError(reason)


class _Tunes:
    """The search of Ray Tune with Optuna's searcher and ASHA; each is told what Tune's controller tells it."""

    def __init__(self, grid: Grid, pruner: str, seed: int) -> None:
        self._space = _space(grid)
        trials = 2 * len(grid.curves)
        plan = self._space.plan(seed, trials)
        points = [plan(number) for number in range(sum(self._space.shares(trials).values()))]
        self._search = OptunaSearch(self._suggest, "score", "max", points, seed=seed)
        self._scheduler = ASHAScheduler(
            metric="score", mode="max", max_t=_REPORTS, grace_period=_TUNES_PRUNERS[pruner], reduction_factor=3
        )
        self._trials: dict[str, Any] = {}

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        return dict(self._space.suggest(trial))

    def begin(self, name: str) -> Params | None:
        """Return the parameters of the next trial."""
        params = self._search.suggest(name)
        assert params is not None
        self._trials[name] = SimpleNamespace(trial_id=name)
        self._scheduler.on_trial_add(None, self._trials[name])  # type: ignore[arg-type]
        return params

    def report(self, name: str, step: int, curve: Sequence[float]) -> bool:
        """Return whether a trial ends with a report."""
        result = {"score": curve[step - 1], "training_iteration": step}
        decision = self._scheduler.on_trial_result(None, self._trials[name], result)  # type: ignore[arg-type]
        if decision == TrialScheduler.CONTINUE:
            self._search.on_trial_result(name, result)
            return False
        self._search.on_trial_complete(name, result)
        return True


def _nearest(grid: Grid, params: Mapping[str, Any]) -> Point:
    """Return the grid's point that a trial has, or the nearest one where its learning rate lies between points."""
    layer, ratio = int(params.get("fusion_layer", 0)), int(params.get("reduction_ratio", 0))
    rates = [rate for point_layer, point_ratio, rate in grid.curves if (point_layer, point_ratio) == (layer, ratio)]
    wanted = math.log(params["learning_rate"])
    return layer, ratio, min(rates, key=lambda rate: abs(math.log(rate) - wanted))


if __name__ == "__main__":
    main()
