"""Distance of a new fusion from the baseline at step 0: its weights, and how far its output lies from the last layer.

    python benchmarks/start.py --encoder ENCODER --data DATA

Over the real tokens of the first training batches, in training mode, so with the statistics of each batch, and without
dropout; a new fusion for every seed. Per layer: the mean weight of the lower layer, |W'| (of the gate M, which starts
as the mean of both layers), the share of weights over 1, and the distance to the baseline, ||L - L2|| / ||L2|| over all
tokens: of all dimensions together (Frobenius norms), which a few with outlier activations may decide, and in the median
dimension.
"""

from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch
from pairs import parser, trial

from dlfa.data.batching import collate, training_batches
from dlfa.flags import COUNT
from dlfa.fusions import DLFA, FUSIONS, FusionShape, GatedFusion
from dlfa.model import encoder_shape, load_encoder
from dlfa.trial import open_corpus

NAMES = ("dlfa", "gate")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    flags = parser(__doc__)
    flags.add_argument("--batches", type=COUNT, default=4, help="training batches (default 4)")
    flags.add_argument("--seeds", type=COUNT, default=5, help="new fusions (default 5)")
    flags.add_argument("--ratio", type=COUNT, default=8, help="reduction ratio (default 8)")
    args = flags.parse_args(argv)
    states, mask_NT = _states(args)
    layers = len(states) - 1
    print("| layer | " + " | ".join(f"{name}: weight, over 1, distance, median" for name in NAMES) + " |")
    print("| --: |" + " :-- |" * len(NAMES))
    for layer in range(layers):
        cells = [
            _measured(
                name,
                FusionShape(
                    hidden_size=states[0].shape[-1], layers=layers, fusion_layer=layer, reduction_ratio=args.ratio
                ),
                (states[layer], states[layers]),
                mask_NT,
                args,
            )
            for name in NAMES
        ]
        print(f"| {layer} | {' | '.join(cells)} |", flush=True)


def _states(args: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return all hidden states of the first batches, each [windows, tokens, E], and their mask."""
    config = trial(args, eval_limit=1)
    corpus = open_corpus(config)
    train = corpus.split(config.data.source_language, "train")
    pad = int(corpus.tokenizer.pad_token_id or 0)
    batches = training_batches(train.lengths, config.training.batch_size, torch.Generator().manual_seed(1))
    batch = collate(train, torch.cat([torch.as_tensor(b) for b in batches[: args.batches]]).numpy(), pad)
    encoder = load_encoder(config.model.encoder)
    with torch.inference_mode():
        found = encoder(
            input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, output_hidden_states=True
        ).hidden_states
    assert len(found) == encoder_shape(config.model.encoder).layers + 1
    return list(found), batch.attention_mask_BT


def _measured(
    name: str, shape: FusionShape, pair: tuple[torch.Tensor, torch.Tensor], mask_NT: torch.Tensor, args: Any
) -> str:
    size = len(mask_NT) // args.batches
    real_NT = mask_NT.bool()
    weights, distances, medians = [], [], []
    for seed in range(args.seeds):
        for start in range(0, size * args.batches, size):
            torch.manual_seed(seed)
            module = FUSIONS[name].build(shape)
            part = slice(start, start + size)
            lower, last, mask, real = pair[0][part], pair[1][part], mask_NT[part], real_NT[part]
            with torch.inference_mode():
                if isinstance(module, DLFA):
                    weights.append(module.aif((lower + last) / 2, mask)[real])
                elif isinstance(module, GatedFusion):
                    weights.append(module.gate((lower + last) / 2, mask)[real])
                fused = module(lower, last, attention_mask_BT=mask)
            away, own = (fused - last)[real], last[real]
            distances.append((away.norm() / own.norm()).item())
            medians.append((away.norm(dim=0) / own.norm(dim=0)).median().item())
    weight = torch.cat(weights).abs() if weights else torch.tensor([0.5])
    over = (weight > 1).float().mean().item()
    return f"{weight.mean().item():.3f}, {over:.1%}, {mean(distances):.2f}, {mean(medians):.2f}"


if __name__ == "__main__":
    main()
