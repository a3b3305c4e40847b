"""`make setup` on machines that lack something, each faked by a PATH that holds nothing but stubs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SITE = """
import ctypes.util, os, sys
if not os.path.exists({library!r}):
    ctypes.util.find_library = lambda name: None
else:
    ctypes.util.find_library = lambda name: "libngspice.so.0"
if not os.path.exists({venv!r}):
    sys.modules["ensurepip"] = None
"""


class Machine:
    """A machine made of stubs: what is installed is a file of that name in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.log = folder / "log"
        self.environment = {"PATH": str(self.bin), "PYTHON": sys.executable, "PYTHONPATH": str(folder)}
        self.bin.mkdir()
        (folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "setup.sh", folder / ".ci" / "setup.sh")
        # sitecustomize stands in for the library and for ensurepip, in the real interpreter.
        site = SITE.format(library=str(folder / "libngspice0"), venv=str(folder / "python3-venv"))
        (folder / "sitecustomize.py").write_text(site)

    def stub(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{shutil.which('bash')}\necho \"{name} $*\" >>'{self.log}'\n{body}\n")
        path.chmod(0o755)

    def be(self, user: str) -> None:
        self.stub("id", f"echo {0 if user == 'root' else 1000}")

    def have(self, *packages: str) -> None:
        for package in packages:
            if package == "ngspice":
                self.stub("ngspice", "exit 0")
            else:
                (self.folder / package).touch()

    def install_with(self, name: str) -> None:
        """Stub an installer that succeeds: the library, ensurepip and the program then exist."""
        chmod = shutil.which("chmod")
        lines = [
            '[ "$1" != update ] || exit 0',
            f"cd '{self.folder}'",
            ": >libngspice0; : >python3-venv; : >bin/ngspice",
            f"{chmod} +x bin/ngspice",
        ]
        self.stub(name, "\n".join(lines))

    def calls(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if not line.startswith("id ")]

    def setup(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(shutil.which("bash")), str(self.folder / ".ci" / "setup.sh"), "system"],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def lines_to_copy(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.strip() for line in result.stderr.splitlines() if line.startswith("  ")]


def test_nothing_missing_calls_no_installer(machine: Machine) -> None:
    machine.be("root")
    machine.have("libngspice0", "python3-venv", "ngspice")
    machine.stub("apt-get", "exit 100")
    result = machine.setup()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert machine.calls() == []


def test_user_without_sudo_gets_one_line_to_copy(machine: Machine) -> None:
    machine.be("user")
    machine.have("python3-venv")
    machine.stub("apt-get", "exit 100")
    machine.stub("sudo", "echo 'sudo: a password is required' >&2; exit 1")
    result = machine.setup()
    assert result.returncode == 2
    assert lines_to_copy(result) == ["sudo apt-get update && sudo apt-get install -y libngspice0 ngspice"]
    assert machine.calls() == ["sudo -n true"]  # asked for no password, installed nothing


def test_machine_without_sudo_at_all(machine: Machine) -> None:
    machine.be("user")
    machine.have("libngspice0", "python3-venv")
    machine.stub("apt-get", "exit 100")
    result = machine.setup()
    assert result.returncode == 2
    assert lines_to_copy(result) == ["sudo apt-get update && sudo apt-get install -y ngspice"]


def test_user_with_sudo_installs_what_is_missing(machine: Machine) -> None:
    machine.be("user")
    machine.have("python3-venv")
    machine.install_with("apt-get")
    machine.stub("env", 'shift; exec "$@"')
    machine.stub("sudo", 'shift; [ "$1" = true ] || exec "$@"')
    result = machine.setup()
    assert result.returncode == 0, result.stderr
    assert "apt-get update" in machine.calls()
    assert "env DEBIAN_FRONTEND=noninteractive apt-get install -y libngspice0 ngspice" in machine.calls()


def test_root_updates_first_and_needs_no_sudo(machine: Machine) -> None:
    machine.be("root")
    machine.have("python3-venv")
    machine.install_with("apt-get")
    result = machine.setup()
    assert result.returncode == 0, result.stderr
    assert machine.calls() == ["apt-get update", "apt-get install -y libngspice0 ngspice"]


def test_missing_ensurepip_asks_for_the_venv_package(machine: Machine) -> None:
    machine.be("root")
    machine.have("libngspice0", "ngspice")
    machine.stub("apt-get", "exit 100")
    result = machine.setup()
    assert result.returncode == 2
    (line,) = lines_to_copy(result)
    assert line.startswith("apt-get update && apt-get install -y python3")
    assert line.endswith("-venv")


def test_root_offline_gets_one_line_to_copy(machine: Machine) -> None:
    machine.be("root")
    machine.have("python3-venv")
    machine.stub("apt-get", "echo 'E: no network' >&2; exit 100")
    result = machine.setup()
    assert result.returncode == 2
    assert lines_to_copy(result) == ["apt-get update && apt-get install -y libngspice0 ngspice"]


def test_homebrew(machine: Machine) -> None:
    machine.install_with("brew")
    result = machine.setup()
    assert result.returncode == 0, result.stderr
    assert machine.calls() == ["brew install libngspice ngspice"]


def test_neither_installer_names_the_ways_out(machine: Machine) -> None:
    result = machine.setup()
    assert result.returncode == 2
    assert "NGSPICE_LIBRARY_PATH" in result.stderr


def test_library_path_of_the_user_counts(machine: Machine) -> None:
    machine.have("python3-venv", "ngspice")
    library = machine.folder / "libngspice.so"
    library.touch()
    assert machine.setup(NGSPICE_LIBRARY_PATH=str(machine.folder / "libngspice{}.so")).returncode == 0
    library.unlink()
    result = machine.setup(NGSPICE_LIBRARY_PATH=str(library))
    assert result.returncode == 2
    assert f"{library} is no file" in result.stderr


def test_old_python_is_named(machine: Machine) -> None:
    machine.stub("old", 'if [ "$1" = -c ]; then exit 1; else echo Python 3.9.2; fi')
    result = machine.setup(PYTHON="old")
    assert result.returncode == 2
    assert "'old' is Python 3.9.2; Python 3.11 or newer is needed" in result.stderr
    assert machine.setup(PYTHON="absent").returncode == 2


def test_makefile_has_the_promised_targets() -> None:
    targets = ["setup", "demo", "test", "check", "bench", "clean"]
    result = subprocess.run(
        [str(shutil.which("make")), "--dry-run", *targets],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stderr
