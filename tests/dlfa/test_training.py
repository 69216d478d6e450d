"""The training loop: reproducible to the bit, also across an interruption."""

import errno
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import write_encoder
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from dlfa import training
from dlfa.checkpoint import CheckpointFile
from dlfa.compute import Compute
from dlfa.config import ModelConfig, TrainingConfig
from dlfa.data.batching import Batch, collate
from dlfa.data.encode import EncodedSplit, encode
from dlfa.data.sources import Sentence
from dlfa.errors import ConfigError, DivergedError
from dlfa.files import atomic_write
from dlfa.model import Classifier, build_model, load_tokenizer
from dlfa.progress import Progress, Report
from dlfa.tasks import TASKS
from dlfa.training import fit, report_steps, time_step

LABELS = ("DET", "NOUN", "VERB", "ADJ")
TAGS = {"the": "DET", "der": "DET", "dog": "NOUN", "Hund": "NOUN", "cats": "NOUN", "sees": "VERB", "small": "ADJ"}
PAD = 1
FP32 = Compute(torch.device("cpu"), bf16=False)
# 52 sentences in batches of 8: 7 steps an epoch, 21 in all, reports at 5, 10, 16 and 21, so within epochs.
CONFIG = TrainingConfig(learning_rate=3e-3, epochs=3, batch_size=8, reports_per_trial=4, checkpoint_seconds=0)
AT = [5, 10, 16, 21]


class Stop(Exception):
    """What a pruner, or a broken connection, raises in `report`."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_encoder(tmp_path_factory.mktemp("encoder"), layers=2, hidden_size=16))


@pytest.fixture(scope="module")
def still_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same without dropout."""
    folder = write_encoder(tmp_path_factory.mktemp("still"), layers=2, hidden_size=16)
    path = folder / "config.json"
    settings = json.loads(path.read_text())
    assert {settings["hidden_dropout_prob"], settings["attention_probs_dropout_prob"]} == {0.1}
    path.write_text(json.dumps(settings | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}))
    return str(folder)


@pytest.fixture(scope="module")
def train(encoder: str) -> EncodedSplit:
    chance = np.random.default_rng(0)
    sentences = []
    for _ in range(52):
        words = tuple(chance.choice(list(TAGS), size=chance.integers(1, 12)).tolist())
        sentences.append(Sentence(words, tuple(TAGS[word] for word in words)))
    split = encode(sentences, load_tokenizer(encoder), replace(TASKS["udpos"], labels=LABELS), 64)
    assert len(split.lengths) == 52
    return split


def fresh(encoder: str, seed: int = 1, dropout: float = 0.1, fusion: str = "dlfa") -> Classifier:
    torch.manual_seed(seed)
    config = ModelConfig(encoder=encoder, fusion=fusion, fusion_layer=1, reduction_ratio=2, dropout=dropout)
    return build_model(config, "tagging", LABELS)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def run(
    model: Classifier,
    train: EncodedSplit,
    config: TrainingConfig = CONFIG,
    *,
    scores: tuple[float, ...] = (10, 20, 30, 40, 50, 60),
    compute: Compute = FP32,
    seed: int = 1,
    checkpoint: CheckpointFile | None = None,
    report: Callable[[Report], None] = lambda report: None,
) -> list[Report]:
    """Train with scores that are given; a metric tells the weights of each report apart."""

    def evaluate() -> tuple[float, dict[str, float]]:
        number = next(scripted)
        return scores[number - 1], {
            "number": number,
            "weights": float(sum(t.double().sum() for t in weights(model).values())),
        }

    begun = 0 if checkpoint is None else len((checkpoint.load() or ({}, {"reports": []}))[1]["reports"])
    scripted = iter(range(begun + 1, 99))
    return fit(
        model,
        train,
        config,
        compute,
        seed=seed,
        pad=PAD,
        evaluate=evaluate,
        report=report,
        checkpoint=checkpoint,
    )


@contextmanager
def each_step(record: Callable[[torch.optim.Optimizer], None]) -> Iterator[None]:
    """Show the optimiser right before each of its steps."""
    handle = register_optimizer_step_pre_hook(lambda optimizer, args, kwargs: record(optimizer))
    try:
        yield
    finally:
        handle.remove()


def test_same_seed_same_bits(encoder: str, train: EncodedSplit) -> None:
    # Dropout goes on from the generator's state after the model was built.
    one = fresh(encoder)
    reports = run(one, train)
    again = fresh(encoder)
    assert run(again, train) == reports
    assert_same(weights(one), weights(again))
    assert run(fresh(encoder), train, seed=2)[0] != reports[0]  # another order of the batches
    assert run(fresh(encoder, seed=2), train)[0] != reports[0]


def test_reports_count_from_one_and_the_loss_falls(encoder: str, train: EncodedSplit) -> None:
    told: list[Report] = []
    reports = run(fresh(encoder), train, report=told.append)
    assert told == reports
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert [report.score for report in reports] == [10, 20, 30, 40]
    losses = [report.metrics["train/loss"] for report in reports]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 1.5


def test_reported_loss_is_the_mean_over_words_since_the_last_report(still_encoder: str, train: EncodedSplit) -> None:
    model = fresh(still_encoder, dropout=0.0, fusion="gate")
    batch = collate(train, np.arange(52), PAD)
    with torch.no_grad():
        expected = float(nn.functional.cross_entropy(model(*batch.inputs()), batch.labels_W))
    # At such a rate nothing is learnt; each report covers an epoch, so every word once.
    reports = run(model, train, replace(CONFIG, learning_rate=1e-30, reports_per_trial=3))
    assert [r.metrics["train/loss"] for r in reports] == pytest.approx([expected] * 3, rel=1e-5)


@pytest.mark.parametrize("stop_at", [2, 3, 4, None])
@pytest.mark.parametrize("scores", [(10, 20, 30, 40), (10, 40, 30, 20), (40, 30, 20, 10), (20, 20, 20, 20)])
def test_a_resumed_run_ends_as_if_never_interrupted(
    scores: tuple[float, ...], stop_at: int | None, encoder: str, train: EncodedSplit, tmp_path: Path
) -> None:
    whole = fresh(encoder)
    expected = run(whole, train, scores=scores)

    def stop(report: Report) -> None:
        if report.step == stop_at:
            raise Stop

    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    with pytest.raises(Stop) if stop_at else nullcontext():  # none: what comes after training was interrupted
        run(fresh(encoder), train, scores=scores, checkpoint=checkpoint, report=stop)
    loaded = checkpoint.load()
    assert loaded is not None
    assert len(loaded[1]["reports"]) == (stop_at or 5) - 1
    # Everything comes from the file: weights, moments, random state, reports.
    resumed, told = fresh(encoder, seed=99), list[Report]()
    assert run(resumed, train, scores=scores, checkpoint=checkpoint, report=told.append) == expected
    assert told == expected
    assert_same(weights(resumed), weights(whole))


def test_a_run_goes_on_from_the_last_checkpoint_not_the_last_report(
    encoder: str, train: EncodedSplit, tmp_path: Path
) -> None:
    config, scores = replace(CONFIG, checkpoint_every=2), (10.0, 40.0, 30.0, 20.0)
    whole = fresh(encoder)
    expected = run(whole, train, config, scores=scores)

    def stop(report: Report) -> None:
        if report.step == 3:
            raise Stop

    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    with pytest.raises(Stop):
        run(fresh(encoder), train, config, scores=scores, checkpoint=checkpoint, report=stop)
    resumed, told = fresh(encoder, seed=99), list[Report]()
    assert run(resumed, train, config, scores=scores, checkpoint=checkpoint, report=told.append) == expected
    assert told == expected
    assert_same(weights(resumed), weights(whole))


@pytest.mark.parametrize(("every", "written"), [(0, []), (1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (5, [])])
def test_checkpoints_are_written_at_every_so_manieth_report(
    every: int, written: list[int], encoder: str, train: EncodedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def content(self: CheckpointFile, tensors: object, state: dict[str, Any]) -> bytes:
        saved.append(len(state["reports"]))
        return b""

    monkeypatch.setattr(CheckpointFile, "content", content)
    config = replace(CONFIG, checkpoint_every=every)
    run(fresh(encoder), train, config, checkpoint=CheckpointFile(tmp_path / "checkpoint.safetensors"))
    assert saved == written


@pytest.mark.parametrize(("seconds", "written"), [(0, [1, 2, 3, 4]), (60, [2, 4]), (61, [3]), (1000, [])])
def test_no_checkpoint_is_written_for_what_is_faster_done_again(
    seconds: int, written: list[int], encoder: str, train: EncodedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty seconds between two reports, and seven more for a checkpoint, which saves none of its own."""
    clock = [0.0]
    saved: list[int] = []

    def content(self: CheckpointFile, tensors: object, state: dict[str, Any]) -> bytes:
        saved.append(len(state["reports"]))
        clock[0] += 7
        return b""

    def add(self: Progress, report: Report, model: torch.nn.Module) -> None:
        clock[0] += 30
        added(self, report, model)

    added = Progress.add
    monkeypatch.setattr(CheckpointFile, "content", content)
    monkeypatch.setattr(Progress, "add", add)
    monkeypatch.setattr("dlfa.training.monotonic", lambda: clock[0])
    config = replace(CONFIG, checkpoint_seconds=seconds)
    run(fresh(encoder), train, config, checkpoint=CheckpointFile(tmp_path / "checkpoint.safetensors"))
    assert saved == written


def test_a_trial_that_ends_at_a_report_writes_no_checkpoint_of_it(
    encoder: str, train: EncodedSplit, tmp_path: Path
) -> None:
    def stop(report: Report) -> None:
        raise Stop

    with pytest.raises(Stop):
        run(fresh(encoder), train, checkpoint=CheckpointFile(tmp_path / "checkpoint.safetensors"), report=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_written_beside_the_next_steps_and_before_the_next_report(
    encoder: str, train: EncodedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(fresh(encoder), train)
    order: list[str] = []
    stepped = threading.Event()

    def write(path: Path, content: bytes) -> None:
        if len(stepping) < AT[-1]:  # after the last step none follows
            assert stepped.wait(60), "no step is taken meanwhile"
        atomic_write(path, content)
        order.append("written")

    def step(optimizer: torch.optim.Optimizer) -> None:
        stepping.append(len(stepping))
        if len(stepping) - 1 in AT:
            stepped.set()

    def report(entry: Report) -> None:
        stepped.clear()
        order.append(f"report {entry.step}")

    stepping: list[int] = []
    monkeypatch.setattr("dlfa.files.atomic_write", write)
    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")
    with each_step(step):
        assert run(fresh(encoder), train, checkpoint=checkpoint, report=report) == expected
    assert order == [what for step in (1, 2, 3, 4) for what in (f"report {step}", "written")]
    assert checkpoint.load() is not None


@pytest.mark.parametrize("lost", [1, 4])
def test_a_checkpoint_that_can_not_be_written_ends_the_trial(
    lost: int, encoder: str, train: EncodedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def write(path: Path, content: bytes) -> None:
        if len(told) == lost:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dlfa.files.atomic_write", write)
    with pytest.raises(OSError, match="No space left on device"):
        run(
            fresh(encoder),
            train,
            checkpoint=CheckpointFile(tmp_path / "checkpoint.safetensors"),
            report=lambda report: told.append(report.step),
        )
    assert told == [*range(1, lost + 1)]


@pytest.mark.parametrize(
    ("scores", "best"), [((10, 40, 30, 20), 2), ((10, 40, 20, 40), 2), ((0, 0, 0, 0), 1), ((1, 2, 3, 4), 4)]
)
def test_the_best_reports_weights_are_left_in_the_model(
    scores: tuple[float, ...], best: int, encoder: str, train: EncodedSplit
) -> None:
    model, at_report = fresh(encoder), list[dict[str, torch.Tensor]]()
    run(model, train, scores=scores, report=lambda report: at_report.append(weights(model)))
    assert not torch.equal(at_report[0]["head.linear.weight"], at_report[1]["head.linear.weight"])
    assert_same(weights(model), at_report[best - 1])


def one_step(encoder: str, train: EncodedSplit, **changes: Any) -> tuple[dict[str, torch.Tensor], float]:
    """The gradients, as clipped, of a single step over all 52 windows, and the loss reported for it.

    With a fusion that has no batch statistics, so that it does not matter how the batch is cut.
    """
    config = TrainingConfig(learning_rate=1e-3, epochs=1, batch_size=52, reports_per_trial=1)
    model = fresh(encoder, dropout=0.0, fusion="gate")
    (report,) = run(model, train, replace(config, **changes))
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == {name for name, _ in model.named_parameters()}
    return gradients, report.metrics["train/loss"]


def norm(gradients: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients.values()))


@pytest.mark.parametrize("micro", [1, 5, 26, 51])
def test_micro_batches_add_up_to_the_batch(micro: int, still_encoder: str, train: EncodedSplit) -> None:
    whole, loss = one_step(still_encoder, train, max_grad_norm=1e9)
    parts, parts_loss = one_step(still_encoder, train, max_grad_norm=1e9, micro_batch_size=micro)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert parts_loss == pytest.approx(loss, rel=1e-5)
    assert norm(whole) > 0.1  # zeros would be equal, too


def statistics(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in model.fusion.named_buffers()}


def test_batch_statistics_are_those_of_the_micro_batch(still_encoder: str, train: EncodedSplit) -> None:
    found = {}
    for micro in (None, 26, 4):
        model = fresh(still_encoder, dropout=0.0)
        config = TrainingConfig(epochs=1, batch_size=52, reports_per_trial=1, micro_batch_size=micro)
        (report,) = run(model, train, config)
        assert report.metrics["train/micro_batch_size"] == (micro or 52)
        found[micro] = statistics(model)
    # Each forward pass moves the running statistics by a tenth: one pass, two and thirteen.
    name = "aif.gate.global_branch.squeeze_norm.running_var"
    shares = [float(found[micro][name].mean()) for micro in (None, 26, 4)]
    assert shares[0] > shares[1] > shares[2] > 0


def test_training_with_one_window_at_a_time_stays_finite(encoder: str, train: EncodedSplit) -> None:
    model = fresh(encoder)
    reports = run(model, train, replace(CONFIG, micro_batch_size=1))
    losses = [report.metrics["train/loss"] for report in reports]
    assert losses[-1] < losses[0]
    after = statistics(model)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
    # The global branch sees one value at a time, which has no variance: its statistics stay where they were.
    for name, before in statistics(fresh(encoder)).items():
        assert torch.equal(after[name], before) is ("global" in name)
    assert all(value.abs().max() < 10 for value in after.values())


def test_what_was_taken_before_memory_ran_out_moves_no_statistics(
    still_encoder: str, train: EncodedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainingConfig(epochs=1, batch_size=52, reports_per_trial=1, micro_batch_size=13)
    whole = fresh(still_encoder, dropout=0.0)
    run(whole, train, config)
    summed_loss, calls = training._summed_loss, []

    def second_part_does_not_fit(model: Classifier, batch: Batch, compute: Compute) -> torch.Tensor:
        calls.append(len(batch.input_ids_BT))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return summed_loss(model, batch, compute)

    monkeypatch.setattr(training, "_summed_loss", second_part_does_not_fit)
    model = fresh(still_encoder, dropout=0.0)
    run(model, train, replace(config, micro_batch_size=26))
    assert calls == [26, 26, 13, 13, 13, 13]
    assert_same(weights(model), weights(whole))


class Memory:
    """Of a device that holds so many windows at a time and not one more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, windows: int, error: RuntimeError) -> None:
        self.asked: list[int] = []

        def loss(model: Classifier, batch: Batch, compute: Compute) -> torch.Tensor:
            self.asked.append(len(batch.input_ids_BT))
            if self.asked[-1] > windows:
                raise error
            return summed_loss(model, batch, compute)

        summed_loss = training._summed_loss
        monkeypatch.setattr(training, "_summed_loss", loss)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_that_does_not_fit_passes_in_parts(
    error: RuntimeError, still_encoder: str, train: EncodedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, loss = one_step(still_encoder, train, max_grad_norm=1e9)
    memory = Memory(monkeypatch, windows=13, error=error)
    parts, parts_loss = one_step(still_encoder, train, max_grad_norm=1e9)
    assert memory.asked == [52, 26, 13, 13, 13, 13]
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)
    assert parts_loss == pytest.approx(loss, rel=1e-5)


def test_what_fits_is_kept_recorded_and_taken_up_again(
    encoder: str, train: EncodedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(monkeypatch, windows=CONFIG.batch_size // 2, error=torch.OutOfMemoryError("CUDA out of memory"))
    checkpoint = CheckpointFile(tmp_path / "checkpoint.safetensors")

    def stop(report: Report) -> None:
        assert report.metrics["train/micro_batch_size"] == CONFIG.batch_size // 2
        if report.step == 2:
            raise Stop

    with pytest.raises(Stop):
        run(fresh(encoder), train, checkpoint=checkpoint, report=stop)
    assert memory.asked.count(CONFIG.batch_size) == 1
    memory.asked.clear()
    reports = run(fresh(encoder), train, checkpoint=checkpoint)
    assert CONFIG.batch_size not in memory.asked
    assert all(report.metrics["train/micro_batch_size"] == CONFIG.batch_size // 2 for report in reports)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes differ")])
def test_an_error_that_no_smaller_part_mends_is_raised(
    error: RuntimeError, encoder: str, train: EncodedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(monkeypatch, windows=0, error=error)
    with pytest.raises(RuntimeError) as raised:
        run(fresh(encoder), train)
    assert raised.value is error
    assert memory.asked[-1] == 1 if isinstance(error, torch.OutOfMemoryError) else len(memory.asked) == 1


@pytest.mark.parametrize("micro", [None, 5])
def test_the_norm_of_all_gradients_is_clipped(micro: int | None, still_encoder: str, train: EncodedSplit) -> None:
    free, _ = one_step(still_encoder, train, max_grad_norm=1e9, micro_batch_size=micro)
    clipped, _ = one_step(still_encoder, train, max_grad_norm=0.01, micro_batch_size=micro)
    assert norm(clipped) == pytest.approx(0.01, rel=1e-3)
    share = 0.01 / norm(free)
    scaled = {name: gradient * share for name, gradient in free.items()}
    torch.testing.assert_close(clipped, scaled, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("warmup", "factors"),
    [
        (0.0, [1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (0.2, [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        (0.99, [n / 11 for n in range(1, 11)]),
    ],
)
@pytest.mark.parametrize("head", [None, 1e-2])
def test_rates_rise_and_then_fall_to_zero(
    head: float | None, warmup: float, factors: list[float], encoder: str, train: EncodedSplit
) -> None:
    model = fresh(encoder)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates: dict[str, list[float]] = {name: [] for name in names.values()}

    def record(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                rates[names[id(parameter)]].append(group["lr"])

    config = TrainingConfig(
        learning_rate=1e-3,
        head_learning_rate=head,
        epochs=10,
        batch_size=52,
        warmup_fraction=warmup,
        reports_per_trial=1,
    )
    with each_step(record):
        run(model, train, config)
    # Every parameter, once a step; AIF and head at their own rate, the encoder never.
    assert {name.split(".")[0] for name in rates} == {"encoder", "fusion", "head"}
    for name, found in rates.items():
        peak = 1e-3 if head is None or name.startswith("encoder.") else head
        assert found == pytest.approx([peak * factor for factor in factors]), name


def test_weight_decay_shrinks_weights(encoder: str, train: EncodedSplit) -> None:
    decays = list[float]()
    with each_step(lambda optimizer: decays.extend(group["weight_decay"] for group in optimizer.param_groups)):
        run(fresh(encoder), train, replace(CONFIG, weight_decay=0.25))
    assert set(decays) == {0.25}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_trial(number: float, encoder: str, train: EncodedSplit) -> None:
    model, told = fresh(encoder), list[Report]()

    def poison(report: Report) -> None:
        told.append(report)
        with torch.no_grad():
            model.head.linear.bias.fill_(number)

    with pytest.raises(DivergedError, match=r"^training: loss nan with gradient norm nan is not finite$"):
        run(model, train, report=poison)
    assert [report.step for report in told] == [1]


def test_a_gradient_that_is_not_finite_ends_the_trial_before_it_is_used(encoder: str, train: EncodedSplit) -> None:
    model = fresh(encoder, fusion="gate")
    model.head.linear.bias.register_hook(lambda gradient: gradient * math.inf)
    before = weights(model)
    with pytest.raises(DivergedError, match=r"^training: loss [0-9.]+ with gradient norm (inf|nan) is not finite$"):
        run(model, train)
    assert_same(weights(model), before)


@pytest.mark.parametrize(
    ("windows", "changes", "steps"),
    [
        (52, {}, AT),
        (320, {"batch_size": 32, "epochs": 3, "reports_per_trial": 6}, [5, 10, 15, 20, 25, 30]),
        (320, {"batch_size": 32, "epochs": 0.5, "reports_per_trial": 2}, [2, 5]),
        (1, {"batch_size": 32, "epochs": 0.01, "reports_per_trial": 1}, [1]),
        (33, {"batch_size": 32, "epochs": 2, "reports_per_trial": 4}, [1, 2, 3, 4]),
        (1000, {"batch_size": 1, "epochs": 10, "reports_per_trial": 3}, [3333, 6667, 10000]),
    ],
)
def test_reports_are_evenly_spaced_and_the_last_ends_the_budget(
    windows: int, changes: dict[str, Any], steps: list[int]
) -> None:
    assert report_steps(windows, replace(CONFIG, **changes)) == steps


def test_report_steps_increase_whatever_the_budget() -> None:
    for steps in range(1, 60):
        for reports in range(1, steps + 1):
            at = report_steps(steps, replace(CONFIG, batch_size=1, epochs=1, reports_per_trial=reports))
            assert len(set(at)) == reports
            assert at == sorted(at)
            assert (at[0] >= 1, at[-1]) == (True, steps)
            gaps = np.diff([0, *at])
            assert gaps.max() - gaps.min() <= 1


def test_more_reports_than_steps_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        report_steps(52, replace(CONFIG, epochs=0.5, reports_per_trial=6))
    assert str(caught.value) == (
        "reports_per_trial: 6 is not allowed; allowed: at most 4, the optimiser steps of 0.5 epochs over 52 windows "
        "in batches of 8"
    )


def test_the_number_of_steps_is_the_budget(encoder: str, train: EncodedSplit) -> None:
    steps = list[int]()
    reported = list[int]()
    with each_step(lambda optimizer: steps.append(1)):
        run(fresh(encoder), train, report=lambda report: reported.append(len(steps)))
    assert reported == AT
    assert len(steps) == AT[-1]


def test_every_epoch_has_every_window_once_in_an_order_of_its_own(
    encoder: str, train: EncodedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = list[list[int]]()

    def record(split: EncodedSplit, windows: NDArray[np.int64], pad: int) -> Batch:
        batches.append(windows.tolist())
        return collate(split, windows, pad)

    monkeypatch.setattr("dlfa.training.collate", record)
    run(fresh(encoder), train)
    epochs = [batches[start : start + 7] for start in range(0, 21, 7)]
    assert len(batches) == 21
    assert [sorted(window for batch in epoch for window in batch) for epoch in epochs] == [list(range(52))] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_bf16_is_close_to_float32(encoder: str, train: EncodedSplit) -> None:
    bf16 = Compute(torch.device("cpu"), bf16=True)
    expected = [r.metrics["train/loss"] for r in run(fresh(encoder), train)]
    rough = fresh(encoder)
    found = [r.metrics["train/loss"] for r in run(rough, train, compute=bf16)]
    assert found == pytest.approx(expected, rel=0.1)
    assert found != expected  # else autocast did nothing
    assert {tensor.dtype for tensor in rough.state_dict().values()} == {torch.float32}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in rough.state_dict().values())


@pytest.mark.parametrize("bf16", [True, False])
def test_bf16_on_a_cpu_trains_with_plain_attention(bf16: bool, still_encoder: str, train: EncodedSplit) -> None:
    called = set[str]()

    class Record(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            called.add(func.__name__)
            return func(*args, **(kwargs or {}))

    compute = Compute(torch.device("cpu"), bf16=bf16)
    with Record():  # type: ignore[no-untyped-call]
        run(fresh(still_encoder), train, replace(CONFIG, epochs=1, reports_per_trial=1), compute=compute)
    assert any("flash_attention" in name for name in called) != bf16


def test_a_step_takes_time(encoder: str, train: EncodedSplit) -> None:
    steps = list[float]()
    with each_step(lambda optimizer: steps.append(optimizer.param_groups[0]["lr"])):
        assert time_step(fresh(encoder), train, np.arange(8), CONFIG, FP32, PAD) > 0
    assert steps == [CONFIG.learning_rate] * 2  # one to allocate, and one that counts
