"""The peers' circuits: gradients against finite differences, voltages against coordinate descent, and they learn."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "peers"
STEMS = ("ebana", "kendall2020", "scellier2024")

if not FOLDER.is_dir():
    pytest.skip("no examples beside an installed wheel", allow_module_level=True)

BOTH = pytest.mark.parametrize(
    "simulator",
    [NewtonSimulator(), pytest.param(NgspiceSimulator(), marks=pytest.mark.ngspice)],
    ids=lambda simulator: simulator.name,
)


def load(stem: str) -> ModuleType:
    """In this process: a new one would take longer to import torch than most of these take."""
    spec = importlib.util.spec_from_file_location(f"peers_{stem}", FOLDER / f"{stem}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module: ModuleType, *arguments: str) -> list[str]:
    result = CliRunner().invoke(module.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output.splitlines()


@BOTH
def test_kendall_gradients_are_those_of_finite_differences(simulator: AbstractSimulator) -> None:
    checked = list(load("kendall2020").check_gradient(simulator, pixels=4, hidden=6, classes=2, devices=12))
    assert [agreed.crossbar for agreed in checked] == ["w1", "w2", "b1"]
    for agreed in checked:  # each by itself: a layer's weight that is lost shows in its own norm
        assert agreed.cosine >= 0.9999
        assert agreed.norm_ratio == pytest.approx(1.0, abs=1e-3)


def test_kendall_rails_are_as_published_and_the_network_learns() -> None:
    module = load("kendall2020")
    clamp = module.build_block(64, 100, 10).layers[0].clamp
    assert clamp.rails_v(300.15) == pytest.approx((0.7, 0.3), abs=2e-3)
    assert module.train(NewtonSimulator(), seed=0, epochs=2, samples=128) > 0.5


@BOTH
def test_scellier_difference_falls_with_the_on_resistance(simulator: AbstractSimulator) -> None:
    found = load("scellier2024").compare(simulator, (1e3, 1.0), hidden=(16, 8), samples=8)
    large, small = (point.largest_difference_v for point in found)
    assert small <= 5e-6
    assert large / small == pytest.approx(1e3, rel=0.02)
    assert all(0.2 < point.on_share < 0.8 for point in found)


@pytest.mark.ngspice
def test_ebana_solves_xor_and_iris_in_ngspice() -> None:
    module, simulator = load("ebana"), NgspiceSimulator()
    xor = module.train(module.xor(), simulator, epochs=40, seed=0)
    assert xor.accuracy == 1.0
    iris = module.train(module.iris(0), simulator, epochs=15, seed=0)
    assert iris.accuracy >= 0.9
    assert 0.0 < iris.fastest_s <= iris.median_s
    assert run(module, "--seeds", "1", "--epochs", "2")[-1].startswith("EBANA itself: 3.6 s an epoch")


@pytest.mark.parametrize("stem", STEMS)
def test_a_peer_is_public_and_its_readme_has_it(stem: str) -> None:
    text = (FOLDER / f"{stem}.py").read_text(encoding="utf-8")
    assert text.endswith('if __name__ == "__main__":\n    main()\n')
    assert "Expected:" in text.split('"""')[1]
    assert not re.search(r"import _|\b\w+\._[a-z]", text), "public names only"
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"python examples/peers/{stem}.py" in readme
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == sorted(STEMS)
