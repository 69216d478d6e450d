"""The method as a network: encoders, the fusion of their layers, and heads."""

from dlfa.fusions import AIF, DLFA
from dlfa.model.build import Classifier, build_model
from dlfa.model.encoder import (
    EncoderShape,
    check_weights,
    encoder_fingerprint,
    encoder_shape,
    load_encoder,
    load_tokenizer,
)
from dlfa.model.heads import PairHead, TaggingHead
from dlfa.model.persistence import load_model, save_model, saved_window
from dlfa.model.table import restricted_table

__all__ = [
    "AIF",
    "DLFA",
    "Classifier",
    "EncoderShape",
    "PairHead",
    "TaggingHead",
    "build_model",
    "check_weights",
    "encoder_fingerprint",
    "encoder_shape",
    "load_encoder",
    "load_model",
    "load_tokenizer",
    "restricted_table",
    "save_model",
    "saved_window",
]
