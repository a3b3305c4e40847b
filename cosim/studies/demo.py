"""The demonstration: train handwritten digits at circuit level, evaluate, check gradients, and say what came out.

Everything stands in one run folder; each finding is one line with the file that holds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.console import Console

from ..files import format_json, write_atomically
from ..training.config import SimulatorKind
from ..training.config_file import load_config
from ..training.result import Result
from ..training.run import evaluate, train
from .example import find_example
from .gradcheck import gradcheck
from .gradcheck_report import GradcheckReport

CONFIG = Path("examples/digits.toml")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DemoReport:
    """What the demonstration found.

    Args:
        result: of training.
        evaluation: the same network in the other simulator.
        gradients: the gradient check.
    """

    result: Result
    evaluation: Result
    gradients: GradcheckReport

    @property
    def passed(self) -> bool:
        """Whether the gradients are right."""
        return self.gradients.passed

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen demo --json` writes."""
        return {
            "pass": self.passed,
            "result": self.result.to_json(),
            "evaluation": self.evaluation.to_json(),
            "gradcheck": self.gradients.to_json(),
        }


def demo(
    out: Path,
    *,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    console: Console | None = None,
) -> DemoReport:
    """Run the demonstration.

    Args:
        out: run folder.
        config: another configuration than examples/digits.toml.
        overrides: "training.epochs=1" and the like.
        force: replace a run that is there.
        console: where to say what came out; standard output if left out.

    Returns:
        the findings.

    Raises:
        ConfigError: if the configuration is not found or wrong.
        RunError: if the run folder is taken or cannot be written.
        SimulatorNotFound: if ngspice is not installed.
    """
    console = console or Console()
    settings = load_config(config or find_example(CONFIG), overrides)
    result = train(settings, out, force=force, console=console)
    trained_in = settings.simulator.name
    other = SimulatorKind.NEWTON if trained_in is SimulatorKind.NGSPICE else SimulatorKind.NGSPICE
    evaluation = evaluate(out, simulator=other)
    write_atomically(out / "evaluation.json", format_json(evaluation.to_json()).encode())
    gradients = gradcheck(out, out=out)
    write_atomically(out / "gradcheck.json", format_json(gradients.to_json()).encode())
    report = DemoReport(result=result, evaluation=evaluation, gradients=gradients)
    for line in _findings(report, out):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return report


def _findings(report: DemoReport, out: Path) -> list[str]:
    result, evaluation = report.result, report.evaluation
    accuracies = "test " + ", ".join(f"{r.test_accuracy:.4f} in {r.simulator}" for r in (evaluation, result))
    verdict = "agree" if report.passed else "DO NOT agree"
    accuracy = f"test accuracy {result.test_accuracy:.4f} (training {result.train_accuracy:.4f})"
    return [
        f"took       {result.lines()[1]}",
        f"trained    {accuracy}: {out / 'result.json'}",
        f"evaluated  {accuracies}: {out / 'evaluation.json'}",
        f"gradients  {verdict} with implicit differentiation: {out / 'gradcheck.json'}",
        f"plots      {', '.join(str(path) for path in sorted(out.glob('*.png')))}",
    ]
