"""Configurations from mappings, with every error at once."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dlfa.config import (
    ComputeConfig,
    DataConfig,
    ModelConfig,
    TrainingConfig,
    TrialConfig,
    from_mapping,
    to_mapping,
)
from dlfa.errors import ConfigError, DlfaError

CONFIGS = (DataConfig, ModelConfig, TrainingConfig, ComputeConfig, TrialConfig)
MINIMAL = {
    "task": "udpos",
    "data": {"path": "treebanks", "cache": "cache"},
    "model": {"encoder": "encoder", "fusion": "none"},
}
FULL = TrialConfig(
    task="udpos",
    data=DataConfig(
        path="treebanks",
        cache="cache",
        source_language="fr",
        languages=("de", "fi"),
        max_length=64,
        train_limit=100,
        eval_limit=10,
        aligned=False,
        fingerprints={"fr train": "ab"},
    ),
    model=ModelConfig(encoder="encoder", fusion_layer=0, reduction_ratio=16, dropout=0.0),
    training=TrainingConfig(
        learning_rate=3e-5,
        head_learning_rate=1e-3,
        epochs=0.5,
        batch_size=16,
        micro_batch_size=4,
        weight_decay=0.01,
        warmup_fraction=0.1,
        max_grad_norm=0.5,
        reports_per_trial=3,
        checkpoint_every=0,
        checkpoint_seconds=1.5,
    ),
    compute=ComputeConfig(device="cpu", precision="fp32", threads=2),
    select_on="targets",
    seed=0,
)


def refusal(cls: type[object], mapping: object, where: str = "") -> str:
    with pytest.raises(ConfigError) as caught:
        from_mapping(cls, mapping, where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_round_trip_through_json_and_yaml() -> None:
    mapping = to_mapping(FULL)
    assert from_mapping(TrialConfig, mapping) == FULL
    assert from_mapping(TrialConfig, json.loads(json.dumps(mapping))) == FULL
    assert from_mapping(TrialConfig, yaml.safe_load(yaml.safe_dump(mapping))) == FULL
    # A field without a non-default value above would not be tested.
    defaults = to_mapping(from_mapping(TrialConfig, MINIMAL))
    for section in ("data", "model", "training", "compute"):
        same = {name for name in mapping[section] if mapping[section][name] == defaults[section][name]}
        assert same <= {"path", "cache", "encoder"}


def test_defaults_are_those_of_the_dataclasses() -> None:
    assert from_mapping(TrialConfig, MINIMAL) == TrialConfig(
        task="udpos",
        data=DataConfig(path="treebanks", cache="cache"),
        model=ModelConfig(encoder="encoder", fusion="none"),
    )


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.seed = 2  # type: ignore[misc]


@pytest.mark.parametrize("value", [True, False, None])
def test_truth_values(value: bool | None) -> None:
    data = from_mapping(DataConfig, {"path": "p", "cache": "c", "aligned": value})
    assert data.aligned is value
    assert from_mapping(DataConfig, to_mapping(data)) == data


@pytest.mark.parametrize("value", ["true", 1, 0.0, [True]])
def test_what_is_no_truth_value(value: object) -> None:
    message = refusal(DataConfig, {"path": "p", "cache": "c", "aligned": value})
    assert message == f"aligned: {value!r} is not allowed; allowed: true or false"


def test_every_error_in_one_message() -> None:
    mapping = {
        "data": {"path": 3, "max_lenght": 64, "languages": "de"},
        "model": {"encoder": "encoder", "fusion": "none", "fusion_layer": 2, "dropout": 1},
        "training": {"epochs": 0, "bogus": 1, "batch_size": 0},
        "compute": "cpu",
        "select_on": "source",
        "seed": -1,
        "sed": 4,
    }
    assert refusal(TrialConfig, mapping).split("; ") == [
        "sed: unknown field (did you mean seed?)",
        "allowed: task, data, model, training, compute, select_on, seed",
        "data.max_lenght: unknown field (did you mean max_length?)",
        "allowed: path, cache, source_language, languages, max_length, train_limit, eval_limit, aligned, fingerprints",
        "data.path: 3 is not allowed",
        "allowed: text",
        "data.languages: 'de' is not allowed",
        "allowed: a list of strings",
        "data.cache: missing",
        "model: fusion_layer: 2 is not allowed",
        "allowed: no value, because fusion is none",
        "dropout: 1.0 is not allowed",
        "allowed: in [0, 1)",
        "training.bogus: unknown field",
        "allowed: " + ", ".join(field.name for field in dataclasses.fields(TrainingConfig)),
        "training: epochs: 0.0 is not allowed",
        "allowed: more than 0, at most 10000",
        "batch_size: 0 is not allowed",
        "allowed: at least 1",
        "compute: 'cpu' is not allowed",
        "allowed: fields with values",
        "task: missing",
        "seed: -1 is not allowed",
        "allowed: in 0..2147483647",
    ]


def test_messages_begin_with_the_file() -> None:
    message = refusal(TrainingConfig, {"epoch": 3, "batch_size": "many"}, "space.yaml.training")
    assert message.startswith("space.yaml.training.epoch: unknown field (did you mean epochs?); allowed: ")
    assert message.endswith("space.yaml.training.batch_size: 'many' is not allowed; allowed: a whole number")
    assert refusal(TrainingConfig, {"seed": 0, "epochs": 0.0}, "a.yaml").endswith(
        "; a.yaml: epochs: 0.0 is not allowed; allowed: more than 0, at most 10000"
    )


@pytest.mark.parametrize("mapping", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(mapping: object) -> None:
    assert refusal(DataConfig, mapping) == (f"DataConfig: {mapping!r} is not allowed; allowed: fields with values")
    assert refusal(DataConfig, mapping, "a.yaml") == (
        f"a.yaml: {mapping!r} is not allowed; allowed: fields with values"
    )


def test_numbers_that_yaml_reads_as_text_count() -> None:
    mapping = yaml.safe_load("{learning_rate: 2e-5, weight_decay: 0, epochs: 3}")
    assert mapping["learning_rate"] == "2e-5"  # else this test is about nothing
    config = from_mapping(TrainingConfig, mapping)
    assert (config.learning_rate, config.weight_decay, config.epochs) == (2e-5, 0.0, 3.0)
    assert isinstance(config.epochs, float)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"batch_size": True}, "batch_size: True is not allowed; allowed: a whole number"),
        ({"batch_size": 32.0}, "batch_size: 32.0 is not allowed; allowed: a whole number"),
        ({"batch_size": "32"}, "batch_size: '32' is not allowed; allowed: a whole number"),
        ({"batch_size": None}, "batch_size: None is not allowed; allowed: a whole number"),
        ({"micro_batch_size": False}, "micro_batch_size: False is not allowed; allowed: a whole number"),
        ({"epochs": True}, "epochs: True is not allowed; allowed: a number"),
        ({"epochs": []}, "epochs: [] is not allowed; allowed: a number"),
        ({"epochs": "ten"}, "epochs: 'ten' is not allowed; allowed: a finite number"),
        ({"epochs": ".inf"}, "epochs: '.inf' is not allowed; allowed: a finite number"),
        ({"epochs": float("nan")}, "epochs: nan is not allowed; allowed: a finite number"),
        ({"epochs": 10**400}, f"epochs: {10**400} is not allowed; allowed: a finite number"),
        ({"epochs": 10_001}, "epochs: 10001.0 is not allowed; allowed: more than 0, at most 10000"),
        ({"learning_rate": 0}, "learning_rate: 0.0 is not allowed; allowed: in (0, 1)"),
        ({"learning_rate": 1}, "learning_rate: 1.0 is not allowed; allowed: in (0, 1)"),
        ({"head_learning_rate": 0}, "head_learning_rate: 0.0 is not allowed; allowed: in (0, 1)"),
        ({"micro_batch_size": 33}, "micro_batch_size: 33 is not allowed; allowed: in 1..batch_size"),
        ({"micro_batch_size": 0}, "micro_batch_size: 0 is not allowed; allowed: in 1..batch_size"),
        ({"weight_decay": -0.1}, "weight_decay: -0.1 is not allowed; allowed: in [0, 1)"),
        ({"warmup_fraction": 1}, "warmup_fraction: 1.0 is not allowed; allowed: in [0, 1)"),
        ({"max_grad_norm": 0}, "max_grad_norm: 0.0 is not allowed; allowed: more than 0"),
        ({"reports_per_trial": 0}, "reports_per_trial: 0 is not allowed; allowed: at least 1"),
        ({"checkpoint_every": -1}, "checkpoint_every: -1 is not allowed; allowed: at least 0"),
        ({"checkpoint_seconds": -0.5}, "checkpoint_seconds: -0.5 is not allowed; allowed: at least 0"),
        ({3: 4}, f"3: unknown field; allowed: {', '.join(f.name for f in dataclasses.fields(TrainingConfig))}"),
    ],
)
def test_training_values_that_are_not_allowed(mapping: Mapping[Any, Any], message: str) -> None:
    assert refusal(TrainingConfig, mapping) == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_length": 7}, "max_length: 7 is not allowed; allowed: a whole number of pieces, at least 8"),
        ({"train_limit": 0}, "train_limit: 0 is not allowed; allowed: at least 1 sentence"),
        ({"eval_limit": 0}, "eval_limit: 0 is not allowed; allowed: at least 1 sentence"),
        ({"source_language": ""}, "source_language: '' is not allowed; allowed: an ISO language code"),
        ({"languages": ["de", 3]}, "languages: ['de', 3] is not allowed; allowed: a list of strings"),
    ],
)
def test_data_values_that_are_not_allowed(fields: dict[str, object], message: str) -> None:
    assert refusal(DataConfig, {"path": "treebanks", "cache": "cache", **fields}) == message


LAYER = "allowed: a layer, at least 0"
RATIO = "allowed: a whole number, at least 1"
NOTHING = "allowed: no value, because fusion is none"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, f"fusion_layer: None is not allowed; {LAYER}; reduction_ratio: None is not allowed; {RATIO}"),
        ({"fusion_layer": 2}, f"reduction_ratio: None is not allowed; {RATIO}"),
        ({"fusion_layer": -1, "reduction_ratio": 4}, f"fusion_layer: -1 is not allowed; {LAYER}"),
        ({"fusion_layer": 2, "reduction_ratio": 0}, f"reduction_ratio: 0 is not allowed; {RATIO}"),
        ({"fusion": "none", "fusion_layer": 0}, f"fusion_layer: 0 is not allowed; {NOTHING}"),
        ({"fusion": "none", "reduction_ratio": 4}, f"reduction_ratio: 4 is not allowed; {NOTHING}"),
        (
            {"fusion": "dfla"},
            "fusion: 'dfla' is not allowed (did you mean dlfa?); allowed: none, dlfa, gate, mean, scalar_mix",
        ),
        ({"fusion": None}, "fusion: None is not allowed; allowed: text"),
        ({"fusion": "none", "dropout": 1.0}, "dropout: 1.0 is not allowed; allowed: in [0, 1)"),
    ],
)
def test_layer_and_ratio_belong_to_the_fusion(fields: dict[str, Any], message: str) -> None:
    assert refusal(ModelConfig, {"encoder": "encoder", **fields}) == message


def test_constructors_check_too() -> None:
    with pytest.raises(ConfigError, match=r"^seed: -1 is not allowed; allowed: in 0\.\.2147483647$"):
        dataclasses.replace(FULL, seed=-1)
    with pytest.raises(ConfigError, match=r"^threads: 0 is not allowed; allowed: at least 1$"):
        ComputeConfig(threads=0)
    assert issubclass(ConfigError, DlfaError)
    assert issubclass(ConfigError, ValueError)


@dataclass(frozen=True, kw_only=True)
class Noted:
    notes: Mapping[str, Any]


def test_a_mapping_without_known_fields_is_kept_as_it_is() -> None:
    assert from_mapping(Noted, {"notes": {"python": "3.11", "files": {"en": 1}}}) == Noted(
        notes={"python": "3.11", "files": {"en": 1}}
    )
    assert refusal(Noted, {"notes": "3.11"}) == "notes: '3.11' is not allowed; allowed: fields with values"


def test_a_constructor_that_is_broken_is_no_error_of_the_user() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Broken:
        size: int = 1

        def __post_init__(self) -> None:
            raise TypeError("a bug")

    with pytest.raises(TypeError, match=r"^a bug$"):
        from_mapping(Broken, {})


NAMES = sorted({field.name for cls in CONFIGS for field in dataclasses.fields(cls)})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 40),
    st.just(-(10**400)),
    st.floats(),
    st.sampled_from([*NAMES, "udpos", "dlfa", "none", "source", "cpu", "2e-5", "1e999", "nan", "é"]),
    st.text(max_size=3),
    st.binary(max_size=2),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES) | SCALARS, inner, max_size=5),
    max_leaves=20,
)


@given(cls=st.sampled_from(CONFIGS), mapping=VALUES)
def test_whatever_comes_is_a_configuration_or_a_config_error(cls: type[Any], mapping: object) -> None:
    try:
        config = from_mapping(cls, mapping, "file.yaml")
    except ConfigError as error:
        assert str(error).startswith("file.yaml")  # noqa: PT017 - or else there is no error at all
    else:
        assert from_mapping(cls, to_mapping(config)) == config


def typed(cls: type[object]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings close to right ones, which get as far as the checks of ranges."""
    good = {"dropout": st.floats(-0.1, 1.1), "fusion": st.sampled_from(["dlfa", "none"])}
    number = st.integers(-1, 40) | st.none()
    return st.fixed_dictionaries(
        {"encoder": st.just("e")},
        optional={**good, "fusion_layer": number, "reduction_ratio": number},
    )


@given(mapping=typed(ModelConfig))
def test_a_model_configuration_that_is_accepted_is_consistent(mapping: dict[str, Any]) -> None:
    try:
        config = from_mapping(ModelConfig, mapping)
    except ConfigError:
        return
    assert (config.fusion == "none") == (config.fusion_layer is None) == (config.reduction_ratio is None)
    assert 0 <= config.dropout < 1
