"""The loop in which a student learns its teacher's states.

B sentences, T pieces, S spans, D student's hidden size, L layers.
"""

import logging
import random
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertModel

from dlfa.checkpoint import CheckpointFile
from dlfa.embedded.distillation.states import Lesson, Lessons, batches, span_means

__all__ = ["Recipe", "fit"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the student learns."""

    steps: int = 4000
    pieces_per_batch: int = 1024
    learning_rate: float = 1.5e-4
    warmup: int = 200
    decay: float = 0.4
    """The last share of the steps, over which the learning rate falls to zero."""
    averaging: float = 0.998
    """How much of the running average of the weights, which is the result, every step keeps."""
    weight_decay: float = 0.01
    similarity: float = 0.15
    """Weight of the loss on similarities of sentences."""
    temperature: float = 0.1
    """Of those similarities."""
    seed: int = 1
    save_every: int = 250


def fit(student: BertModel, lessons: Lessons, recipe: Recipe, checkpoint: CheckpointFile) -> None:
    """Train a student in place, going on from the checkpoint where there is one; it ends with averaged weights.

    Where the checkpoint has done all steps already, its averaged weights are what the student gets.

    Args:
        student: The student as initialised.
        lessons: What it learns.
        recipe: How.
        checkpoint: Saved every so many steps and at the end.
    """
    optimizer = torch.optim.AdamW(
        student.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=(0.9, 0.98),
        eps=1e-6,
        fused=True,
    )
    weights: list[Tensor] = list(student.parameters())
    average = [weight.detach().clone() for weight in weights]
    first = _restore(student, average, optimizer, checkpoint)
    student.train()
    seen, began = 0, time.monotonic()
    losses = defaultdict[str, float](float)
    for step, rows in enumerate(_schedule(lessons, recipe)):
        if step >= recipe.steps:
            break
        if step < first:
            continue
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _rate(step, recipe)
        batch = [lessons[row] for row in rows]
        parts = _losses(student, batch, recipe)
        loss = parts["states"] + recipe.similarity * parts["similarity"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch._foreach_lerp_(average, weights, 1 - min(recipe.averaging, (1 + step) / (10 + step)))
        for name, part in parts.items():
            losses[name] += float(part.detach())
        seen += sum(len(lesson.ids) for lesson in batch)
        if (step + 1) % 50 == 0:
            text = " ".join(f"{name} {total / 50:.4f}" for name, total in losses.items())
            _LOG.info("step %d: %s, %d pieces/s", step + 1, text, seen / (time.monotonic() - began))
            losses.clear()
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.steps:
            _save(student, average, optimizer, checkpoint, step + 1, recipe)
    with torch.no_grad():
        torch._foreach_copy_(weights, average)


def _losses(student: BertModel, lessons: list[Lesson], recipe: Recipe) -> dict[str, Tensor]:
    pad = int(student.config.pad_token_id or 0)
    longest = max(len(lesson.ids) for lesson in lessons)
    ids_BT = torch.full((len(lessons), longest), pad)
    spans_BT = torch.zeros_like(ids_BT)
    count = 0
    for row, lesson in enumerate(lessons):
        ids_BT[row, : len(lesson.ids)] = torch.from_numpy(lesson.ids)
        spans_BT[row, : len(lesson.ids)] = torch.from_numpy(lesson.spans) + count
        count += len(lesson.states)
    mask_BT = ids_BT.ne(pad)
    hidden = student(input_ids=ids_BT, attention_mask=mask_BT.long(), output_hidden_states=True).hidden_states
    states_LND = torch.stack(hidden)[:, mask_BT]
    targets_SLD = torch.cat([torch.from_numpy(lesson.states.copy()).float() for lesson in lessons])
    layers, _, size = states_LND.shape
    means = span_means(states_LND.transpose(0, 1).flatten(1), spans_BT[mask_BT], count).view(count, layers, size)
    per_layer = (means - targets_SLD).square().mean(dim=(0, 2))

    # The last layer is read most, alone and in every fusion.
    weights = torch.ones(layers)
    weights[-1] = 3.0
    parts = {"states": (weights * per_layer).sum() / weights.sum(), "last": per_layer[-1].detach()}

    owner_N = torch.arange(len(lessons)).repeat_interleave(mask_BT.sum(1))
    ours = functional.normalize(span_means(states_LND[-1], owner_N, len(lessons)), dim=-1)
    theirs = torch.stack([torch.from_numpy(lesson.sentence.copy()).float() for lesson in lessons])
    theirs = functional.normalize(theirs, dim=-1)
    itself = torch.eye(len(lessons), dtype=torch.bool)
    logits = [(v @ v.T / recipe.temperature).masked_fill(itself, -1e4) for v in (ours, theirs)]
    parts["similarity"] = functional.kl_div(
        logits[0].log_softmax(-1), logits[1].log_softmax(-1), log_target=True, reduction="batchmean"
    )
    return parts


def _schedule(lessons: Lessons, recipe: Recipe) -> Iterator[list[int]]:
    """Yield batches for ever: lessons of like length together, translations in one batch."""
    members = defaultdict[str, list[int]](list)
    for number, group in enumerate(lessons.groups):
        members[group].append(number)
    epoch = 0
    while True:
        chance = random.Random(f"{recipe.seed}-{epoch}")
        units = list(members.values())
        lengths = [max(map(lessons.length, unit)) * chance.uniform(0.8, 1.25) for unit in units]
        order = sorted(range(len(units)), key=lengths.__getitem__)
        rows = [row for number in order for row in units[number]]
        cut = list(batches(rows, [lessons.length(row) for row in rows], recipe.pieces_per_batch))
        chance.shuffle(cut)
        yield from cut
        epoch += 1


def _rate(step: int, recipe: Recipe) -> float:
    left = (recipe.steps - step) / max(1.0, recipe.steps * recipe.decay)
    return min(1.0, (step + 1) / recipe.warmup, left)


def _save(
    student: BertModel,
    average: list[Tensor],
    optimizer: torch.optim.Optimizer,
    checkpoint: CheckpointFile,
    step: int,
    recipe: Recipe,
) -> None:
    tensors: dict[str, Tensor] = {f"weight.{number}": weight for number, weight in enumerate(student.parameters())}
    tensors |= {f"average.{number}": weight for number, weight in enumerate(average)}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
    checkpoint.save(tensors, {"step": step, "recipe": asdict(recipe)})


def _restore(
    student: BertModel, average: list[Tensor], optimizer: torch.optim.Optimizer, checkpoint: CheckpointFile
) -> int:
    saved = checkpoint.load()
    if saved is None:
        return 0
    tensors, facts = saved
    with torch.no_grad():
        for number, (weight, mean) in enumerate(zip(student.parameters(), average, strict=True)):
            weight.copy_(tensors[f"weight.{number}"])
            mean.copy_(tensors[f"average.{number}"])
    state = defaultdict[int, dict[str, Tensor]](dict)
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number_text, key = name.split(".")
            state[int(number_text)][key] = tensor
    optimizer.load_state_dict({"state": dict(state), "param_groups": optimizer.state_dict()["param_groups"]})
    return int(facts["step"])
