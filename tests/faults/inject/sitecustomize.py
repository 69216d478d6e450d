"""Faults in trials, for every Python process that has this folder in PYTHONPATH.

`FAULTS` is JSON: a list of faults, each with `layer` (the trial's fusion layer; 0: the baseline's), `does` and
`times`. A fault strikes right before a trial's second report, the given number of times over all processes; that
it has struck is a file in the folder `FAULTS_STRUCK`. One that waits goes on when a file `go` is there.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _raise() -> None:
    raise ZeroDivisionError("an injected fault")


def _hang() -> None:
    time.sleep(3600)


def _wait() -> None:
    while not Path(os.environ["FAULTS_STRUCK"], "go").exists():
        time.sleep(0.05)


def _next_loss(changed: Callable[[Any], Any]) -> None:
    from torch.nn import functional

    cross_entropy = functional.cross_entropy

    def once(*args: Any, **options: Any) -> Any:
        functional.cross_entropy = cross_entropy  # the process goes on with other trials
        return changed(cross_entropy(*args, **options))

    functional.cross_entropy = once


def _diverge() -> None:
    _next_loss(lambda loss: loss * float("nan"))


def _fill() -> None:
    def full(loss: Any) -> Any:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory.")

    _next_loss(full)


_FAULTS: Mapping[str, Callable[[], None]] = {
    "kill": _kill,
    "raise": _raise,
    "hang": _hang,
    "wait": _wait,
    "diverge": _diverge,
    "fill": _fill,
}


def _strikes(fault: Mapping[str, Any], config: Any) -> bool:
    if (config.model.fusion_layer or 0) != fault["layer"] or config.seed != 1:
        return False
    for time_ in range(fault["times"]):
        try:
            Path(os.environ["FAULTS_STRUCK"], f"{fault['layer']}-{time_}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False


def _faulty(run_trial: Callable[..., Any]) -> Callable[..., Any]:
    def run(config: Any, report: Callable[[Any], None], checkpoint: Any) -> Any:
        def struck(entry: Any) -> None:
            for fault in json.loads(os.environ["FAULTS"]):
                if entry.step == 2 and _strikes(fault, config):
                    _FAULTS[fault["does"]]()
            report(entry)

        return run_trial(config, struck, checkpoint)

    return run


class _Patched(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        vars(module)["run_trial"] = _faulty(vars(module)["run_trial"])


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "dlfa.trial":
            return None
        spec = PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader = _Patched(spec.loader)
        return spec


if "FAULTS" in os.environ:
    sys.meta_path.insert(0, _Finder())
