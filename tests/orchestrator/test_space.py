"""Search spaces: what ships, what is fixed before sampling, grids, and every error of a file in one line."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path

import optuna
import pytest
import yaml
from bad_input.values import mutated, values
from hypothesis import example, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from tiny import write_encoder

import search_spaces
from dlfa.config import TrainingConfig
from dlfa.errors import ConfigError
from dlfa.fusions import FUSIONS
from dlfa.model import EncoderShape, encoder_shape
from dlfa.tasks import TASKS
from orchestrator.space import Params, SearchSpace
from orchestrator.space_file import _SEARCHABLE, _Settings, load_space, packaged_space

SHAPE = EncoderShape(layers=12, hidden_size=768, vocabulary=1000, max_positions=512)
SPACES = Path(search_spaces.__file__).parent
PACKAGED = sorted(SPACES.rglob("*.yaml"))
SEARCH = {
    "fusion_layer": {"low": 1, "high": "L-1"},
    "reduction_ratio": {"choices": [2, 4]},
    "learning_rate": {"low": 1e-5, "high": 1e-4, "log": True, "grid": [1e-5, 5e-5]},
}
MINIMAL = {"task": "udpos", "search": SEARCH}


def load(mapping: object, shape: EncoderShape = SHAPE) -> SearchSpace:
    return load_space(yaml.safe_dump(mapping, sort_keys=False), "my.yaml", "udpos", shape)


def with_search(**entries: object) -> SearchSpace:
    return load({**MINIMAL, "search": SEARCH | entries})


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_space(text, "my.yaml", "udpos", SHAPE)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


def sampled(space: SearchSpace, fixed: Params) -> Params:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(fixed)
    return space.suggest(study.ask())


# --- what ships


def test_search_spaces_ship_with_the_package() -> None:
    assert PACKAGED
    found = {str(path.relative_to(SPACES)) for path in PACKAGED}
    assert {f"{task}.yaml" for task in TASKS} <= found
    # The embedded corpus has these tasks.
    assert {f"quickstart/{task}.yaml" for task in ("udpos", "panx", "xnli", "pawsx")} <= found
    assert all(Path(name).stem in TASKS for name in found)


@pytest.mark.parametrize("layers", [4, 12, 24])
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: str(path.relative_to(SPACES)))
def test_every_search_space_that_ships_is_a_whole_one(path: Path, layers: int) -> None:
    profile = "paper" if path.parent == SPACES else path.parent.name
    text, name = packaged_space(path.stem, profile)
    assert (text, name) == (path.read_text(encoding="utf-8"), str(path.relative_to(SPACES)))
    shape = EncoderShape(layers=layers, hidden_size=768, vocabulary=1000, max_positions=512)
    task = yaml.safe_load(text)["task"]
    assert task in TASKS
    space = load_space(text, path.name, task, shape)
    step = 2 if profile == "quickstart" else 1
    assert space.distributions["fusion_layer"] == IntDistribution(1, layers - 1, step=step)
    assert space.grid["fusion_layer"] == tuple(range(1, layers, step))
    assert space.grid_points(1)  # the grid sampler is allowed for each of them
    assert space.fusions == ("none", "dlfa")
    assert space.shares(space.trials) == {"none": space.trials / 2, "dlfa": space.trials / 2}
    plan = space.plan(1, space.trials)
    for number in range(space.trials):
        params = sampled(space, plan(number))
        names = {"fusion", "learning_rate"} | (
            {"fusion_layer", "reduction_ratio"} if params["fusion"] == "dlfa" else set()
        )
        assert set(params) == names
        low, high = (getattr(space.distributions["learning_rate"], end) for end in ("low", "high"))
        assert low <= params["learning_rate"] <= high


def test_a_profile_without_a_space_for_the_task_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        packaged_space("qnli", "quickstart")
    assert str(caught.value) == "--profile: 'quickstart' has no search space for qnli; allowed: --space FILE"


def test_the_depth_is_that_of_the_encoder(tmp_path: Path) -> None:
    encoder = write_encoder(tmp_path, layers=5)
    space = load_space(*packaged_space("udpos", "quickstart"), "udpos", encoder_shape(str(encoder)))
    assert space.grid["fusion_layer"] == (1, 3)


def test_the_space_of_the_paper_is_that_of_the_protocol() -> None:
    space = load_space(*packaged_space("udpos", "paper"), "udpos", SHAPE)
    assert (space.trials, space.fusions, space.confirm_seeds) == (60, ("none", "dlfa"), 3)
    assert space.distributions == {
        "fusion_layer": IntDistribution(1, 11),
        "reduction_ratio": CategoricalDistribution((2, 4, 8, 16, 32, 64)),
        "learning_rate": FloatDistribution(5e-6, 8e-5, log=True),
    }
    assert (space.training.epochs, space.training.batch_size, space.max_length) == (10, 32, 128)


# --- what a file says


def test_defaults() -> None:
    space = load(MINIMAL)
    assert (space.trials, space.fusions, space.confirm_seeds) == (60, ("none", "dlfa"), 3)
    assert (space.max_length, space.training.epochs) == (128, 10.0)


def test_layers_are_counted_from_the_encoders_depth() -> None:
    assert with_search(fusion_layer={"low": "L-3", "high": "L-1"}).grid["fusion_layer"] == (9, 10, 11)
    assert with_search(fusion_layer={"low": 0, "high": "L-12"}).grid["fusion_layer"] == (0,)
    assert with_search(fusion_layer={"choices": [3, "L-2"]}).grid["fusion_layer"] == (3, 10)


def test_every_second_layer(recwarn: pytest.WarningsRecorder) -> None:
    space = with_search(fusion_layer={"low": 2, "high": "L-1", "step": 2})
    assert space.grid["fusion_layer"] == (2, 4, 6, 8, 10)
    assert space.distributions["fusion_layer"] == IntDistribution(2, 10, step=2)
    assert sampled(space, {"fusion": "dlfa"})["fusion_layer"] in (2, 4, 6, 8, 10)
    assert not recwarn.list  # Optuna would warn of an end that is no multiple


@pytest.mark.parametrize(
    ("name", "value"),
    [("fusion_layer", 3), ("reduction_ratio", 8), ("learning_rate", 2e-5), ("batch_size", 16), ("dropout", 0.2)],
)
def test_a_number_fixes_a_parameter(name: str, value: float) -> None:
    space = with_search(**{name: value})
    assert space.distributions[name] == CategoricalDistribution((value,))
    assert space.grid[name] == (value,)
    params = sampled(space, {"fusion": "dlfa"})
    assert params[name] == value
    assert type(params[name]) is type(value)


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    text = yaml.safe_dump(MINIMAL).replace("1.0e-05", "2e-5")
    assert "2e-5" in text
    assert isinstance(yaml.safe_load(text)["search"]["learning_rate"]["low"], str)
    space = load_space(text, "my.yaml", "udpos", SHAPE)
    assert space.distributions["learning_rate"] == FloatDistribution(2e-5, 1e-4, log=True)
    assert space.grid["learning_rate"] == (2e-5, 5e-5)


def test_the_baseline_has_neither_layer_nor_ratio() -> None:
    space = with_search(head_learning_rate={"low": 1e-4, "high": 1e-3}, batch_size={"choices": [16, 32]})
    shared = {"fusion", "learning_rate", "head_learning_rate", "batch_size"}
    assert set(sampled(space, {"fusion": "none"})) == shared
    assert set(sampled(space, {"fusion": "dlfa"})) == shared | {"fusion_layer", "reduction_ratio"}


# --- what is compared


def compare(*fusions: str, **search: object) -> SearchSpace:
    return load({**MINIMAL, "compare": {"fusion": [*fusions]}, "search": SEARCH | search})


def test_fusions_are_compared_in_the_order_of_the_registry() -> None:
    assert load(MINIMAL).fusions == ("none", "dlfa")
    assert compare("mean", "scalar_mix", "none", "gate").fusions == ("none", "gate", "mean", "scalar_mix")


def test_each_fusion_has_its_own_parameters() -> None:
    space = compare(*FUSIONS)
    for name, fusion in FUSIONS.items():
        assert set(sampled(space, {"fusion": name})) == {"fusion", "learning_rate", *fusion.parameters}
    assert space.size("mean") == math.inf
    finite = compare(*FUSIONS, learning_rate=2e-5)
    assert [finite.size(name) for name in FUSIONS] == [1, 22, 22, 11, 1]


@pytest.mark.parametrize(
    ("fusions", "needed"),
    [(["none"], ()), (["none", "scalar_mix"], ()), (["none", "mean"], ("fusion_layer",))],
)
def test_what_no_compared_fusion_has_is_neither_needed_nor_allowed(fusions: list[str], needed: tuple[str, ...]) -> None:
    search = {name: SEARCH[name] for name in (*needed, "learning_rate")}
    mapping = {"task": "udpos", "compare": {"fusion": fusions}}
    assert set(load({**mapping, "search": search}).distributions) == search.keys()
    message = refusal(yaml.safe_dump({**mapping, "search": SEARCH}))
    assert message.split("; my")[-1].endswith("allowed: only where compare.fusion has one of dlfa, gate")
    assert ("search.fusion_layer: not allowed" in message) is ("fusion_layer" not in needed)
    for name in needed:
        assert f"my.yaml.search.{name}: missing" in refusal(yaml.safe_dump({**mapping, "search": {}}))


def test_the_share_of_the_baseline_is_no_longer_said() -> None:
    assert refusal(yaml.safe_dump({**MINIMAL, "baseline_share": 0.2})) == (
        "my.yaml.baseline_share: unknown field; compare: {fusion: [none, dlfa]} names what is compared, and each "
        "fusion has an equal share of the trials"
    )


# --- what is fixed for each number


@settings(deadline=None)
@given(total=st.integers(2, 200), fusions=st.sets(st.sampled_from([*FUSIONS][1:])))
def test_arms_take_turns_and_have_equal_shares(total: int, fusions: set[str]) -> None:
    own = {"fusion_layer": 1, "reduction_ratio": 2}
    having = {name for fusion in fusions for name in FUSIONS[fusion].parameters}
    search = {"learning_rate": SEARCH["learning_rate"]} | {name: own[name] for name in own if name in having}
    space = load({"task": "udpos", "compare": {"fusion": ["none", *fusions]}, "search": search})
    # One layer and one ratio, so that only the rate makes configurations: more than any share.
    each = total // len(space.fusions)
    assert space.shares(total) == dict.fromkeys(space.fusions, each)
    plan = space.plan(1, total)
    order = [plan(number)["fusion"] for number in range(each * len(space.fusions))]
    assert order == [*space.fusions] * each


def test_every_layer_is_tried_once_before_any_is_tried_twice() -> None:
    plan = compare("none", "dlfa", "mean").plan(5, 60)
    fixed = [plan(number) for number in range(60)]
    assert [params["fusion"] for params in fixed] == ["none", "dlfa", "mean"] * 20
    for fusion in ("dlfa", "mean"):
        own = [params for params in fixed if params["fusion"] == fusion]
        assert sorted(params["fusion_layer"] for params in own[:11]) == list(range(1, 12))
        assert own[11:] == [{"fusion": fusion}] * 9  # from here on the sampler chooses
    assert all(set(params) == {"fusion"} for params in fixed if params["fusion"] == "none")


def test_the_order_of_layers_depends_on_the_seed_only() -> None:
    def order(seed: int, trials: int = 60) -> list[Params]:
        plan = load(MINIMAL).plan(seed, trials)
        return [plan(number) for number in range(14)]

    assert order(1) == order(1, trials=14)
    orders = [order(seed) for seed in range(5)]
    assert all(orders.count(one) == 1 for one in orders)


def test_a_plan_needs_no_memory() -> None:
    plan = load(MINIMAL).plan(1, 60)
    forward = [plan(number) for number in range(20)]
    assert [plan(number) for number in reversed(range(20))] == forward[::-1]


FINITE = {"learning_rate": {"choices": [1e-5, 2e-5, 4e-5]}, "fusion_layer": {"low": 1, "high": 9, "step": 4}}
"""With `SEARCH`: 3 points for the baseline, and 3 x 3 x 2 for DLFA."""


def test_how_many_configurations_there_are() -> None:
    space = load(MINIMAL)
    assert (space.size("dlfa"), space.size("none")) == (math.inf, math.inf)
    space = with_search(**FINITE)
    assert (space.size("dlfa"), space.size("none")) == (18, 3)
    space = with_search(learning_rate=2e-5, batch_size={"low": 8, "high": 64, "log": True})
    assert (space.size("dlfa"), space.size("none")) == (11 * 2 * 57, 57)
    # a range of one number is a number
    space = with_search(learning_rate={"low": 2e-5, "high": 2e-5})
    assert (space.size("dlfa"), space.size("none")) == (22, 1)


def test_all_configurations() -> None:
    space = with_search(**FINITE)
    points = list(space.configurations({"fusion": "dlfa"}, 1))
    assert len(points) == len({tuple(sorted(point.items())) for point in points}) == 18
    assert all(sampled(space, point) == point for point in points)
    assert list(space.configurations({"fusion": "dlfa"}, 1)) == points
    assert list(space.configurations({"fusion": "dlfa"}, 2)) != points
    assert {tuple(sorted(point.items())) for point in space.configurations({"fusion": "none"}, 1)} == {
        (("fusion", "none"), ("learning_rate", rate)) for rate in (1e-5, 2e-5, 4e-5)
    }
    fifth = list(space.configurations({"fusion": "dlfa", "fusion_layer": 5}, 1))
    assert len(fifth) == 6
    assert {point["fusion_layer"] for point in fifth} == {5}


@pytest.mark.parametrize(
    ("search", "trials", "shares"),
    [
        ({}, 6, (3, 3)),
        ({}, 7, (3, 3)),  # what does not divide is nobody's
        ({}, 30, (3, 15)),  # nor is what an arm has no configurations for
        ({}, 60, (3, 18)),
        ({"learning_rate": 2e-5}, 60, (1, 6)),
        ({"fusion_layer": 5, "reduction_ratio": 4}, 60, (3, 3)),
    ],
)
def test_an_arm_has_no_more_trials_than_its_share_and_its_configurations(
    search: Mapping[str, object], trials: int, shares: tuple[int, int]
) -> None:
    space = load({**MINIMAL, "search": SEARCH | FINITE | dict(search)})
    assert tuple(space.shares(trials).values()) == shares
    plan = space.plan(1, trials)
    fixed = [plan(number) for number in range(sum(shares))]
    fusions = [params["fusion"] for params in fixed]
    assert (fusions.count("none"), fusions.count("dlfa")) == shares
    # A longer search begins as a shorter one, so that a sweep may be made longer.
    longer = space.plan(1, 1000)
    assert [longer(number)["fusion"] for number in range(sum(shares))] == fusions
    layers = [params.get("fusion_layer") for params in fixed if params["fusion"] == "dlfa"]
    tried = len(space.grid["fusion_layer"])
    assert len(set(layers[:tried])) == min(tried, shares[1])
    assert set(layers[tried:]) <= {None}


# --- grids


def test_the_trial_that_needs_the_most_memory() -> None:
    assert load(MINIMAL).largest() == {
        "fusion": "dlfa",
        "fusion_layer": 1,
        "reduction_ratio": 2,
        "learning_rate": 1e-5,
    }
    space = with_search(
        reduction_ratio={"low": 4, "high": 64},
        batch_size={"choices": [16, 64, 32]},
        weight_decay={"choices": [0.0, 0.1]},
        dropout=0.2,
    )
    assert space.largest()["fusion"] == "dlfa"
    params = space.largest()
    assert (params["reduction_ratio"], params["batch_size"], params["weight_decay"]) == (4, 64, 0.1)
    assert sampled(space, params) == params  # it is in the space


@pytest.mark.parametrize(
    ("fusions", "largest"),
    [(FUSIONS, "dlfa"), (["none", "gate", "mean"], "gate")],
)
def test_the_fusion_that_needs_the_most_memory(fusions: Iterable[str], largest: str) -> None:
    space = compare(*fusions)
    params = space.largest()
    assert params["fusion"] == largest
    assert sampled(space, params) == params


def test_a_grid_has_every_fusions_points() -> None:
    points = compare(*FUSIONS).grid_points(1)
    counts = Counter(point["fusion"] for point in points)
    assert counts == {"none": 2, "dlfa": 44, "gate": 44, "mean": 22, "scalar_mix": 2}
    assert [*counts] == [*FUSIONS]


def test_a_grid_has_every_point_once_the_baselines_first() -> None:
    points = with_search(batch_size={"choices": [16, 32]}).grid_points(1)
    assert len(points) == 2 * 2 + 11 * 2 * 2 * 2
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)
    baseline = [point for point in points if point["fusion"] == "none"]
    assert points[:4] == baseline
    assert sorted((point["learning_rate"], point["batch_size"]) for point in baseline) == [
        (1e-5, 16), (1e-5, 32), (5e-5, 16), (5e-5, 32),
    ]  # fmt: skip
    assert all(set(point) == {"fusion", "learning_rate", "batch_size"} for point in baseline)


def test_the_order_of_a_grid_depends_on_the_seed_only() -> None:
    space = load(MINIMAL)
    assert space.grid_points(1) == space.grid_points(1)
    assert space.grid_points(1) != space.grid_points(2)
    assert {str(sorted(p.items())) for p in space.grid_points(1)} == {
        str(sorted(p.items())) for p in space.grid_points(2)
    }


def test_every_point_of_a_grid_can_be_suggested(recwarn: pytest.WarningsRecorder) -> None:
    space = load(MINIMAL)
    for point in space.grid_points(1):
        assert sampled(space, point) == point
    assert not recwarn.list  # Optuna warns of values outside of their range, and takes them


def test_a_range_of_floats_without_points_has_no_grid() -> None:
    space = with_search(weight_decay={"low": 0, "high": 0.1})
    with pytest.raises(ConfigError) as error:
        space.grid_points(1)
    assert str(error.value) == (
        "--sampler: 'grid' is not allowed; allowed: tpe, random, because search.weight_decay has no grid: [...]"
    )


def test_the_window_is_the_encoders() -> None:
    small = EncoderShape(layers=12, hidden_size=768, vocabulary=1000, max_positions=64)
    assert load({**MINIMAL, "max_length": 64, "trials": 3}, small).max_length == 64
    with pytest.raises(ConfigError) as error:
        load(MINIMAL, small)  # the default is refused, too
    assert str(error.value) == "my.yaml.max_length: 128 is not allowed; allowed: 8..64, the encoder's window"
    with pytest.raises(ConfigError) as error:
        load({**MINIMAL, "max_length": "x"}, small)  # and not told beside what the file says
    assert str(error.value) == "my.yaml.max_length: 'x' is not allowed; allowed: a whole number"


# --- errors


def test_every_error_of_a_file_is_told_at_once() -> None:
    message = refusal(
        """
        taks: udpos
        trials: 0
        confirm_seeds: -1
        compare: {fusion: [dlfa], robust: [none]}
        max_length: many
        search:
          fusion_layer: {low: 1, high: 12}
          reduction_ratios: {choices: [2]}
          learning_rate: {low: 1.0e-3, high: 1.0e-4}
        training: {epochs: 0, batch_sise: 3}
        """
    )
    errors = message.split("; my.yaml.")
    for part in (
        "task: missing; allowed: udpos, the sweep's task",
        "taks: unknown field (did you mean task?); allowed: task, trials, compare, confirm_seeds, training, "
        "max_length, aligned",
        "trials: 0 is not allowed; allowed: 2..100000, at least one for each fusion",
        "confirm_seeds: -1 is not allowed; allowed: 0..1000",
        "compare.robust: unknown field; allowed: fusion",
        "compare: fusion: [dlfa] is not allowed; allowed: each fusion once, and the baseline, 'none'",
        "max_length: 'many' is not allowed; allowed: a whole number",
        "search.fusion_layer: 12 is not allowed; allowed: 0..11, the layers below the encoder's last, or L-1, L-2, ...",
        "search.learning_rate: {'low': 0.001, 'high': 0.0001} is not allowed; allowed: low at most high, and above 0 "
        "where log is true",
    ):
        assert any(error.removeprefix("my.yaml.") == part for error in errors), part
    assert (
        "my.yaml.search.reduction_ratios: unknown field (did you mean reduction_ratio?); allowed: fusion_layer"
        in message
    )
    assert "my.yaml.training.batch_sise: unknown field (did you mean batch_size?)" in message


def test_a_file_for_another_task() -> None:
    with pytest.raises(ConfigError, match=r"^f\.yaml\.task: 'udpos' is not allowed; allowed: panx, the sweep's task$"):
        load_space(yaml.safe_dump(MINIMAL), "f.yaml", "panx", SHAPE)


_SEARCH_TEXT = "search: {fusion_layer: 1, reduction_ratio: 2, learning_rate: 2e-5"
# A whole file, the field that the message must name, and what it must say of it.
BAD = [
    ("", "my.yaml: None is not allowed", "allowed: fields with values"),
    ("just text", "my.yaml: 'just text' is not allowed", "allowed: fields with values"),
    ("- a\n- b", "my.yaml: ['a', 'b'] is not allowed", "allowed: fields with values"),
    ("task: [", "my.yaml: not YAML", "line 1"),
    ("task: udpos\n\ttrials: 3", "my.yaml: not YAML", "line 2"),
    ("task: !!python/object/apply:os.getcwd []", "my.yaml: not YAML", "could not determine a constructor"),
    ("task: 2026-99-99", "my.yaml: not YAML", "month must be in 1..12"),
    ("trials: !!int x", "my.yaml: not YAML", "invalid literal"),
    ("trials: !!int ''", "my.yaml: not YAML", "index out of range"),
    ("log: !!bool maybe", "my.yaml: not YAML", "maybe"),
    ("task: !!timestamp x", "my.yaml: not YAML", "groupdict"),
    ("[" * 5000, "my.yaml: not YAML", "recursion"),
    ("task: \x07", "my.yaml: not YAML", "special characters are not allowed"),
    ("task: udpos", "my.yaml.search: None is not allowed", "at least fusion_layer, reduction_ratio, learning_rate"),
    ("task: udpos\nsearch: []", "my.yaml.search: [] is not allowed", "allowed: at least fusion_layer"),
    ("task: udpos\nsearch: {}", "my.yaml.search.fusion_layer: missing", "my.yaml.search.learning_rate: missing"),
    ("task: udpos\nsearch: {fusion_layer: 1}", "my.yaml.search.reduction_ratio: missing", "learning_rate: missing"),
    (_SEARCH_TEXT + "}", "my.yaml.task: missing", "allowed: udpos"),
    ("task: panx\n" + _SEARCH_TEXT + "}", "my.yaml.task: 'panx' is not allowed", "allowed: udpos, the sweep's task"),
    ("task: 3\n" + _SEARCH_TEXT + "}", "my.yaml.task: 3 is not allowed", "allowed: text"),
]  # fmt: skip
# One field beside a whole search section.
BAD += [
    (f"task: udpos\n{_SEARCH_TEXT}}}\n{field}", named, allowed)
    for field, named, allowed in [
        ("trails: 3", "my.yaml.trails: unknown field (did you mean trials?)", "allowed: task, trials"),
        ("3: 4", "my.yaml.3: unknown field", "allowed: task, trials"),
        ('"two\\nlines": 4', r"my.yaml.two\nlines: unknown field", "allowed: task, trials"),
        ("trials: 0", "my.yaml.trials: 0 is not allowed", "allowed: 2..100000"),
        ("trials: 1", "my.yaml.trials: 1 is not allowed", "allowed: 2..100000, at least one for each fusion"),
        ("trials: 1.5", "my.yaml.trials: 1.5 is not allowed", "allowed: a whole number"),
        ("trials: true", "my.yaml.trials: True is not allowed", "allowed: a whole number"),
        ("trials: many", "my.yaml.trials: 'many' is not allowed", "allowed: a whole number"),
        ("trials:", "my.yaml.trials: None is not allowed", "allowed: a whole number"),
        ("baseline_share: 0.2", "my.yaml.baseline_share: unknown field", "compare: {fusion: [none, dlfa]}"),
        ("compare: dlfa", "my.yaml.compare: 'dlfa' is not allowed", "allowed: fields with values"),
        ("compare: {fusion: dlfa}", "my.yaml.compare.fusion: 'dlfa' is not allowed", "allowed: a list of strings"),
        ("compare: {fusion: [dlfa]}", "my.yaml.compare: fusion: [dlfa] is not allowed", "and the baseline, 'none'"),
        ("compare: {fusion: []}", "my.yaml.compare: fusion: [] is not allowed", "and the baseline, 'none'"),
        ("compare: {fusion: [none, none]}", "my.yaml.compare: fusion: [none, none] is not", "each fusion once"),
        ("compare: {fusion: [none, dfla]}", "fusion: 'dfla' is not allowed (did you mean dlfa?)", "scalar_mix"),
        ("compare: {fusion: [null, dlfa]}", "my.yaml.compare.fusion: [None, 'dlfa'] is not", "a list of strings"),
        ("compare: {fusions: [none]}", "my.yaml.compare.fusions: unknown field (did you mean fusion?)", "fusion"),
        ("compare: {fusion: [none]}", "my.yaml.search.fusion_layer: not allowed", "one of dlfa, gate, mean"),
        ("aligned: 1", "my.yaml.aligned: 1 is not allowed", "allowed: true or false"),
        ("confirm_seeds: -1", "my.yaml.confirm_seeds: -1 is not allowed", "allowed: 0..1000"),
        ("max_length: 7", "my.yaml.max_length: 7 is not allowed", "allowed: 8..512, the encoder's window"),
        ("max_length: 513", "my.yaml.max_length: 513 is not allowed", "allowed: 8..512, the encoder's window"),
        ("training: 3", "my.yaml.training: 3 is not allowed", "allowed: fields with values"),
        ("training: {epochs: 0}", "my.yaml.training: epochs: 0.0 is not allowed", "more than 0, at most 10000"),
        ("training: {epoch: 1}", "my.yaml.training.epoch: unknown field (did you mean epochs?)", "allowed: learning"),
        ("training: {batch_size: 2.5}", "my.yaml.training.batch_size: 2.5 is not allowed", "allowed: a whole number"),
    ]
]  # fmt: skip
# One searched parameter in place of a good one.
BAD += [
    (yaml.safe_dump(MINIMAL | {"search": SEARCH | yaml.safe_load(entry)}, sort_keys=False), f"search{named}", allowed)
    for entry, named, allowed in [
        ("fusion_layr: 1", ".fusion_layr: unknown field (did you mean fusion_layer?)", "allowed: fusion_layer"),
        ("1: 1", ".1: unknown field", "allowed: fusion_layer, reduction"),
        ("fusion: none", ".fusion: unknown field", "allowed: fusion_layer, reduction"),
        ("epochs: 3", ".epochs: unknown field", "allowed: fusion_layer, reduction"),
        ("fusion_layer: 12", ".fusion_layer: 12 is not allowed", "allowed: 0..11, the layers below the encoder's last"),
        ("fusion_layer: -1", ".fusion_layer: -1 is not allowed", "allowed: 0..11"),
        ("fusion_layer: L", ".fusion_layer: 'L' is not allowed", "or L-1, L-2, ..."),
        ("fusion_layer: L-13", ".fusion_layer: 'L-13' is not allowed", "allowed: 0..11"),
        ("fusion_layer: L-0", ".fusion_layer: 'L-0' is not allowed", "allowed: 0..11"),
        ("fusion_layer: 1.0", ".fusion_layer: 1.0 is not allowed", "allowed: 0..11"),
        ("fusion_layer: true", ".fusion_layer: True is not allowed", "allowed: 0..11"),
        ("fusion_layer: {low: 5, high: 4}", ".fusion_layer: {'low': 5, 'high': 4} is not allowed", "low at most high"),
        ("fusion_layer: {low: 0, high: 4, log: true}", ".fusion_layer: {'low': 0", "above 0 where log is true"),
        ("fusion_layer: {low: 1, high: 4, grid: [5]}", ".fusion_layer: {'low': 1, 'hi", "points between low and high"),
        ("fusion_layer: {low: 1, high: 4, step: 0}", ".fusion_layer: {'low': 1", "step: a whole number, at least 1"),
        ("fusion_layer: {low: 1, high: 4, step: 2, log: true}", ".fusion_layer: {'low': 1", "at least 1, without log"),
        ("fusion_layer: {low: 1, high: 4, step: 2, grid: [2]}", ".fusion_layer: {'low': 1", "grid points of 1, 3"),
        ("reduction_ratio: 0", ".reduction_ratio: 0 is not allowed", "allowed: 1..768, the encoder's hidden size"),
        ("reduction_ratio: 769", ".reduction_ratio: 769 is not allowed", "allowed: 1..768"),
        ("reduction_ratio: {choices: []}", ".reduction_ratio: [] is not allowed", "choices: a list of numbers"),
        ("reduction_ratio: {choices: 3}", ".reduction_ratio: 3 is not allowed", "choices: a list of numbers"),
        ("reduction_ratio: {choices: [2, 2]}", ".reduction_ratio: [2, 2] is not allowed", "choices: each number once"),
        ("reduction_ratio: [2, 4]", ".reduction_ratio: [2, 4] is not allowed", "allowed: 1..768"),
        ("reduction_ratio: {}", ".reduction_ratio: {} is not allowed", "a number, {choices}, or {low, high}"),
        ("reduction_ratio: {choices: [2], low: 1}", ".reduction_ratio: {'choices'", "a number, {choices}, or {low"),
        ("learning_rate: {low: 1.0e-5}", ".learning_rate: {'low': 1e-05} is not allowed", "or {low, high} with"),
        ("learning_rate: {low: 1.0e-5, high: 1.0e-4, step: 2}", ".learning_rate: {'low'", "with any of grid, log"),
        ("learning_rate: {low: 1.0e-5, high: 1.0e-4, log: 1}", ".learning_rate: {'low'", "low at most high"),
        ("learning_rate: {low: 0.0, high: 1.0e-4}", ": learning_rate: 0.0 is not allowed", "allowed: in (0, 1)"),
        ("learning_rate: {low: fast, high: 1.0e-4}", ".learning_rate: 'fast' is not allowed", "a finite number"),
        ("learning_rate: {low: 1.0e-5, high: 1.0e-4, grid: [0.5]}", ".learning_rate: {'low'", "points between low and"),
        ("learning_rate: {low: 1.0e-5, high: .inf}", ".learning_rate: inf is not allowed", "allowed: a finite number"),
        ("learning_rate:", ".learning_rate: None is not allowed", "allowed: a number"),
        ("head_learning_rate:", ".head_learning_rate: None is not allowed", "allowed: a number"),
        ("head_learning_rate: {low: null, high: 0.1}", ".head_learning_rate: None is not allowed", "allowed: a number"),
        ("head_learning_rate: {choices: [null, 0.1]}", ".head_learning_rate: None is not allowed", "allowed: a number"),
        ("batch_size: 0", ": batch_size: 0 is not allowed", "allowed: at least 1"),
        ("batch_size: {choices: [16, 1.5]}", ".batch_size: 1.5 is not allowed", "allowed: a whole number"),
        ("dropout: 1", ": dropout: 1.0 is not allowed", "allowed: in [0, 1)"),
        ("weight_decay: {low: 0, high: 0.1, log: true}", ".weight_decay: {'low': 0", "above 0 where log is true"),
        ("warmup_fraction: -0.1", ": warmup_fraction: -0.1 is not allowed", "allowed: in [0, 1)"),
    ]
]  # fmt: skip


def test_the_table_of_bad_files_is_long() -> None:
    assert len({text for text, _, _ in BAD}) == len(BAD) >= 40


@pytest.mark.parametrize(("text", "named", "allowed"), BAD)
def test_a_bad_file_is_refused_in_one_line(text: str, named: str, allowed: str) -> None:
    message = refusal(text)
    assert message.startswith("my.yaml")
    assert named in message
    assert allowed in message


@pytest.mark.parametrize(
    "searched", [{"choices": [32, 8]}, {"low": 8, "high": 32}, {"low": 8, "high": 32, "grid": [32]}, 8]
)
def test_a_searched_batch_is_never_smaller_than_a_forward_pass(searched: object) -> None:
    mapping = {**MINIMAL, "search": SEARCH | {"batch_size": searched}}
    assert load({**mapping, "training": {"micro_batch_size": 8}}).training.micro_batch_size == 8
    assert refusal(yaml.safe_dump({**mapping, "training": {"micro_batch_size": 9}})) == (
        "my.yaml.training.micro_batch_size: 9 is not allowed; allowed: 1..8, the lowest batch_size"
    )


def test_a_fixed_batch_is_not_searched() -> None:
    assert load({**MINIMAL, "training": {"micro_batch_size": 9}}).training.micro_batch_size == 9


_TOP = tuple(field.name for field in fields(_Settings))
_TRAINING = tuple(field.name for field in fields(TrainingConfig))
_VALUES = values((*_TOP, *_TRAINING, *_SEARCHABLE, "search"))


def space_or_refusal(text: str) -> SearchSpace | None:
    try:
        return load_space(text, "my.yaml", "udpos", SHAPE)
    except ConfigError as error:
        message = str(error)
    assert message.startswith("my.yaml")
    assert message.isprintable()
    return None


@settings(deadline=None)
@given(text=st.text() | _VALUES.map(yaml.safe_dump))
@example(text="&a {task: *a, search: *a}")
@example(text="&a [*a]")
def test_any_text_is_a_search_space_or_refused(text: str) -> None:
    space_or_refusal(text)


@settings(deadline=None)
@given(text=mutated((SPACES / "udpos.yaml").read_text(encoding="utf-8")))
def test_a_right_file_with_mistakes_is_a_search_space_or_refused(text: str) -> None:
    space_or_refusal(text)


@settings(deadline=None)
@given(
    entries=st.dictionaries(st.sampled_from([*_SEARCHABLE]), _VALUES, max_size=2),
    rest=st.dictionaries(st.sampled_from(_TOP), _VALUES, max_size=2),
    training=st.dictionaries(st.sampled_from(_TRAINING), _VALUES, max_size=2),
)
@example(entries={"dropout": None}, rest={}, training={})
@example(entries={"batch_size": {"low": 1, "high": 10**18}}, rest={}, training={})
def test_any_values_are_a_search_space_or_refused(
    entries: dict[str, object], rest: dict[str, object], training: dict[str, object]
) -> None:
    mapping = {**MINIMAL, "training": training, **rest, "search": SEARCH | entries}
    space = space_or_refusal(yaml.safe_dump(mapping))
    assert space is None or sampled(space, {"fusion": "dlfa"})
