"""The one way to run a configuration: read, build, train, test."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dlfa.checkpoint import CheckpointFile
from dlfa.compute import choose
from dlfa.config import TrialConfig, to_mapping
from dlfa.data.alignment import align, require_alignable
from dlfa.data.cache import Corpus
from dlfa.data.remarks import remarks
from dlfa.data.sources import Split, open_source
from dlfa.errors import ConfigError, DataError
from dlfa.evaluation import predict_all, predict_with_states, score, tally
from dlfa.files import atomic_write
from dlfa.metrics import aggregate
from dlfa.model import Classifier, build_model, encoder_shape, load_tokenizer, save_model
from dlfa.progress import Report
from dlfa.similarity import similarity
from dlfa.tasks import TaskSpec, find_task
from dlfa.training import fit, small_table, trained_pieces

__all__ = ["EXAMPLES", "TrialResult", "identity", "open_corpus", "run_trial", "sets_read"]

EXAMPLES = "examples.parquet"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a trial that ran its full budget has found."""

    config: TrialConfig
    reports: tuple[Report, ...]
    best: Report
    """The report whose weights were tested."""

    scores: Mapping[str, float]
    """`test/<language>/<metric>` and the aggregates `test/avg` and so on, in percent. Of targets whose test sets are
    aligned with the source's also `similarity` and `similarity_unrelated`, cosines in -1..1: see `dlfa.similarity`."""

    predictions: Mapping[str, list[list[str]]]
    """Language to predicted labels of its test set, example by example; unlabelled test sets included."""

    tallies: Mapping[str, Mapping[str, NDArray[np.int64]]]
    """Language and metric to what each of the S examples of its test set adds to that score, [S, 2]: see
    `dlfa.metrics`; without unlabelled test sets."""

    counts: Mapping[str, int]
    """Windows trained on; examples that did not fit, over all sets used: see `dlfa.data.encode`."""

    model: Classifier
    """With the weights of the best report."""

    def summary(self) -> dict[str, Any]:
        """Return everything but model and predictions, for JSON."""
        return {
            "config": to_mapping(self.config),
            "scores": dict(self.scores),
            "best_step": self.best.step,
            "selection_score": self.best.score,
            "reports": [{"step": r.step, "score": r.score, "metrics": dict(r.metrics)} for r in self.reports],
            "counts": dict(self.counts),
        }

    def save(self, folder: Path) -> None:
        """Write what the trial has found.

        `predictions/<task>/test-<language>.tsv` is XTREME's submission layout. `examples.parquet` has a row for each
        example of the test sets and each metric: language, metric, example (from 0), and the numerator and denominator
        that it adds to the score. `scores.json` comes last: where it is, the rest is.
        """
        end = {"tagging": "\n\n", "pair": "\n"}[find_task(self.config.task).kind]
        for language, examples in self.predictions.items():
            text = "".join("\n".join(labels) + end for labels in examples)
            atomic_write(folder / "predictions" / self.config.task / f"test-{language}.tsv", text)
        atomic_write(folder / EXAMPLES, self._examples().to_parquet(index=False))
        atomic_write(folder / "scores.json", json.dumps(self.summary(), indent=1, ensure_ascii=False) + "\n")

    def _examples(self) -> pd.DataFrame:
        keys = [(language, metric) for language, tallies in self.tallies.items() for metric in tallies]
        parts = [self.tallies[language][metric] for language, metric in keys]
        counts = [len(part) for part in parts]
        numerator, denominator = np.concatenate([np.empty((0, 2), np.int64), *parts]).T
        frame: pd.DataFrame = pd.DataFrame(
            {
                "language": np.repeat([language for language, _ in keys], counts),
                "metric": np.repeat([metric for _, metric in keys], counts),
                "example": np.concatenate([np.empty(0, np.int64), *map(np.arange, counts)]),
                "numerator": numerator,
                "denominator": denominator,
            }
        )
        return frame

    def save_model(self, folder: Path) -> None:
        """Write encoder, tokenizer, fusion and head, as `dlfa.model.load_model` reads them."""
        tokenizer = load_tokenizer(self.config.model.encoder)
        save_model(self.model, folder, self.config.model, tokenizer, self.config.data.max_length)


def run_trial(
    config: TrialConfig,
    report: Callable[[Report], None] = lambda report: None,
    checkpoint: CheckpointFile | None = None,
    say: Callable[[str], None] | None = None,
) -> TrialResult:
    """Train a configuration on the source language and test it on every language.

    Args:
        config: All that determines the result; the same configuration gives the same numbers on one machine.
        report: Told of every evaluation on the selection set; ends the trial when it raises.
        checkpoint: Where the state is kept, and taken up again if it is there.
        say: Told before training what the data is, and what is wrong with it, line by line.

    Raises:
        ConfigError: A value does not fit the encoder or the data.
        DataError: The data is missing, malformed or not what the configuration says.
        CheckpointError: The checkpoint is damaged or another configuration's.
        DivergedError: Training produced numbers that are not finite.
    """
    task = find_task(config.task)
    compute = choose(config.compute)
    corpus = open_corpus(config)
    pad = int(corpus.tokenizer.pad_token_id or 0)
    source = config.data.source_language
    sets = sets_read(config, corpus)
    aligned = align(corpus, sets["test"]).rows  # now: training should not wait for a set that is refused
    selection = {language: corpus.split(language, "dev") for language in sets["dev"]}
    train = corpus.split(source, "train")

    torch.manual_seed(config.seed)
    model = build_model(config.model, task.kind, task.labels)
    if say is not None:
        for line in (f"data: {corpus.source.layout} in {corpus.source.root}", *remarks(corpus, sets)):
            say(line)

    def evaluate() -> tuple[float, dict[str, float]]:
        metrics: dict[str, float] = {}
        for language, predicted in predict_all(model, selection, compute, pad).items():
            found = score(task, selection[language], predicted)
            metrics |= {f"dev/{language}/{name}": value for name, value in found.items()}
        main = [metrics[f"dev/{language}/{task.metric}"] for language in selection]
        return sum(main) / len(main), metrics

    if checkpoint is not None:
        checkpoint = replace(checkpoint, owner=_owner(config, trained_pieces(train, pad), model))
    with small_table(model, train, config.training, pad):
        model.to(compute.device)  # within, so that a GPU never holds the table that is not trained
        reports = fit(
            model,
            train,
            config.training,
            compute,
            seed=config.seed,
            pad=pad,
            evaluate=evaluate,
            report=report,
            checkpoint=checkpoint,
        )
    tests = {language: corpus.split(language, "test") for language in sets["test"]}
    if aligned:
        predictions, states = predict_with_states(model, tests, compute, pad)
    else:
        predictions, states = predict_all(model, tests, compute, pad), {}
    found = {lang: score(task, split, predictions[lang]) for lang, split in tests.items() if split.labelled}
    for lang, rows in aligned.items():
        found[lang] |= similarity(states[source][rows], states[lang][rows], tests[lang].labels[rows])
    used = [train, *selection.values(), *tests.values()]
    return TrialResult(
        config=config,
        reports=tuple(reports),
        best=max(reports, key=lambda entry: entry.score),
        scores=_test_scores(task, source, found),
        predictions={
            language: split.by_example(predictions[language], task.labels) for language, split in tests.items()
        },
        tallies={lang: tally(task, split, predictions[lang]) for lang, split in tests.items() if split.labelled},
        counts={
            "train_windows": len(train.lengths),
            **{name: sum(split.counts[name] for split in used) for name in train.counts},
        },
        model=model,
    )


def open_corpus(config: TrialConfig) -> Corpus:
    """Return the data of a configuration as its encoder sees it, checked against both.

    Raises:
        ConfigError: The window exceeds the encoder's positions, an encoder cannot be loaded, or the test sets of a
            task of more than one label for each example are said to be aligned.
        DataError: The data's layout is not recognised.
    """
    shape = encoder_shape(config.model.encoder)
    if config.data.max_length > shape.max_positions:
        raise ConfigError(
            f"max_length: {config.data.max_length} is not allowed; allowed: 8..{shape.max_positions}, "
            f"the window of {config.model.encoder}"
        )
    task = find_task(config.task)
    require_alignable(task, config.data.aligned)
    source = open_source(config.data.path, task)
    return Corpus(source, task, load_tokenizer(config.model.encoder), config.data)


def sets_read(config: TrialConfig, corpus: Corpus) -> dict[Split, tuple[str, ...]]:
    """Return the languages of the train, dev and test sets that a trial reads.

    The dev sets that select are the source's or, as an oracle, those of every target that has one. The source
    language is tested if it has a test set.

    Raises:
        ConfigError: A language is not in the data, or oracle selection has no target with a dev set.
        DataError: The data has other sets than the configuration's fingerprints say.
    """
    source, targets = config.data.source_language, corpus.targets()
    dev = (source,) if config.select_on == "source" else _having(corpus, targets, "dev")
    if not dev:
        raise ConfigError("--select-on: 'targets' is not allowed; allowed: source, because no target has a dev set")
    sets: dict[Split, tuple[str, ...]] = {
        "train": (source,),
        "dev": dev,
        "test": _having(corpus, (source, *targets), "test"),
    }
    there = {f"{language} {split}" for split, languages in sets.items() for language in languages}
    if config.data.fingerprints and (changed := there ^ config.data.fingerprints.keys()):
        raise DataError(f"{corpus.source.root}: sets have come or gone meanwhile: {', '.join(sorted(changed))}")
    return sets


def _having(corpus: Corpus, languages: Sequence[str], split: Split) -> tuple[str, ...]:
    return tuple(language for language in languages if corpus.source.files(language, split))


def identity(config: TrialConfig) -> str:
    """Return a digest of what determines the result.

    Where it is computed and cached does not, nor how seldom there is a checkpoint. In how many parts a batch passes
    through the model is left out, too, because a trial that ran out of memory goes on in smaller ones: that changes
    the result of fusions with batch statistics, so reports record it.
    """
    mapping = to_mapping(config)
    del mapping["data"]["cache"], mapping["compute"]["device"], mapping["compute"]["threads"]
    del mapping["training"]["micro_batch_size"], mapping["training"]["checkpoint_seconds"]
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


def _owner(config: TrialConfig, pieces: NDArray[np.int64], model: Classifier) -> str:
    """Return whose a checkpoint is.

    It has a row for each piece that is trained, so one of other pieces is another's, even where no fingerprints say
    that the data has changed; and so is one of a version that trained all pieces, or whose fusions had other weights.
    """
    names = "\n".join(model.state_dict())
    return hashlib.sha256(f"{identity(config)}\n{names}\n".encode() + pieces.astype("<i8").tobytes()).hexdigest()


def _test_scores(task: TaskSpec, source: str, by_language: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    scores = {f"test/{lang}/{name}": value for lang, found in by_language.items() for name, value in found.items()}
    main = {language: found[task.metric] for language, found in by_language.items()}
    return scores | {f"test/{name}": value for name, value in aggregate(main, source).items()}
