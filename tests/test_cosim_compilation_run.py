"""A run and its bundle: the commands from end to end, equal predictions, and the proof by plain ngspice."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from small_bundles import read_files, replace_in, sign_again, small_bundle
from small_runs import quiet, small_config, stub_pictures, tiny_config
from torch import Tensor, nn

from cosim.cli import main
from cosim.compilation.bundle import open_bundle
from cosim.compilation.compiled_run import compile_run, evaluate_bundle
from cosim.compilation.errors import BundleError, CompileError
from cosim.compilation.loading import load_bundle
from cosim.compilation.verification import verify_bundle
from cosim.errors import ConfigError, ResultError, RunError
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import program
from cosim.training.checkpoints import Which
from cosim.training.run import train
from cosim.training.setup import load_run
from digital.ff_ebm import FfEbm
from netlists.spice_reader import read_deck

TILE = ("--tile", "8x8")


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs with 8-bit converters, its best epoch the first."""
    folder = tmp_path_factory.mktemp("run")
    converters = [f"converters.{name}.bits=8" for name in ("input", "output", "nudge", "phase")]
    config = small_config(folder, "training.epochs=2", "phases.beta=0.05", *converters)
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(config, folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture(scope="module")
def compiled(run: Path) -> Path:
    """Its bundle with two samples, as `tellegen compile` makes it."""
    bundle = run.parent / "bundle"
    result = invoke("compile", run, "--out", bundle, *TILE, "--samples", "2")
    assert result.exit_code == 0, result.output
    return bundle


@pytest.fixture
def bundle(compiled: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    shutil.copytree(compiled, tmp_path / "bundle")
    return tmp_path / "bundle"


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(images)


def held_out(run: Path) -> Tensor:
    data = load_run(run, NewtonSimulator()).data
    return data.scaled(data.test.pixels[:200])


def predict(run: Path, bundle: Path, simulator: AbstractSimulator, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of a run and of a bundle."""
    return logits(load_run(run, simulator).network, images), logits(load_bundle(bundle, simulator), images)


def test_compile_says_what_it_made(run: Path, tmp_path: Path) -> None:
    result = invoke("compile", run, "--out", tmp_path / "bundle", *TILE, "--json", tmp_path / "made.json")
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if "first" in line and "6-5" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["first", "6-5", "174", "6", "36%", "8"]
    assert result.output.splitlines()[-1].endswith("/bundle/blocks/first && ngspice -b top.cir")
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["tile"] == "8x8"
    assert made["verify"] is None
    assert (made["blocks"][0]["devices"], made["blocks"][0]["samples"]) == (174, 0)


def test_predictions_are_those_of_the_run(run: Path, compiled: Path) -> None:
    ours, its = predict(run, compiled, NewtonSimulator(), held_out(run))
    assert torch.equal(ours, its)
    assert isinstance(load_bundle(compiled, NewtonSimulator()), FfEbm)


@pytest.mark.ngspice
def test_predictions_are_those_of_the_run_in_ngspice(run: Path, compiled: Path) -> None:
    from cosim.simulators.ngspice import NgspiceSimulator

    images = held_out(run)[:64]
    ours, its = predict(run, compiled, NgspiceSimulator(), images)
    assert torch.equal(ours.argmax(dim=1), its.argmax(dim=1))
    torch.testing.assert_close(its, ours, rtol=0, atol=1e-9)


def test_eval_takes_either(run: Path, compiled: Path, tmp_path: Path) -> None:
    found = []
    for name, place in (("run", run), ("bundle", compiled)):
        result = invoke("eval", place, "--json", tmp_path / name)
        assert result.exit_code == 0, result.output
        found.append({**json.loads((tmp_path / name).read_text()), "wall_s": 0.0})
    assert found[0] == found[1]
    assert found[0]["relaxations"] == 1797


def test_best_checkpoint(run: Path, tmp_path: Path) -> None:
    bundle = compile_run(run, tmp_path / "best", which=Which.BEST)
    assert bundle.manifest.run is not None
    assert bundle.manifest.run.checkpoint == "best"
    expected = load_run(run, NewtonSimulator(), which=Which.BEST).network.state_dict()["readout.weight"]
    assert torch.equal(load_bundle(tmp_path / "best", NewtonSimulator()).state_dict()["readout.weight"], expected)


def test_bytes_are_the_same_in_another_process(run: Path, compiled: Path, tmp_path: Path) -> None:
    words = ["compile", str(run), "--out", str(tmp_path / "again"), *TILE, "--samples", "2"]
    code = "import sys; from cosim.cli import main; main(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, timeout=120)
    assert read_files(tmp_path / "again") == {k: v for k, v in read_files(compiled).items() if k != "verify.json"}


def printed_voltages(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"^\t(\w+)\s+(-?\d\.\d+e[+-]\d+)$", text, re.MULTILINE)}


@pytest.mark.ngspice
def test_commands_of_the_bundles_readme(compiled: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (compiled / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    expected = {}
    with (compiled / "blocks/first/samples/sample-0000.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            expected[row["node"]] = float(row["voltage_v"])
    for commands in blocks:
        done = subprocess.run(
            ["bash", "-ec", commands], cwd=compiled, capture_output=True, text=True, timeout=60, check=True
        )
        found = printed_voltages(done.stdout)
        assert found.keys() == expected.keys()
        for node, voltage_v in expected.items():
            assert found[node] == pytest.approx(voltage_v, rel=1e-5, abs=1e-12)  # it prints six digits
    open_bundle(compiled)  # ngspice left nothing behind, and changed nothing
    assert {"top.cir", "samples"} < {path.name for path in (compiled / "blocks/first").iterdir()}
    assert read_files(compiled).keys() - {"verify.json", "manifest.json"} == open_bundle(compiled).manifest.files.keys()


def test_samples_are_the_inputs_behind_the_dac(run: Path, compiled: Path) -> None:
    setup = load_run(run, NewtonSimulator())
    network = setup.network.eval()
    images = setup.data.scaled(setup.data.test.pixels[:2])
    free = network.energy[0].free_phase(network.feedforward[0](images))
    block = open_bundle(compiled).manifest.block("first")
    for sample, x in zip(block.samples, free.x, strict=True):
        circuit = read_deck(compiled / sample.deck).circuit
        sources = circuit.current_sources
        values = dict(zip((f"i{name}" for name in sources.names), sources.current_a.tolist(), strict=True))
        assert [values[name] for name in block.input_sources.p] == (1e-4 * x).tolist()
        assert [values[name] for name in block.input_sources.n] == (-1e-4 * x).tolist()
        assert all(value == 0 for name, value in values.items() if name.startswith("inudge"))


@pytest.mark.ngspice
def test_verify_proves_it(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "with space" / "bundle"  # and an error in the name of nothing
    result = invoke("compile", run, "--out", out, *TILE, "--verify", "--json", tmp_path / "made.json")
    assert result.exit_code == 0, result.output
    assert "pass: 3 decks in ngspice -b, 3 samples; largest error " in result.output
    report = json.loads((out / "verify.json").read_text())
    assert report == json.loads((tmp_path / "made.json").read_text())["verify"]
    assert (report["pass"], report["samples"], report["decks"], report["problems"]) == (True, 3, 3, [])
    assert 0 <= report["max_abs_error_v"] <= 1e-9
    assert 0 < report["kirchhoff_ratio"] <= 1
    open_bundle(out)
    # Compiled again over it, with what the verification wrote.
    result = invoke("compile", run, "--out", out, *TILE, "--force")
    assert result.exit_code == 0, result.output
    assert not (out / "verify.json").exists()


def spoil_device(bundle: Path) -> str:
    """Double a resistor's value; return its name."""
    deck = bundle / "blocks" / "first" / "crossbars.inc"
    line = next(line for line in deck.read_text().splitlines() if line.startswith("rw2_3_1_pn "))
    head, _, ohms = line.rpartition(" ")
    replace_in(deck, line, f"{head} {float(ohms) / 50}")
    return "rw2_3_1_pn"


@pytest.mark.ngspice
def test_a_device_with_another_value_is_found(bundle: Path) -> None:
    name = spoil_device(bundle)
    assert f"crossbars.inc: changed since it was compiled" in invoke("verify", bundle).output  # noqa: F541
    sign_again(bundle)
    result = invoke("verify", bundle)
    assert result.exit_code == 1
    assert result.output.startswith("FAIL: 2 decks in ngspice -b")
    assert f"block 'first': device {name} has " in result.output
    report = json.loads((bundle / "verify.json").read_text())
    assert not report["pass"]
    assert report["max_abs_error_v"] > 1e-6
    assert report["kirchhoff_ratio"] < 1  # it is the equilibrium of the circuit that the deck is


@pytest.mark.ngspice
def test_a_wrong_answer_of_ngspice_is_found(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosim.compilation import verification

    def lie(deck: Path) -> dict[str, object]:
        truth = program.run_deck(deck)
        return {**truth, "l2_1p": truth["l2_1p"] + 5e-7}

    monkeypatch.setattr(verification, "run_deck", lie)
    report = verify_bundle(bundle)
    assert report.max_abs_error_v < 1e-6
    assert not report.passed  # by Kirchhoff's law alone
    assert "Kirchhoff's law is violated: " in report.lines()[-1]


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("file", "before", "after", "error", "message"),
    [
        ("sample-0001.csv", "l1_0p,", "l1_0p;", BundleError, r"sample-0001.csv, line \d+: 'l1_0p;.*' is no 'node,vol"),
        ("sample-0001.csv", "l1_0p,", "l9,", BundleError, r"sample-0001.csv: has no voltage of 'l1_0p'"),
        (
            "sample-0001.inc",
            "l1_0p=",
            "l9=",
            (BundleError, ResultError),
            r"sets other sources|ngspice ended with status",
        ),
        (
            "sample-0000.cir",
            "xw2_t0_0 ",
            "q1 ",
            ResultError,
            r"ngspice ended with status \d and said: .*Deck: .*0000.cir",
        ),
    ],
)
def test_samples_that_are_damaged(
    file: str, before: str, after: str, error: type[Exception], message: str, bundle: Path
) -> None:
    replace_in(bundle / "blocks" / "first" / "samples" / file, before, after)
    sign_again(bundle)
    with pytest.raises(error, match=message):
        verify_bundle(bundle)
    assert not (bundle / "verify.json").exists()


def test_edited_deck_is_refused(bundle: Path) -> None:
    spoil_device(bundle)
    result = invoke("eval", bundle)
    assert result.exit_code == 2
    assert "crossbars.inc: changed since it was compiled (SHA-256 differs)" in result.output


def test_eval_runs_the_decks_values(bundle: Path) -> None:
    before = evaluate_bundle(bundle)
    spoil_device(bundle)
    sign_again(bundle)
    assert evaluate_bundle(bundle).test_loss != before.test_loss


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--tile", "64"), "tile size '64'; give rows x columns, like 64x64"),
        (("--tile", "1x1"), "a tile of 1x1 holds no weight of crossbar 'w2'"),
        (("--samples", "5000"), "5000 samples of 1500 images held out; ask for fewer"),
        (("--samples", "0"), "0 is not in the range x>=1"),
        (("--data", "x"), 'data.name = "digits" comes with scikit-learn and needs no path'),
    ],
)
def test_bad_options(words: tuple[str, ...], message: str, run: Path, tmp_path: Path) -> None:
    result = invoke("compile", run, "--out", tmp_path / "bundle", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert list(tmp_path.iterdir()) == []


def test_places_of_the_command(run: Path, compiled: Path, tmp_path: Path) -> None:
    before = read_files(compiled)
    for out, message in (
        (run, "holds files but no bundle, so choose another --out"),
        (compiled, "holds a bundle already; replace it by --force"),
    ):
        result = invoke("compile", run, "--out", out)
        assert result.exit_code == 2
        assert message in result.output
    assert read_files(compiled) == before
    result = invoke("compile", tmp_path, "--out", tmp_path / "bundle")
    assert result.exit_code == 2
    assert "no run folder" in result.output
    result = invoke("eval", compiled, "--from", "best")
    assert result.exit_code == 2
    assert "is a bundle, which holds one checkpoint" in result.output


def test_runs_without_a_circuit(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(tiny_config(tmp_path, "gradient=backprop", "training.epochs=1"), tmp_path / "run", console=quiet())
    with pytest.raises(
        CompileError, match=r'run: gradient = "backprop" trains tanh layers; no circuit stands for one: it comp'
    ):
        compile_run(tmp_path / "run", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_nan_in_a_checkpoint(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosim.compilation import compiled_run

    def poisoned(*arguments: object, **options: object) -> object:
        setup = load_run(*arguments, **options)
        with torch.no_grad():
            setup.network.energy[0].g_plus["w2"][1, 2] = float("nan")
        return setup

    monkeypatch.setattr(compiled_run, "load_run", poisoned)
    with pytest.raises(CompileError, match=r"module 'energy.0' \(block 'first'\): .*g_plus.w2\[1, 2\] = nan"):
        compile_run(run, tmp_path / "bundle")


def edit_run(bundle: Path, **values: object) -> None:
    tables = json.loads((bundle / "manifest.json").read_text())
    tables["run"] |= values
    (bundle / "manifest.json").write_text(json.dumps(tables))


def test_bundles_that_cannot_be_scored(bundle: Path, tmp_path: Path) -> None:
    small_bundle(tmp_path / "own")
    with pytest.raises(BundleError, match=r"own: was compiled from a torch module, so there is nothing to score it on"):
        evaluate_bundle(tmp_path / "own")
    with pytest.raises(BundleError, match=r"own: holds no samples to compare with; compile it with --samples N"):
        verify_bundle(tmp_path / "own")
    edit_run(bundle, images="another")
    with pytest.raises(RunError, match=r"bundle: was trained on other images than those found now"):
        evaluate_bundle(bundle)
    edit_run(bundle, n_classes=9)
    with pytest.raises(
        BundleError, match=r"manifest.json: its network cannot be built: network.stages: the last stage"
    ):
        load_bundle(bundle, NewtonSimulator())
    edit_run(bundle, config={})
    with pytest.raises(ConfigError, match=r"manifest.json: run.config: network: missing"):
        load_bundle(bundle, NewtonSimulator())


@pytest.mark.ngspice
def test_network_of_ones_own_verifies(tmp_path: Path) -> None:
    small_bundle(tmp_path / "bundle", samples=2)
    report = verify_bundle(tmp_path / "bundle")
    assert report.passed
    assert (report.samples, report.decks) == (2, 4)
    assert report.max_abs_error_v < 1e-12
