"""A sweep file becomes points, all of them checked; whatever is wrong with it is said before anything is computed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from small_runs import SMALL, write_small
from sweep_files import GRID, here, make_run, write_sweep

from cosim.errors import RunError
from cosim.sweeps.axes import expand, flatten, parse_axes, put, word_for_none
from cosim.sweeps.base import list_seeds
from cosim.sweeps.errors import SweepError
from cosim.sweeps.plan import Plan, make_plan
from cosim.sweeps.sweep_file import Do, load_sweep
from cosim.training.config_file import load_config


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    make_run(folder)
    write_small(folder, SMALL)
    return folder


def plan_of(place: Path, text: str) -> Plan:
    file = write_sweep(place, text)
    return make_plan(load_sweep(file), out=place / "out", source=file)


def test_a_grid_has_every_combination_the_last_axis_fastest(place: Path) -> None:
    plan = plan_of(place, GRID)
    assert [p.values for p in plan.points] == [
        {"phases.beta": 0.005, "bits": 2},
        {"phases.beta": 0.005, "bits": "ideal"},
        {"phases.beta": 0.5, "bits": 2},
        {"phases.beta": 0.5, "bits": "ideal"},
    ]
    config = plan.points[2].config
    assert (config.phases.beta, config.converters.input.bits, config.converters.output.bits) == (0.5, 2, 2)
    assert plan.points[3].config.converters.input.bits is None
    assert config.converters.nudge.bits is None


def test_dotted_keys_without_quotes_are_the_same_axis(place: Path) -> None:
    quoted = plan_of(place, GRID)
    plain = plan_of(place, GRID.replace('"phases.beta"', "phases.beta"))
    assert [p.key for p in quoted.points] == [p.key for p in plain.points]


def test_points_by_hand_keep_their_names_and_order(place: Path) -> None:
    text = """
    do = "evaluate"
    [base]
    run = "run"
    [[points]]
    label = "coarse"
    set = { "converters.input" = { bits = 2 }, "phases.beta" = 0.1 }
    [[points]]
    set = { "phases.beta" = 0.2 }
    """
    plan = plan_of(place, text)
    assert [p.label for p in plan.points] == ["coarse", None]
    assert plan.points[0].config.converters.input.bits == 2
    assert plan.points[1].values == {"converters.input.bits": None, "phases.beta": 0.2}


def test_one_at_a_time_varies_each_axis_around_the_nominal_point(place: Path) -> None:
    text = GRID.replace('do = "evaluate"', 'do = "evaluate"\nmode = "one_at_a_time"')
    plan = plan_of(place, text)
    assert plan.nominal == {"phases.beta": 0.005, "bits": "ideal"}
    assert [tuple(p.values.values()) for p in plan.points] == [
        (0.005, "ideal"),
        (0.005, "ideal"),
        (0.5, "ideal"),
        (0.005, 2),
        (0.005, "ideal"),
    ]
    assert plan.points[1].key == plan.points[0].key
    assert plan.points[1] not in plan.jobs, "the same point is computed once"


def test_seeds_of_an_evaluation_without_chips_are_one_point(place: Path) -> None:
    plan = plan_of(place, GRID.replace("probe_images = 16", "probe_images = 16\nseeds = 3"))
    assert [p.seed for p in plan.points] == [0, 0, 0, 0]


def test_every_seed_counts_but_that_of_the_images() -> None:
    tables = {
        "data": {"seed": 5},
        "training": {"seed": 1, "epochs": 3},
        "devices": {"seed": 2, "spread": {"seed": 7}},
        "neurons": None,
    }
    found = list_seeds(tables, trains=True)
    assert found == [(("training", "seed"), 1), (("devices", "seed"), 2), (("devices", "spread", "seed"), 7)]
    assert list_seeds(tables, trains=False) == found[1:]


def test_the_seed_of_converters_counts_where_they_draw_something() -> None:
    for phase, counts in (
        ({"bits": 8, "noise_relative_std": None}, False),
        ({"bits": None, "noise_relative_std": 0.01}, True),
        ({"bits": None, "gain_relative_std": 0.1}, True),
    ):
        tables = {"converters": {"seed": 4, "preset": None, "phase": phase}}
        assert list_seeds(tables, trains=False) == ([(("converters", "seed"), 4)] if counts else [])
    assert list_seeds({"converters": {"seed": 4, "preset": "aihwkit-io"}}, trains=False)


def test_trainings_have_one_point_a_seed_and_seed_zero_is_the_configuration_itself(place: Path) -> None:
    text = """
    do = "train"
    seeds = 3
    [base]
    config = "small.toml"
    set = { "training.seed" = 10 }
    [axes]
    "phases.beta" = [0.1, 0.2]
    """
    plan = plan_of(place, text)
    assert [(p.setting, p.seed, p.config.training.seed) for p in plan.points] == [
        (0, 0, 10),
        (0, 1, 11),
        (0, 2, 12),
        (1, 0, 10),
        (1, 1, 11),
        (1, 2, 12),
    ]
    assert len({p.key for p in plan.points}) == 6
    assert all(p.base is None for p in plan.points)


def test_a_seed_that_is_an_axis_stays(place: Path) -> None:
    text = """
    do = "train"
    seeds = 2
    [base]
    config = "small.toml"
    [axes]
    "training.seed" = [5, 9]
    """
    assert [p.config.training.seed for p in plan_of(place, text).points] == [5, 9]


def test_a_base_that_is_trained_first_has_a_run_a_seed(place: Path) -> None:
    text = """
    do = "evaluate"
    seeds = 2
    [base]
    config = "small.toml"
    train_with = { "training.epochs" = 1 }
    [axes]
    "phases.beta" = [0.1]
    """
    plan = plan_of(place, text)
    bases = [p.base for p in plan.points]
    assert all(base is not None for base in bases)
    assert [base.config.training.seed for base in bases if base] == [0, 1]
    assert [base.config.training.epochs for base in bases if base] == [1, 1]
    assert [base.run.name for base in bases if base] == ["seed-0", "seed-1"]
    assert len({p.key for p in plan.points}) == 2


def test_fine_tuning_begins_with_the_run(place: Path) -> None:
    text = """
    do = "program-then-finetune"
    [base]
    run = "run"
    checkpoint = "best"
    [axes]
    "circuit.g_min_s" = [1e-6, 1e-5]
    """
    plan = plan_of(place, text)
    assert plan.spec.do is Do.FINETUNE
    starts = {(p.config.start.run, p.config.start.checkpoint) for p in plan.points if p.config.start}
    assert starts == {(str(place / "run"), "best")}
    assert [p.config.circuit.g_min_s for p in plan.points if p.config.circuit] == [1e-6, 1e-5]


def test_keys_do_not_depend_on_how_a_simulator_is_run_and_do_on_the_rest(place: Path) -> None:
    one, same, other, retrained = (
        plan_of(place, GRID.replace('run = "run"', f'run = "run"\nset = {{ {key} }}')).points[0].key
        for key in ("", '"simulator.timeout_s" = 7.0', '"phases.nudging" = "positive"', '"training.loss" = "mse"')
    )
    assert one == same
    assert len({one, other, retrained}) == 3


def test_a_star_stands_for_every_entry_that_has_the_rest(place: Path) -> None:
    tables = load_config(place / "small.toml").model_dump(mode="json")
    assert expand("network.stages.*.temperature_k", tables) == (("network", "stages", 3, "temperature_k"),)
    assert expand("network.stages[3].layers[*].leak", tables) == tuple(
        ("network", "stages", 3, "layers", k, "leak") for k in range(2)
    )
    names = [path[1] for path in expand("converters.*.bits", tables)]
    assert names == ["input", "output", "nudge", "phase"], "current has no table of its own"


def test_off_is_none_only_where_a_key_can_be_none(place: Path) -> None:
    plan = plan_of(place, GRID.replace('"phases.beta" = [0.005, 0.5]', '"converters.current" = ["off", { bits = 4 }]'))
    assert [p.config.converters.current is None for p in plan.points] == [True, True, False, False]
    with pytest.raises(SweepError, match="beta = 'off'"):
        plan_of(place, GRID.replace("[0.005, 0.5]", '[0.005, "off"]'))
    tables = load_config(place / "small.toml").model_dump(mode="json")
    assert word_for_none(tables, ("converters", "input", "bits")) == "ideal"
    assert word_for_none(tables, ("converters", "current")) == "off"


def test_putting_a_value_in_turns_its_table_on_and_leaves_the_original() -> None:
    tables = {"a": {"b": None}}
    assert put(tables, ("a", "b", "c"), 1, "here") == {"a": {"b": {"c": 1}}}
    assert tables == {"a": {"b": None}}
    with pytest.raises(SweepError, match=r"here: a\.b is a value, not a table"):
        put({"a": {"b": 3}}, ("a", "b", "c"), 1, "here")


def test_flatten_and_axes() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e.f": 3}) == {"a.b": 1, "a.c.d": 2, "e.f": 3}
    (axis,) = parse_axes({"bits": {"keys": ["a.b", "c.d"], "values": [1, 2]}})
    assert (axis.name, axis.keys, axis.values) == ("bits", ("a.b", "c.d"), (1, 2))


WRONG = [
    (GRID.replace("phases.beta", "phases.betta"), "phases.betta: unknown key; did you mean 'beta'?"),
    (GRID.replace("phases.beta", "fases.beta"), "fases: unknown key; did you mean 'phases'?"),
    (GRID.replace("0.5]", '"high"]'), "phases.beta = 'high'"),
    (GRID.replace("0.5]", "-0.5]"), "phases.beta = -0.5"),
    (GRID.replace("[2,", "[2.5,"), "converters.input.bits = 2.5"),
    (GRID.replace("[2,", "[0,"), "converters.input.bits = 0"),
    (GRID.replace("[0.005, 0.5]", "0.5"), "write a list of values, as [0.5]"),
    (GRID.replace("[0.005, 0.5]", "[]"), "the list of values is empty"),
    (GRID.replace("[0.005, 0.5]", "[0.5, 0.5]"), "0.5 is there twice"),
    (GRID.replace("bits = {", "seed = {"), "'seed' is a column of the results"),
    (GRID.replace("phases.beta", "converters.input.bits"), "is in 'converters.input.bits' and in 'bits'"),
    (GRID.replace("phases.beta", "network.stages[9].size"), "network.stages has entries 0 to 4, not '9'"),
    (GRID.replace("phases.beta", "network.stages.*.sise"), "matches no key of the base configuration"),
    (
        GRID.replace('"phases.beta" = [0.005, 0.5]', '"training.epochs" = [1]'),
        "changes nothing where nothing is trained",
    ),
    (GRID.replace('"phases.beta" = [0.005, 0.5]', '"data.seed" = [1]'), "was trained on its own images"),
    (GRID.replace('"phases.beta" = [0.005, 0.5]', '"start.run" = ["x"]'), "a sweep begins with [base]"),
    (GRID.replace('"phases.beta" = [0.005, 0.5]', '"circuit.g_min_s" = [1e-6]'), "says what a run is programmed into"),
    (
        GRID.replace('"phases.beta" = [0.005, 0.5]', '"network.stages[1].size" = [6, 7]'),
        "the base's weights do not fit this network",
    ),
    (GRID.replace('run = "run"', 'run = "walk"'), "walk: no run folder"),
    (GRID.replace('run = "run"', 'run = "run"\ncheckpoint = "worst"'), "base.checkpoint = 'worst'"),
    (GRID.replace('run = "run"', ""), "name what is varied"),
    (GRID.replace('run = "run"', 'run = "run"\ntrain_with = {}'), "a run is trained already"),
    (GRID.replace('do = "evaluate"', 'do = "evalute"'), "do = 'evalute'"),
    (GRID.replace('do = "evaluate"', 'dough = "evaluate"'), "did you mean 'do'?"),
    (
        GRID.replace('do = "evaluate"', ""),
        "do: missing; write do = one of 'evaluate', 'train', 'program-then-finetune'",
    ),
    (GRID.replace('do = "evaluate"', 'do = "evaluate"\nseeds = 0'), "seeds = 0"),
    (GRID.split("[axes]", maxsplit=1)[0], "say what is varied: [axes]"),
    (GRID.replace("probe_images = 16", "probe_images = 16\nevaluate_with = {}"), "evaluate_with is for do"),
    (GRID.replace('do = "evaluate"', 'do = "train"'), "probe_images is for do"),
    (GRID + "[", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_computed(place: Path, text: str, message: str) -> None:
    out = place / "nothing"
    file = write_sweep(place, text)
    with pytest.raises((SweepError, RunError), match=re.escape(message)):
        here(file, out)
    assert not out.exists()


def test_a_sweep_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"none\.toml: no such file; name a sweep"):
        load_sweep(tmp_path / "none.toml")
