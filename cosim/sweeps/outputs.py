"""What a sweep leaves in its folder besides the store: tables, pictures and the summary; all made anew each time."""

from collections.abc import Callable
from pathlib import Path

from .curves import list_panels, plot_curves, plot_training_curves
from .dots import plot_dots
from .heat_map import heat_map_axes, plot_heat_map
from .results import Results
from .sweep_file import Do
from .tables import write_csv, write_parquet
from .tornado import list_effects, plot_tornado

GRADIENTS = ("gradient_cosine", "estimate_cosine", "gradient_norm_ratio", "estimate_norm_ratio")


def write_outputs(results: Results, folder: Path, title: str) -> dict[str, str]:
    """Write tables and pictures.

    Args:
        results: of a sweep that is done.
        folder: the sweep's.
        title: what the sweep is.

    Returns:
        what each picture shows, by file name.

    Raises:
        RunError: if a file cannot be written.
    """
    rows, columns = results.rows(), results.columns
    write_csv(columns, rows, folder / "results.csv")
    write_parquet(columns, rows, folder / "results.parquet")
    shown: dict[str, str] = {}
    for name, (text, draw) in _pictures(results, title).items():
        draw(folder / name)
        shown[name] = text
    return shown


def _pictures(results: Results, title: str) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Return the pictures that make sense: what each shows, and what draws it."""
    spec = results.plan.spec
    pictures: dict[str, tuple[str, Callable[[Path], None]]] = {}
    if not results.measures("accuracy"):
        return pictures  # every point failed
    measures = ("accuracy", "epochs_to_90") if spec.do is Do.TRAIN else ("accuracy",)
    what = "the mean over the seeds, its 95 % confidence interval, and each seed as a dot"
    trained = ", and the epochs it took to get to 90 % of it" if len(measures) > 1 else ""
    if spec.points:
        pictures["accuracy.png"] = (
            f"accuracy on the images held out{trained}: {what}",
            lambda path: plot_dots(results, measures, path, title),
        )
    elif list_panels(results):
        pictures["accuracy.png"] = (
            f"accuracy on the images held out{trained}: {what}",
            lambda path: plot_curves(results, measures, path, title),
        )
    if results.measures("gradient_cosine"):
        text, gradients = _gradients(results)
        if spec.points:
            pictures["gradient_cosine.png"] = text, lambda path: plot_dots(results, gradients, path, title)
        elif list_panels(results):
            pictures["gradient_cosine.png"] = text, lambda path: plot_curves(results, gradients, path, title)
    if spec.do is not Do.EVALUATE:
        pictures["training.png"] = (
            "accuracy over the epochs, mean over the seeds; of up to four combinations with the 95 % band",
            lambda path: plot_training_curves(results, path, title),
        )
    if heat_map_axes(results) is not None:
        pictures["heat_map_accuracy.png"] = (
            "mean accuracy over two axes",
            lambda path: plot_heat_map(results, "accuracy", path, title),
        )
        if results.measures("gradient_cosine"):
            pictures["heat_map_gradient_cosine.png"] = (
                "mean cosine with the exact gradient of the ideal network over two axes",
                lambda path: plot_heat_map(results, "gradient_cosine", path, title),
            )
    effects = list_effects(results)
    if effects:
        start = next(p for p in results.settings() if p.label == "nominal")
        nominal = results.estimate(start.setting, "accuracy")
        pictures["tornado.png"] = (
            "change of accuracy from the nominal point, each axis alone at its ends, paired by seed",
            lambda path: plot_tornado(effects, nominal, path, title),
        )
    return pictures


def _gradients(results: Results) -> tuple[str, tuple[str, ...]]:
    """Return what the picture of gradients shows, and the measures in it: without an effect on circuits only two."""
    text = "conductance gradients by EP, cosine and norm ratio with the exact ones of the ideal network"
    measured = [outcome.measured for outcome in results.outcomes.values() if outcome.error is None]
    if all(m.get("gradient_cosine") == m.get("estimate_cosine") for m in measured):
        return f"{text}; those of the same circuit are no others at any point", GRADIENTS[::2]
    return f"{text} (what everything together does) and of the same circuit (what the estimation loses)", GRADIENTS
