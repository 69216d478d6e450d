"""The whole model, put together from a configuration.

Shapes: B windows, T tokens, W labelled positions, E hidden size, L layers, C labels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dlfa.config import ModelConfig
from dlfa.errors import ConfigError
from dlfa.fusions import FUSIONS, FusionShape
from dlfa.model.encoder import EncoderShape, encoder_shape, load_encoder
from dlfa.model.heads import HEADS, PairHead, TaggingHead
from dlfa.tasks import Kind

__all__ = ["Classifier", "build_model"]


class Classifier(nn.Module):
    """An encoder whose hidden states, fused, are read by a head at some positions.

    Args:
        encoder: A Hugging Face encoder with L + 1 hidden states.
        fusion: Makes what the head reads out of hidden states: see `dlfa.fusions`.
        reads: Indices of the hidden states that the fusion reads, ascending; 0 is the embedding layer's output, and
            the last one is L.
        head: From hidden states at labelled positions to logits.
        kind: Form of the examples that the head is for.
        labels: Names of the labels, in the order of the logits.
    """

    def __init__(
        self,
        *,
        encoder: PreTrainedModel,
        fusion: nn.Module,
        reads: Sequence[int],
        head: TaggingHead | PairHead,
        kind: Kind,
        labels: Sequence[str],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.fusion = fusion
        self.reads = tuple(reads)
        self.head = head
        self.kind = kind
        self.labels = tuple(labels)
        # XLM-R has one type for all pieces, DistilBERT and ModernBERT have none.
        self._has_token_types = getattr(encoder.config, "type_vocab_size", 0) > 1

    def forward(
        self,
        input_ids_BT: Tensor,
        attention_mask_BT: Tensor,
        token_types_BT: Tensor,
        row_W: Tensor,
        column_W: Tensor,
    ) -> Tensor:
        """Return logits at the given positions, float32, as WC.

        The arguments are those of `states`.
        """
        return self.logits(self.states(input_ids_BT, attention_mask_BT, token_types_BT, row_W, column_W))

    def states(
        self,
        input_ids_BT: Tensor,
        attention_mask_BT: Tensor,
        token_types_BT: Tensor,
        row_W: Tensor,
        column_W: Tensor,
    ) -> Tensor:
        """Return what the head reads, the fusion's output L at the given positions, float32, as WE.

        Args:
            input_ids_BT: Pieces.
            attention_mask_BT: 0 where a piece is padding.
            token_types_BT: Which sentence of a pair a piece belongs to; not looked at by encoders without them.
            row_W: Window of each labelled position.
            column_W: Its token.
        """
        inputs = {"input_ids": input_ids_BT, "attention_mask": attention_mask_BT}
        if self._has_token_types:
            inputs["token_type_ids"] = token_types_BT
        if len(self.reads) == 1:  # the last layer's alone: the others need not be kept
            states = [self.encoder(**inputs).last_hidden_state]
        else:
            hidden_states = self.encoder(**inputs, output_hidden_states=True).hidden_states
            states = [hidden_states[index] for index in self.reads]
        h_BTE: Tensor = self.fusion(*states, attention_mask_BT=attention_mask_BT)
        return h_BTE[row_W, column_W].float()

    def logits(self, h_WE: Tensor) -> Tensor:
        """Return the logits of states, as WC.

        Args:
            h_WE: As `states` returns them.
        """
        # In bf16 the best two of many labels are often equal, and the lower index would win.
        with torch.autocast(h_WE.device.type, enabled=False):
            logits_WC: Tensor = self.head(h_WE)
        return logits_WC

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the pretrained parameters."""
        return list(self.encoder.parameters())

    def new_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that no pretraining has seen: the fusion's and the head's."""
        return [*self.fusion.parameters(), *self.head.parameters()]


def build_model(config: ModelConfig, kind: Kind, labels: Sequence[str]) -> Classifier:
    """Return a model on the CPU, in training mode: a pretrained encoder with new layers.

    The new layers come from torch's global generator, which the caller seeds. The head is drawn first, so
    that one seed gives the baseline and every fusion the same head.

    Args:
        config: Encoder and fusion.
        kind: Form of the examples: decides the head.
        labels: Names of the labels, in the order of the logits.

    Raises:
        ConfigError: If the encoder cannot be loaded, or has no such layer or too few hidden units.
    """
    shape = encoder_shape(config.encoder)
    _require_fit(config, shape)
    encoder = load_encoder(config.encoder)
    spread = getattr(encoder.config, "initializer_range", 0.02)
    head = HEADS[kind](shape.hidden_size, len(labels), config.dropout, initializer_range=spread)
    sizes = FusionShape(
        hidden_size=shape.hidden_size,
        layers=shape.layers,
        fusion_layer=config.fusion_layer,
        reduction_ratio=config.reduction_ratio,
    )
    fusion = FUSIONS[config.fusion]
    model = Classifier(
        encoder=encoder, fusion=fusion.build(sizes), reads=fusion.reads(sizes), head=head, kind=kind, labels=labels
    )
    return model.train()


def _require_fit(config: ModelConfig, shape: EncoderShape) -> None:
    """Raise one ConfigError for everything that this encoder is too small for."""
    layer, ratio, wrong = config.fusion_layer, config.reduction_ratio, []
    if layer is not None and layer >= shape.layers:
        wrong.append(
            f"--fusion-layer (fusion_layer): {layer} is not allowed; allowed: 0..{shape.layers - 1}, "
            f"the layers below the last of encoder {config.encoder!r}"
        )
    if ratio is not None and ratio > shape.hidden_size:
        wrong.append(
            f"--reduction-ratio (reduction_ratio): {ratio} is not allowed; allowed: 1..{shape.hidden_size}, "
            f"the hidden size of encoder {config.encoder!r}"
        )
    if wrong:
        raise ConfigError("; ".join(wrong))
