"""A whole chip: of a run, of bundles, from the command line; its sums, its files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from small_bundles import small_bundle
from small_runs import quiet, small_config, stub_pictures

from cosim.chip.bundled import bundled_chain
from cosim.chip.errors import ChipError
from cosim.chip.parts import EnergyParts, sum_parts
from cosim.chip.pricing import price_chip
from cosim.chip.report import ChipReport, count, quantity
from cosim.chip.settings import ChipSettings
from cosim.cli import main
from cosim.compilation.bundle import open_bundle
from cosim.compilation.compiled_run import compile_run
from cosim.training.config import Config
from cosim.training.run import train
from cosim.transients import settling

SETTINGS = ChipSettings(samples=1)


def trained(folder: Path, *keys: str) -> Path:
    """Train for one epoch: linear, batch norm, a current-driven block 6-5, linear."""
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        config: Config = small_config(folder, "training.epochs=1", "data.train_size=50", "data.test_size=20", *keys)
        train(config, folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("chip"))


@pytest.fixture(scope="module")
def report(run: Path) -> ChipReport:
    return price_chip(run, settings=SETTINGS)


def test_totals_are_the_sums_of_the_tiles(report: ChipReport) -> None:
    chip = report.totals["chip"]
    assert chip.training is not None
    tiles = [tile.energies for tile in report.tiles]
    assert chip.inference.total_j == pytest.approx(sum(e.inference.total_j for e in tiles))
    assert chip.training.total_j == pytest.approx(sum(e.training.total_j for e in tiles if e.training is not None))
    assert chip.inference.io == pytest.approx(
        64 * (0.24e-9 + 2 * 12.5e-12)
    )  # from DRAM, into the global buffer and out
    first, readout = report.tiles
    assert (first.name, readout.name) == ("first", "readout")
    assert readout.energies == readout.tanh == readout.relaxed
    assert first.tanh.inference.relaxation == first.relaxed.inference.adc == 0.0


def test_numbers_of_a_small_chip(report: ChipReport) -> None:
    circuit, constants = report.tiles[0].circuit, report.settings.constants
    assert circuit is not None
    assert circuit.sizes == "6-5"
    assert circuit.inventory.devices == 4 * (6 * 5 + 5)  # layer 2 has a bias row
    assert (circuit.inference.count("DAC"), circuit.inference.count("ADC")) == (6, 5)
    parts = report.tiles[0].energies
    assert parts.training is not None
    assert parts.inference.dac == pytest.approx(6 * 256 * constants["dac_walden"])
    assert parts.inference.relaxation == pytest.approx(circuit.phases[0].energy_j)
    assert parts.training.relaxation == pytest.approx(sum(phase.energy_j for phase in circuit.phases))
    assert parts.training.writes == pytest.approx(140 / 25 * constants["device_write"])
    work = report.tiles[0].processor.work
    assert work.inference.macs == 64 * 6 + 6  # a linear stage and a batch norm
    assert parts.inference.digital == pytest.approx((384 + 6 + work.inference.elementwise) * 0.3e-12)
    assert circuit.balance_error <= 1e-9
    assert report.passed


def test_training_with_one_nudge_pays_for_a_free_phase_of_its_own(tmp_path: Path) -> None:
    run = trained(tmp_path, "phases.nudging=positive", "phases.beta=0.05")
    report = price_chip(run, settings=replace(SETTINGS, bits=10))
    circuit, parts = report.tiles[0].circuit, report.tiles[0].energies
    assert circuit is not None
    assert parts.training is not None
    own, nudged = circuit.training_phases
    assert own.settling_s > circuit.phases[0].settling_s
    assert circuit.phases[1] is nudged
    assert parts.inference.relaxation == pytest.approx(circuit.phases[0].energy_j, rel=1e-12)
    assert parts.training.relaxation == pytest.approx(own.energy_j + nudged.energy_j, rel=1e-12)
    assert circuit.training_s == own.settling_s + own.hold_s + nudged.settling_s + nudged.hold_s
    console = Console(width=80)
    with console.capture() as captured:
        console.print(report.tables())
    assert "in training │" in captured.get()
    assert max(map(len, captured.get().splitlines())) <= 80


def test_block_that_does_not_settle_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "N_WINDOWS", 1)
    monkeypatch.setattr(settling, "_MARGIN", 0.1)
    result = CliRunner().invoke(main, ["chip", str(run), "--samples", "1"])
    assert result.exit_code == 2
    assert "block 'first': 1 of 1 samples have not settled" in result.stderr
    assert "Take a coarser converter" in result.stderr


def test_power_that_does_not_balance_fails(report: ChipReport) -> None:
    tile = report.tiles[0]
    assert tile.circuit is not None
    broken = replace(report, tiles=(replace(tile, circuit=replace(tile.circuit, balance_error=1e-6)),))
    assert not broken.passed


def test_tables_fit_80_columns(report: ChipReport) -> None:
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as captured:
        console.print(report.tables())
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_command_writes_json_picture_and_tables(run: Path, tmp_path: Path) -> None:
    constants = tmp_path / "constants.toml"
    constants.write_text('[adc_walden]\nvalue = 0.0\nunit = "J/step"\nsource = "free"\n')
    out = tmp_path / "out"
    arguments = ["chip", str(run), "--samples", "1", "--constants", str(constants), "--out", str(out), "--json", "-"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    tables = json.loads(result.stdout)
    assert tables["pass"] is True
    assert tables["constants"]["adc_walden"]["source"] == "free"
    assert tables["totals"]["inference"]["adc_j"] == 0.0 < tables["totals"]["inference"]["dac_j"]
    assert {"tanh_layers", "relaxation"} == tables["all_digital"].keys()
    assert tables["blocks"][0]["circuit"]["phases"][0]["settling_s"] > 0
    assert tables["totals"]["inventory"]["digital_processors"] == 2
    assert json.loads((out / "chip.json").read_text()) == tables
    assert (out / "chip.png").read_bytes()[:4] == b"\x89PNG"
    assert "device writes" in result.stderr


def test_bundle_of_a_run_costs_what_the_run_does(run: Path, report: ChipReport, tmp_path: Path) -> None:
    compile_run(run, tmp_path / "bundle")
    bundled = price_chip(tmp_path / "bundle", settings=SETTINGS)
    for one, other in ((report.totals["chip"], bundled.totals["chip"]),):
        assert one.training is not None
        assert other.training is not None
        assert other.inference.total_j == pytest.approx(one.inference.total_j, rel=1e-6)
        assert other.training.total_j == pytest.approx(one.training.total_j, rel=1e-6)
    assert any("bundle" in note for note in bundled.sentences())


def test_bundle_of_a_module_prices_its_circuits_alone(tmp_path: Path) -> None:
    small_bundle(tmp_path / "bundle", samples=2)
    bundled = price_chip(tmp_path / "bundle", settings=SETTINGS)
    assert [tile.name for tile in bundled.tiles] == ["first", "second"]
    assert bundled.totals["chip"].training is None
    assert bundled.totals["chip"].inference.relaxation > 0
    said = " ".join(bundled.sentences())
    assert "digital stages are not priced" in said
    assert "no training step is priced" in said
    assert bundled.passed
    bundle = open_bundle(tmp_path / "bundle")
    blocks = tuple(block.model_copy(update={"samples": ()}) for block in bundle.manifest.blocks)
    empty = replace(bundle, manifest=bundle.manifest.model_copy(update={"blocks": blocks}))
    with pytest.raises(ChipError, match="block 'first' has no sample to relax"):
        bundled_chain(empty, 1)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--tile", "1x64"], "a tile of 1x64 holds no weight of crossbar 'w2'"),
        (["--tile", "wide"], "tile size 'wide'"),
        (["--samples", "21"], "21 samples of 20 images held out"),
    ],
)
def test_bad_input_ends_with_two(run: Path, option: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["chip", str(run), *option])
    assert result.exit_code == 2
    assert said in result.stderr


def test_folder_that_is_nothing_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["chip", str(tmp_path)])
    assert result.exit_code == 2
    assert "no run folder" in result.stderr


def test_parts_add_up() -> None:
    total = sum_parts([EnergyParts(adc=1.0, io=5.0), EnergyParts(adc=2.0, writes=4.0)])
    assert (total.adc, total.total_j, total.io) == (3.0, 7.0, 5.0)


def test_numbers_for_people() -> None:
    assert [quantity(v, "J") for v in (0, 1.234e-9, 4.56e-13, 2.0, 7e-19)] == [
        "0",
        "1.23 nJ",
        "456 fJ",
        "2 J",
        "0.0007 fJ",
    ]
    assert [count(v) for v in (0, 9999, 12345, 3.4e6)] == ["0", "9,999", "12.3 k", "3.4 M"]
