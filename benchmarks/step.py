"""What a step of training or evaluation costs, against the least that it could: real tokens per second and padding.

    python benchmarks/step.py --encoder ENCODER --data DATA --train-limit 600

The least is a bare loop: the same batches, already tensors, through the same model in the same precision, and nothing
else. For training that is forward pass, cross-entropy, backward pass and AdamW, on the same rows of the table and with
the same attention, without clipping and without a look at the loss; for evaluation forward pass and argmax. Ours are
`dlfa.training.fit` and `dlfa.evaluation.predict_all`. Fusions are compared to the baseline, both ours. Two processes at
a time take turns, step by step, so that both meet the same noise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from pairs import Laps, Quartiles, Stopwatch, parser, take_turns, trial

from dlfa.config import ModelConfig, TrialConfig
from dlfa.flags import COUNT
from dlfa.fusions import BASELINE, FUSIONS
from dlfa.tasks import TASKS

if TYPE_CHECKING:
    import torch

    from dlfa.compute import Compute
    from dlfa.data.cache import Corpus
    from dlfa.data.encode import EncodedSplit
    from dlfa.model import Classifier

WARM_UP = 2
"""Training steps that also allocate; not counted."""

LAYER, RATIOS = 1, (16, 2)
"""The layer that is fused, and reduction ratios: narrow branches and wide ones."""

GOAL = "goal 0.95"


@dataclass(frozen=True)
class Seen:
    """What passed through the model, step by step."""

    pieces: list[int]
    positions: list[int]
    """Pieces and padding."""


Side = Callable[[Stopwatch], Seen]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    flags = parser(__doc__)
    flags.add_argument("--eval-limit", type=COUNT, default=40, help="examples of each test set (default 40)")
    flags.add_argument("--passes", type=COUNT, default=5, help="passes over the test sets that are timed (default 5)")
    flags.add_argument("--only", choices=["training", "evaluation"], help="measure half of it")
    args = flags.parse_args(argv)
    config = trial(args, args.eval_limit)
    baseline = replace(config, model=ModelConfig(encoder=config.model.encoder, fusion=BASELINE))
    fused = {name: replace(config, model=model) for name, model in _fusions(config.model.encoder).items()}

    if args.only != "evaluation":
        ours, bare = partial(train_steps, baseline, args.steps), partial(_train_bare, baseline, args.steps)
        _say("training against the bare loop (goal 0.95)", ours, bare, padding_of="training batches", warm_up=WARM_UP)
        for name, other in fused.items():
            what = f"training {name} against the baseline ({GOAL})"
            _say(what, partial(train_steps, other, args.steps), ours, warm_up=WARM_UP)
    if args.only != "training":
        ours, bare = partial(_evaluate, baseline), partial(_evaluate_bare, baseline)
        _say("evaluation against the bare loop (goal 0.95)", ours, bare, padding_of="evaluation batches")
        for name, other in fused.items():
            _say(f"evaluating {name} against the baseline ({GOAL})", partial(_evaluate, other), ours)
        one_pass, each = partial(_passes, baseline, args.passes, True), partial(_passes, baseline, args.passes, False)
        _say("evaluation of all languages at once against each in batches of 8,192 pieces", one_pass, each)


def _fusions(encoder: str) -> dict[str, ModelConfig]:
    """Return every fusion but the baseline, at each ratio that is measured if it has one."""
    found = {}
    for name, fusion in FUSIONS.items():
        ratios = RATIOS if "reduction_ratio" in fusion.parameters else (None,)
        for ratio in ratios if name != BASELINE else ():
            model = ModelConfig(
                encoder=encoder,
                fusion=name,
                fusion_layer=LAYER if fusion.has_layer else None,
                reduction_ratio=ratio,
            )
            found[name if ratio is None else f"{name} at ratio {ratio}"] = model
    return found


def _say(what: str, one: Side, other: Side, *, padding_of: str = "", warm_up: int = 0) -> None:
    """Let two sides take turns over the same batches and print the ratio of their speeds."""
    (seen, same), (ours, others) = take_turns([one, other], warm_up)
    assert seen.pieces == same.pieces, "both sides read the same"
    if padding_of:
        print(f"{padding_of}: {len(seen.pieces)}, {1 - sum(seen.pieces) / sum(seen.positions):.1%} padding")
    wall = Quartiles.of([step.wall for step in others], [step.wall for step in ours])
    cpu = Quartiles.of([step.cpu for step in others], [step.cpu for step in ours])
    speeds = [sum(seen.pieces[warm_up:]) / sum(step.wall for step in side) for side in (ours, others)]
    print(
        f"{what}: {wall.median:.3f} times the real tokens per second, in the median of {len(ours)} pairs ("
        f"quartiles {wall.low:.3f} to {wall.high:.3f}); by CPU time {cpu.median:.3f} ({cpu.low:.3f} to {cpu.high:.3f})"
        f"; {speeds[0]:,.0f} and {speeds[1]:,.0f} tokens/s",
        flush=True,
    )


@dataclass(frozen=True)
class _Case:
    """A configuration made ready, in the process that runs it."""

    config: TrialConfig
    compute: "Compute"
    corpus: "Corpus"
    pad: int
    model: "Classifier"

    @classmethod
    def of(cls, config: TrialConfig) -> "_Case":
        import torch

        from dlfa.compute import choose
        from dlfa.model import build_model
        from dlfa.trial import open_corpus

        task, compute, corpus = TASKS[config.task], choose(config.compute), open_corpus(config)
        torch.manual_seed(config.seed)
        model = build_model(config.model, task.kind, task.labels)
        return cls(config, compute, corpus, int(corpus.tokenizer.pad_token_id or 0), model)

    def train(self) -> "EncodedSplit":
        return self.corpus.split(self.config.data.source_language, "train")

    def tests(self) -> "dict[str, EncodedSplit]":
        from dlfa.trial import sets_read

        return {
            language: self.corpus.split(language, "test") for language in sets_read(self.config, self.corpus)["test"]
        }

    def watch(self) -> "list[torch.Tensor]":
        """Return the attention masks of all batches from now on; filled while the model runs."""
        masks: list[torch.Tensor] = []
        self.model.register_forward_pre_hook(lambda module, inputs: masks.append(inputs[1]))
        return masks


def _seen(masks_BT: "Sequence[torch.Tensor]") -> Seen:
    return Seen([int(mask_BT.sum()) for mask_BT in masks_BT], [mask_BT.numel() for mask_BT in masks_BT])


def train_steps(config: TrialConfig, steps: int, watch: Laps) -> Seen:
    """Train as a trial does."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from dlfa.training import fit, small_table

    case = _Case.of(config)
    train, masks = case.train(), case.watch()
    epochs = (steps + WARM_UP) / math.ceil(len(train.lengths) / config.training.batch_size)
    training = replace(config.training, epochs=epochs)
    with small_table(case.model, train, training, case.pad):
        case.model.to(case.compute.device)
        hook = register_optimizer_step_post_hook(watch.lap)
        watch.lap()
        fit(
            case.model,
            train,
            training,
            case.compute,
            seed=config.seed,
            pad=case.pad,
            evaluate=lambda: (0.0, {}),
            report=lambda report: None,
        )
        hook.remove()
    return _seen(masks)


def _train_bare(config: TrialConfig, steps: int, watch: Stopwatch) -> Seen:
    """Train on the batches that `fit` trains on, and do no more than that."""
    import torch
    from torch.nn.functional import cross_entropy

    from dlfa.data.batching import collate
    from dlfa.training import _attention, _batches, small_table

    case = _Case.of(config)
    train, masks = case.train(), case.watch()
    order = islice(_batches(train, config.training.batch_size, config.seed, skip=0), steps + WARM_UP)
    batches = [collate(train, windows, case.pad).to(case.compute.device) for windows in order]
    with small_table(case.model, train, config.training, case.pad):
        case.model.to(case.compute.device)
        optimizer = torch.optim.AdamW(
            case.model.parameters(), lr=config.training.learning_rate, weight_decay=0.0, fused=True
        )
        watch.lap()
        for batch in batches:
            optimizer.zero_grad()
            with case.compute.autocast(), _attention(case.compute):
                logits_WC = case.model(*batch.inputs())
            cross_entropy(logits_WC, batch.labels_W).backward()
            optimizer.step()
            watch.lap()
    return _seen(masks)


def _evaluate(config: TrialConfig, watch: Stopwatch) -> Seen:
    """Predict the test sets as a trial does; a step is from one forward pass's end to the next one's."""
    from dlfa.evaluation import predict_all

    case = _Case.of(config)
    tests = case.tests()
    batches = _evaluated(case, tests)
    _warm(case, batches[0])
    masks = case.watch()
    hook = case.model.register_forward_hook(watch.lap)
    watch.lap()
    predict_all(case.model, tests, case.compute, case.pad)
    hook.remove()
    return _seen(masks)


def _evaluate_bare(config: TrialConfig, watch: Stopwatch) -> Seen:
    """Predict the batches that `predict_all` predicts, and do no more than that."""
    import torch

    case = _Case.of(config)
    batches = _evaluated(case, case.tests())
    _warm(case, batches[0])
    masks = case.watch()
    case.model.register_forward_hook(watch.lap)
    watch.lap()
    with torch.inference_mode():
        for inputs in batches:
            with case.compute.autocast():
                logits_WC = case.model(*inputs)
            logits_WC.argmax(-1)
    return _seen(masks)


def _evaluated(case: _Case, tests: "dict[str, EncodedSplit]") -> "list[tuple[torch.Tensor, ...]]":
    """Return what `predict_all` gives to a model, batch by batch."""
    import torch

    from dlfa.evaluation import predict_all

    class Recorder(torch.nn.Module):
        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            batches.append(inputs)
            return torch.zeros(len(inputs[3]), 1, device=inputs[3].device)

    batches: list[tuple[torch.Tensor, ...]] = []
    predict_all(Recorder(), tests, case.compute, case.pad)
    return batches


def _warm(case: _Case, inputs: "tuple[torch.Tensor, ...]") -> None:
    """Move the model to its device and let it allocate what the largest batch takes."""
    import torch

    case.model.eval().to(case.compute.device)
    with torch.inference_mode(), case.compute.autocast():
        case.model(*inputs)


def _passes(config: TrialConfig, passes: int, together: bool, watch: Stopwatch) -> Seen:
    """Predict the test sets several times; a step is a pass over them."""
    from dlfa.evaluation import predict, predict_all

    case = _Case.of(config)
    tests = case.tests()
    _warm(case, _evaluated(case, tests)[0])
    watch.lap()
    for _ in range(passes):
        if together:
            predict_all(case.model, tests, case.compute, case.pad)
        else:
            for split in tests.values():
                predict(case.model, split, case.compute, case.pad, max_pieces=8192)
        watch.lap()
    pieces = sum(len(split.input_ids) for split in tests.values())
    return Seen([pieces] * passes, [pieces] * passes)


if __name__ == "__main__":
    main()
