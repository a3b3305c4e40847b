"""From a network without circuits to circuits that go on learning, with the accuracy at each step, in about a minute.

    deep Hopfield blocks, trained in torch --program--> crossbars with active leaks --compile--> decks, run by ngspice
                                           --program--> passive crossbars --train--> fine-tuned in ngspice, 8 bits

Expected: trained 0.987, on circuits with active leaks the same, shrunk to passive ones 0.10, fine-tuned 0.988 (means
of seeds 0, 1, 2).

Run: python examples/05_program_and_finetune.py [SEED] [key=value ...]      (keys of the fine-tuning)
"""

import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from circuits.diode import K_OVER_Q_V_PER_K
from cosim.compilation.compiled_run import compile_run, evaluate_bundle
from cosim.compilation.verification import verify_bundle
from cosim.programming.settings import ActiveLeaks
from cosim.studies.example import find_example
from cosim.training.config import SimulatorKind
from cosim.training.config_file import load_circuit, load_config
from cosim.training.programmed import programming_settings
from cosim.training.run import train
from cosim.training.start import complete_tables


def main() -> None:
    """Train, program, compile, evaluate, fine-tune."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    overrides = [f"training.seed={seed}", *sys.argv[2:]]
    finetune = find_example(Path("examples/finetune.toml"))
    quiet = Console(file=io.StringIO())

    with tempfile.TemporaryDirectory() as folder:
        digital, bundle, tuned = (Path(folder) / name for name in ("digital", "bundle", "finetuned"))

        config = load_config(find_example(Path("examples/digits_hopfield.toml")), [f"training.seed={seed}"])
        result = train(config, digital, console=quiet)
        report("trained in torch", result.test_accuracy, f"{result.wall_s:.0f} s")

        passive = programming_settings(load_circuit(finetune), k_over_q_v_per_k=K_OVER_Q_V_PER_K)
        active = replace(passive, active_leaks=ActiveLeaks.ALLOW)
        for name, settings in (("active leaks", active), ("passive", passive)):
            compiled = compile_run(digital, bundle, samples=3, programming=settings, force=bundle.exists())
            verified = verify_bundle(bundle, console=quiet)
            scored = evaluate_bundle(bundle, simulator=SimulatorKind.NGSPICE)
            leaks = [block.counts.get("active_leaks", 0) for block in compiled.manifest.blocks]
            note = f"{sum(leaks)} active leaks, decks within {verified.max_abs_error_v:.0e} V"
            report(f"compiled, {name}, ngspice", scored.test_accuracy, note)

        config = load_config(finetune, overrides, complete=lambda tables: complete_tables(tables, digital))
        result = train(config, tuned, console=quiet)
        note = f"{result.epochs} epochs, {result.wall_s:.0f} s"
        report("fine-tuned, passive, ngspice, 8 bits", result.test_accuracy, note)


def report(step: str, accuracy: float, note: str) -> None:
    """Print a step and what it reached on the images held out."""
    print(f"{step:38} {accuracy:.4f}   {note}")


if __name__ == "__main__":
    main()
