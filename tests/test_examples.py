"""Every example prints the result that it announces, and what the README says to type exists and works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from circuits.devices import preset_names
from cosim.cli import main
from cosim.converters import converter_preset_names
from cosim.sweeps.sweep_file import load_sweep
from cosim.training.config_file import config_from_json

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
DIGITS = tomllib.loads((ROOT / "examples" / "digits.toml").read_text(encoding="utf-8"))
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[+-]?\d+)?")


def run_python(*arguments: str, folder: Path) -> list[str]:
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.splitlines()


def run_example(stem: str, folder: Path, *arguments: str) -> list[str]:
    return run_python(str(ROOT / "examples" / f"{stem}.py"), *arguments, folder=folder)


def numbers(line: str) -> list[float]:
    return [float(text) for text in NUMBER.findall(line)]


def commands(kind: str) -> list[list[str]]:
    """The commands of the README's sh blocks that start with a word."""
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for line in block.splitlines() for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [line for line in words if line and line[0] == kind]


@pytest.mark.ngspice
def test_block_by_hand(tmp_path: Path) -> None:
    _, newton, ngspice, block = run_example("01_block_by_hand", tmp_path)
    for line, name in ((newton, "newton"), (ngspice, "ngspice")):
        assert line.split()[0] == name
        at_1_v, at_5_v, residual_a = numbers(line)
        assert (at_1_v, at_5_v) == (0.5, 1.66828)
        assert residual_a < 1e-14
    assert block == "block     8 devices, s = 0.303571, by hand 0.303571"


@pytest.mark.ngspice
def test_hybrid_network(tmp_path: Path) -> None:
    six_lines, trained, *gradients = run_example("02_hybrid_network", tmp_path)
    before, after = numbers(six_lines)
    assert after < before / 2
    assert numbers(trained)[1] > 0.85
    assert len(gradients) == 6
    for line in gradients:
        cosine, ratio = numbers(line)[-2:]
        assert cosine > 0.9999
        assert abs(ratio - 1) < 1e-3


@pytest.mark.ngspice
def test_netlist_you_can_open(tmp_path: Path) -> None:
    deck, *cards, plain, pyspice, layer, output = run_example("03_netlist_you_can_open", tmp_path)
    assert deck.endswith("runs/netlist/deck.cir: 34 resistors, 8 diodes")
    text = (tmp_path / "runs" / "netlist" / "deck.cir").read_text(encoding="utf-8")
    assert len(cards) == 3
    assert all(card.strip() in text.splitlines() for card in cards)
    assert numbers(plain)[-1] <= 1e-8
    assert numbers(pyspice)[-1] <= 1e-8
    assert "-0.100058" in layer  # a clamped unit
    assert output.split() == ["output", "-0.027044"]


def test_your_own_simulator(tmp_path: Path) -> None:
    _, perfect, *noisy = run_example("04_your_own_simulator", tmp_path)
    assert numbers(perfect)[2] == 1.0
    cosines = [numbers(line)[2] for line in noisy]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[1] > 0.99
    assert cosines[2] < 0.9
    assert all(numbers(line)[4] < 0.02 for line in (perfect, *noisy[:2]))


@pytest.mark.ngspice
def test_program_and_finetune(tmp_path: Path) -> None:
    lines = run_example("05_program_and_finetune", tmp_path, "0", "training.epochs=2", "simulator.name=newton")
    trained, active, passive, tuned = (numbers(line.partition("  ")[2])[0] for line in lines)
    assert trained > 0.97
    assert abs(active - trained) < 0.01
    assert passive < 0.5
    assert tuned > 0.9
    assert " 0 active leaks" in lines[2]
    assert " 0 active leaks" not in lines[1]


def test_every_example_is_run_here_short_and_safe_to_import_in_a_spawned_worker() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert EXAMPLES
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert f'run_example("{path.stem}"' in tests
        assert text.endswith('if __name__ == "__main__":\n    main()\n')
        assert 30 <= len([line for line in text.splitlines() if line.strip()]) <= 80
        assert "Expected:" in text.split('"""')[1]
        assert not re.search(r"import _|\b\w+\._[a-z]", text), "public names only"


def snippets(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.ngspice
@pytest.mark.parametrize("snippet", snippets("python"), ids=["six lines", "devices"])
def test_readme_snippet(tmp_path: Path, snippet: str) -> None:
    (line,) = run_python("-c", snippet, folder=tmp_path)
    announced = re.findall(r"^print\(.*#(.*)$", snippet, re.MULTILINE)[0]
    assert [round(number, 5) for number in numbers(line)] == numbers(announced)


def test_readme_tables_load_and_a_readme_sweep_is_one(tmp_path: Path) -> None:
    kinds = []
    for text in snippets("toml"):
        tables = tomllib.loads(text)
        if "do" in tables:
            (tmp_path / "sweep.toml").write_text(text, encoding="utf-8")
            kinds.append(load_sweep(tmp_path / "sweep.toml").do.value)
        else:
            config = config_from_json({**DIGITS, **tables}, "README.md")
            kinds += sorted(tables.keys() - {"temperature_k"})
            assert set(config.effects) == tables.keys() - {"converters"}
    assert kinds == ["converters", "devices", "neurons", "sources", "wires", "devices", "evaluate"]


def test_readme_presets_are_there_and_all_device_presets_are_named() -> None:
    assert [name for name in preset_names() if f"`{name}`" not in README] == []
    for name in re.findall(r'^preset = "([\w-]+)"', README, re.MULTILINE):
        assert name in (*preset_names(), *converter_preset_names())


def test_readme_names_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {"demo", "test", "setup"}
    assert {target for _, target, *_ in commands("make")} == targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for _, _, *settings in commands("make"):
        for setting in settings:
            assert re.search(rf"^{setting.partition('=')[0]} \?=", makefile, re.MULTILINE)


def test_readme_names_commands_that_parse() -> None:
    assert len(commands("tellegen")) >= 6
    for _, *arguments in commands("tellegen"):
        result = CliRunner().invoke(main, [*arguments, "--help"])  # options are read before help is shown
        assert result.exit_code == 0, f"{arguments}: {result.output}"
        assert result.output.startswith(f"Usage: main {arguments[0]}")


def test_readme_table_has_every_command() -> None:
    rows = [line for line in README.splitlines() if line.startswith("| `")]
    named = {match[1] for row in rows if (match := re.match(r"\| `(\w+)", row))}
    assert set(main.commands) <= named


def test_readme_files_exist() -> None:
    files = re.findall(r"\]\((?!http)([^)#]+)\)", README) + [path for _, path, *_ in commands("python")]
    files += re.findall(r"examples/\w+\.toml", README)
    assert len(files) >= 6
    assert [name for name in files if not (ROOT / name).is_file()] == []


def test_readme_names_no_machine() -> None:
    hosts = set(re.findall(r"https?://([^/\s)]+)", README))
    assert hosts == {"download.pytorch.org", "www.cs.toronto.edu", "distributed.dask.org"}
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|usr|work|Users)\b", README)
