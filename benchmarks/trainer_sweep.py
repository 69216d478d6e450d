"""The sweep of `benchmarks/peer.py` as one writes it today: `Trainer.hyperparameter_search` over Ray Tune or Optuna.

    python benchmarks/trainer_sweep.py --backend ray --encoder FOLDER --data FOLDER --space FILE --trials 12 --out FILE

A user's script, and a careful one: data is tokenised once, batches have similar lengths and are padded to the longest,
bad trials are stopped early, a trial has one core and as many run at a time as there are cores, and a finished trial's
process takes the next one. From dlfa-sweep it takes the model, the reader of files and the metric, so that both train
the same on the same. udpos only, CPUs only. Needs accelerate and datasets.
"""

import argparse
import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # no TensorBoard, no CSV
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with verbose=0: no tables

import optuna
import torch
import yaml
from datasets import Dataset  # type: ignore[import-untyped, import-not-found, unused-ignore]
from datasets.utils.logging import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
    disable_progress_bar,
)
from torch import Tensor, nn
from transformers import DataCollatorForTokenClassification, EvalPrediction, PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_utils import BestRun, IntervalStrategy
from transformers.utils import logging as transformers_logging

from dlfa.config import ModelConfig
from dlfa.data.sources import Sentence, Source, Split, open_source
from dlfa.metrics import aggregate, tagging_scores
from dlfa.model import Classifier, build_model, load_tokenizer
from dlfa.tasks import TASKS

TASK = TASKS["udpos"]
IGNORED = -100
SOURCE = "en"


class TokenClassifier(nn.Module):
    """The model in the form that Trainer wants: logits of every piece, and a loss over those with a label."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return `logits`, [B, T, C], and before them, given labels, `loss`."""
        batch, width = input_ids.shape
        row = torch.arange(batch, device=input_ids.device).repeat_interleave(width)
        column = torch.arange(width, device=input_ids.device).repeat(batch)
        logits = self.classifier(input_ids, attention_mask, torch.zeros_like(input_ids), row, column)
        found = {"logits": logits.view(batch, width, -1)}
        if labels is None:
            return found
        return {"loss": nn.functional.cross_entropy(logits, labels.view(-1), ignore_index=IGNORED)} | found


def read(source: Source, language: str, split: Split, limit: int | None, tokenizer: Any, window: int) -> Any:
    """Return a set of sentences as a tokenised dataset."""
    number = {label: i for i, label in enumerate(TASK.labels)}
    sentences = [s for s in source.read(language, split)[:limit] if isinstance(s, Sentence) and s.tags is not None]

    def tokenise(batch: Mapping[str, Sequence[Any]]) -> Any:
        encoded = tokenizer(batch["words"], is_split_into_words=True, truncation=True, max_length=window)
        encoded["labels"] = []
        for i, tags in enumerate(batch["tags"]):
            words = encoded.word_ids(i)
            first = [word is not None and word != before for word, before in zip(words, [None, *words], strict=False)]
            encoded["labels"].append([number[tags[w]] if f else IGNORED for w, f in zip(words, first, strict=True)])
        encoded["length"] = [len(pieces) for pieces in encoded["input_ids"]]
        return encoded

    columns = {"words": [list(s.words) for s in sentences], "tags": [list(s.tags or ()) for s in sentences]}
    return Dataset.from_dict(columns).map(tokenise, batched=True, remove_columns=["words", "tags"])


def argmax(logits: Tensor, labels: Tensor) -> Tensor:
    """Keep labels alone while a set is predicted, no logits."""
    return logits.argmax(-1)


def scores(found: EvalPrediction) -> dict[str, float]:
    """Return micro F1 and accuracy of the words, in percent."""
    rows = list(zip(found.label_ids, found.predictions, strict=True))
    gold = [[TASK.labels[label] for label in labels if label != IGNORED] for labels, _ in rows]
    predicted = [[TASK.labels[p] for label, p in zip(*row, strict=True) if label != IGNORED] for row in rows]
    return tagging_scores(gold, predicted)


class Space:
    """The search space in a file of dlfa-sweep's form, for Optuna and for OptunaSearch alike."""

    def __init__(self, file: str) -> None:
        self.settings: dict[str, Any] = yaml.safe_load(Path(file).read_text())
        self.search = self.settings["search"]

    def __call__(self, trial: Any) -> dict[str, Any]:
        """Return the parameters of a trial."""
        params: dict[str, Any] = {"fusion": trial.suggest_categorical("fusion", ["dlfa", "none"])}
        if params["fusion"] == "dlfa":
            params["fusion_layer"] = trial.suggest_int("fusion_layer", **self.search["fusion_layer"])
            params["reduction_ratio"] = trial.suggest_categorical("reduction_ratio", **self.search["reduction_ratio"])
        params["learning_rate"] = trial.suggest_float("learning_rate", **self.search["learning_rate"])
        return params

    def points(self, trials: int) -> list[dict[str, Any]]:
        """Return what is fixed beforehand, as in dlfa-sweep: each second trial is the baseline's, and each layer once.

        What a trial's point leaves open is sampled.
        """
        low, high, step = (self.search["fusion_layer"][name] for name in ("low", "high", "step"))
        layers = list(range(low, high + 1, step))
        points: list[dict[str, Any]] = []
        for number in range(trials):
            if number % 2 == 0:
                points.append({"fusion": "none"})
            else:
                points.append({"fusion": "dlfa"} | ({"fusion_layer": layers.pop(0)} if layers else {}))
        return points


def search_ray(
    trainer: Trainer, space: Space, trials: int, reports: int, seed: int, reuse: bool, folder: str
) -> tuple[BestRun, int]:
    """Return the best run, and how many reports all runs made."""
    import ray
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    cores = len(os.sched_getaffinity(0))
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    best = trainer.hyperparameter_search(
        hp_space=lambda _: {},  # OptunaSearch has it
        compute_objective=lambda metrics: metrics["eval_f1"],
        n_trials=trials,
        direction="maximize",
        backend="ray",
        search_alg=OptunaSearch(
            space, metric="objective", mode="max", seed=seed, points_to_evaluate=space.points(trials)
        ),
        scheduler=ASHAScheduler(metric="objective", mode="max", max_t=reports, grace_period=1, reduction_factor=3),
        resources_per_trial={"cpu": 1},
        max_concurrent_trials=cores,
        reuse_actors=reuse,
        storage_path=folder,
        verbose=0,
    )
    assert isinstance(best, BestRun)
    assert best.run_summary is not None
    ray.shutdown()
    return best, sum(trial.last_result.get("training_iteration", 0) for trial in best.run_summary.trials)


def search_optuna(trainer: Trainer, space: Space, trials: int, reports: int, seed: int) -> tuple[BestRun, int]:
    """Return the best run, and how many reports all runs made."""
    every, storage = int(trainer.args.eval_steps or 1), optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="peer", direction="maximize")
    for point in space.points(trials):
        study.enqueue_trial(point)
    best = trainer.hyperparameter_search(
        hp_space=space,
        compute_objective=lambda metrics: metrics["eval_f1"],
        n_trials=trials,
        direction="maximize",
        backend="optuna",
        storage=storage,
        study_name="peer",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed),
        # Steps of the optimiser are its resource.
        pruner=optuna.pruners.HyperbandPruner(min_resource=every, max_resource=every * reports, reduction_factor=3),
    )
    assert isinstance(best, BestRun)
    return best, sum(len(trial.intermediate_values) for trial in study.trials)


def main(argv: Sequence[str] | None = None) -> None:
    """Search, train the best configuration again, and test it on every language."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", choices=["ray", "optuna"], required=True)
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast; default: Trainer's, float32")
    parser.add_argument("--new-actors", action="store_true", help="ray: a new process per trial, Tune's default")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--space", required=True, help="search space, with numbers for layers")
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--eval-limit", type=int)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True, help="JSON file of what was found")
    args = parser.parse_args(argv)

    transformers_logging.set_verbosity_error()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    disable_progress_bar()
    began = [time.perf_counter()]
    space = Space(args.space)
    recipe, window = space.settings["training"], space.settings["max_length"]
    tokenizer, source = load_tokenizer(args.encoder), open_source(args.data, TASK)
    languages = [language for language in source.languages() if source.files(language, "test")]
    train = read(source, SOURCE, "train", args.train_limit, tokenizer, window)
    dev = read(source, SOURCE, "dev", args.eval_limit, tokenizer, window)
    tests = {lang: read(source, lang, "test", args.eval_limit, tokenizer, window) for lang in languages}
    began.append(time.perf_counter())

    def model_init(trial: Any) -> Any:
        # Optuna's trial has no parameters yet when Trainer asks for its model; a Trainer without trial needs any model.
        params = {"fusion": "none"} if trial is None else trial if isinstance(trial, dict) else space(trial)
        parts: dict[str, Any] = {name: value for name, value in params.items() if name != "learning_rate"}
        config = ModelConfig(encoder=args.encoder, **parts)
        return TokenClassifier(build_model(config, TASK.kind, TASK.labels))

    reports, batch = recipe["reports_per_trial"], recipe["batch_size"]
    every = max(1, round(recipe["epochs"] * math.ceil(len(train) / batch) / reports))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model_init=model_init,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=every * reports,
                per_device_train_batch_size=batch,
                per_device_eval_batch_size=64,
                train_sampling_strategy="group_by_length",
                eval_strategy="steps",
                eval_steps=every,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                log_level="error",
                use_cpu=True,
                bf16=args.bf16,
                seed=args.seed,
            ),
            train_dataset=train,
            eval_dataset=dev,
            data_collator=DataCollatorForTokenClassification(tokenizer),
            processing_class=tokenizer,
            compute_metrics=scores,
            preprocess_logits_for_metrics=argmax,
        )
        trainer.remove_callback(PrinterCallback)
        if args.backend == "ray":
            best, made = search_ray(trainer, space, args.trials, reports, args.seed, not args.new_actors, folder)
        else:
            best, made = search_optuna(trainer, space, args.trials, reports, args.seed)
        began.append(time.perf_counter())

        # As in the documentation of hyperparameter_search. The other way, checkpoints, would write model and optimiser
        # of every trial at every report. This run does without evaluations: its score is known.
        trainer.args.learning_rate = best.hyperparameters["learning_rate"]
        trainer.args.eval_strategy = IntervalStrategy.NO
        trainer.train(trial=best.hyperparameters)
        began.append(time.perf_counter())
        f1 = {language: (trainer.predict(test).metrics or {})["test_f1"] for language, test in tests.items()}
        began.append(time.perf_counter())

    names = ("read", "search", "best", "test")
    summary = {
        "reports": made + reports,
        "selection": best.objective,
        "test": aggregate(f1, SOURCE)["avg_target"],
        "params": best.hyperparameters,
        "seconds": {name: round(b - a, 2) for name, a, b in zip(names, began, began[1:], strict=False)},
    }
    Path(args.out).write_text(json.dumps(summary))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
