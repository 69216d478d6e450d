"""What the layers of a sweep's encoder know, before and after fine-tuning: measured once, kept beside its trials."""

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from dlfa.compute import choose
from dlfa.config import ComputeConfig, DataConfig, from_mapping
from dlfa.data.cache import Corpus
from dlfa.data.sources import Source, Split, open_source
from dlfa.errors import ConfigError, DataError
from dlfa.files import atomic_write
from dlfa.inputs import EMBEDDED, HUB, origin, probing_folders
from dlfa.model import encoder_fingerprint, load_tokenizer
from dlfa.probing import ParallelText, measure_layers, read_parallel
from dlfa.tasks import find_task
from orchestrator.report import Sweep, model_runs
from orchestrator.report.trials import MEASURES
from orchestrator.trainable import MODEL

__all__ = ["measure"]

_PACKAGES = ("dlfa-sweep", "torch", "transformers", "scikit-learn")


def measure(
    sweep: Sweep,
    folder: Path,
    *,
    treebanks: str | None,
    parallel: str | None,
    limit: int,
    cache: Path,
    say: Callable[[str], None],
) -> None:
    """Measure the layers of the pretrained encoder, and of the models that the sweep has kept.

    Each encoder's measures become `probing/ENCODER.parquet` in the sweep's folder, with what they were measured on as
    the frame's attributes; those that are there already and would be the same are not measured again.

    Args:
        sweep: Which one.
        folder: The sweep's.
        treebanks: Text labelled for udpos: `hub`, `embedded` or a folder; none: what the sweep's own data is.
        parallel: Pairs of sentences, likewise.
        limit: Sentences, or pairs, of each set, from the start.
        cache: Folder of downloads, generated and encoded data; the sweep's own may be another machine's.
        say: Told in one line what goes on.

    Raises:
        ConfigError: An encoder cannot be loaded, or it is not clear what to measure on.
        DataError: Data is missing or malformed, or has none of the sweep's languages.
    """
    settings = from_mapping(DataConfig, sweep.settings["data"], f"{folder / 'sweep.yaml'}: data")
    task = find_task("udpos")
    found = _folders(sweep, settings, treebanks, parallel, limit, cache)
    source = open_source(found[0], task)
    data = replace(
        settings,
        path=str(source.root),
        cache=str(cache),
        languages=_tested(source, settings),
        train_limit=limit,
        eval_limit=limit,
        fingerprints={},
    )
    texts = read_parallel(found[1], settings.source_language, settings.languages, limit)
    # Float32: bf16 would blur what tells neighbours apart.
    compute = choose(ComputeConfig(precision="fp32", threads=len(os.sched_getaffinity(0))))
    for name, (encoder, trial) in _encoders(sweep, folder, say).items():
        corpus = Corpus(source, task, load_tokenizer(encoder), data)
        measured_on = _measured_on(encoder, trial, corpus, texts, limit)
        path = folder / MEASURES / f"{name}.parquet"
        if path.exists() and pd.read_parquet(path).attrs == measured_on:
            say(f"{name}: measured before, on the same data ({path})")
            continue
        say(f"{name}: measuring the layers of {encoder}")
        measured = measure_layers(
            encoder,
            treebanks=corpus,
            parallel=texts,
            compute=compute,
            say=lambda line, name=name: say(f"{name}: {line}"),  # type: ignore[misc]
        )
        measured.attrs.update(measured_on)
        atomic_write(path, measured.to_parquet(index=False))


def _folders(
    sweep: Sweep, settings: DataConfig, treebanks: str | None, parallel: str | None, limit: int, cache: Path
) -> tuple[Path, Path]:
    own = origin(Path(settings.path), Path(settings.cache))
    if treebanks is None and sweep.settings["task"] == "udpos":
        # Generated treebanks of a sweep have one train set, others as many as there are languages.
        treebanks = own if own == EMBEDDED else settings.path
    given = {"--treebanks": treebanks or own, "--parallel": parallel or own}
    missing = [flag for flag, folder in given.items() if folder is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: missing, and {settings.path} does not tell; allowed: {HUB}, {EMBEDDED}, or a folder"
        )
    return probing_folders(
        str(given["--treebanks"]),
        str(given["--parallel"]),
        cache,
        source_language=settings.source_language,
        languages=settings.languages,
        limit=limit,
    )


def _tested(source: Source, settings: DataConfig) -> tuple[str, ...]:
    """Return the sweep's target languages that a treebank has a test set for."""
    wanted = [language for language in settings.languages if source.files(language, "test")]
    if not wanted:
        raise DataError(
            f"--treebanks: {source.root} has no test set of {', '.join(settings.languages)}; "
            f"allowed: treebanks with some of the sweep's languages (there: {', '.join(source.languages())})"
        )
    return tuple(wanted)


def _encoders(sweep: Sweep, folder: Path, say: Callable[[str], None]) -> dict[str, tuple[str, str | None]]:
    """Return the encoders there are, by what they are called, each with the trial that trained it."""
    found: dict[str, tuple[str, str | None]] = {"pretrained": (sweep.settings["encoder"], None)}
    for name, trial in model_runs(sweep.frame).items():
        model = folder / "trials" / trial / MODEL
        if model.is_dir():
            found[name] = (str(model), trial)
        else:
            say(f"{name}: no model was kept of {trial} (--keep-models), so only the pretrained encoder is measured")
    return found


def _measured_on(
    encoder: str, trial: str | None, corpus: Corpus, texts: list[ParallelText], limit: int
) -> dict[str, Any]:
    languages = (corpus.config.source_language, *corpus.targets())
    return {
        "encoder": encoder_fingerprint(encoder),
        "trial": trial,
        "treebanks": corpus.config.path,
        "sets": {
            f"{language} {split}": corpus.fingerprint(language, split)
            for language in languages
            for split in get_args(Split)
            if corpus.source.files(language, split)
        },
        "parallel": {text.language: text.digest for text in texts},
        "limit": limit,
        "max_length": corpus.config.max_length,
        "versions": {name: version(name) for name in _PACKAGES},
    }
