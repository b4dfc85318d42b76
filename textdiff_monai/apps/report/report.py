"""``textdiff report``: what a run's folder holds, as one page."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from textdiff_monai.apps.charts import as_svg, histogram, intervals_plot, reliability_plot, roc_plot, training_curves
from textdiff_monai.apps.report.findings import findings_of
from textdiff_monai.data.files import written_file


def report(run: str | Path, out: str | Path | None = None, split: str = "test", title: str | None = None) -> Path:
    """Write one page about a trained and evaluated run: how good it is, where it is wrong, how to repeat it.

    The page is a single self-contained file: figures with intervals, what the sentence is worth (if the run was also
    evaluated with other captions: evaluate.json with --captions none, other, swapped, reworded), training curves, every
    case with its picture, recipe and hashes. It contains images and sentences from your data: share it only if you may
    share these.

    Args:
        run: the folder that training and evaluation wrote to.
        out: the page; default report.html in the folder.
        split: the split that was evaluated.
        title: title of the page; default the folder's name.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: for a folder without an evaluation.
    """
    found = findings_of(Path(run), split)
    cases, readings, history = found["cases"], found["readings"], found["history"]
    plots = dict.fromkeys(("histogram", "readings", "training", "reliability", "presence"), "")
    if dice := [case["figures"][0] for case in cases if case["figures"] and case["figures"][0] is not None]:
        plots["histogram"] = as_svg(histogram(dice), "histogram", f"Histogram of the Dice of {len(dice)} cases")
    if len(readings) > 1:
        told = "; ".join(f"{reading['name']} {reading['mean']}" for reading in readings)
        plots["readings"] = as_svg(intervals_plot([one["plotted"] for one in readings]), "readings", f"Dice: {told}")
    if history:
        meaning = f"Loss and validation figures over {len(history)} epochs"
        plots["training"] = as_svg(training_curves(history), "training", meaning)
    if calibration := found["calibration"]:
        meaning = "Share of pixels that are right against the probability that was said"
        plots["reliability"] = as_svg(reliability_plot(calibration), "reliability", meaning)
        if presence := calibration["presence"]:
            meaning = f"ROC of the presence, area {presence['auc']:.3f}"
            plots["presence"] = as_svg(roc_plot(presence), "presence", meaning)
    # Everything from the data is escaped; the plots' texts are, by matplotlib.
    environment = Environment(
        loader=PackageLoader("textdiff_monai.apps", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        found,
        title=title or Path(run).resolve().name,
        split=split,
        epochs=len(history),
        plots={name: Markup(plot) for name, plot in plots.items()},
    )
    target = Path(out) if out else Path(run) / "report.html"
    with written_file(target) as partial:
        partial.write_text(page, encoding="utf-8")
    return target
