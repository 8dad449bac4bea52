"""The report of a run: one HTML file that needs nothing beside it."""

import base64
import html
import pathlib

import pandas as pd

from lbunet_tf.evaluation import report_parts

CAPTIONS = {
    "class_balance": "Images by part of the data and class.",
    "roc": "ROC: each point is a threshold. The further above the dotted line, the better the "
    "score ranks melanomas above other lesions.",
    "confusion_matrix": "Test images by true and predicted class, at 0.5 and at the threshold "
    "that was chosen on other images.",
    "threshold_curves": "What a threshold costs on the test images. PPV: the fraction of flagged "
    "images that are melanomas. It falls with prevalence.",
    "reliability": "Test images: how many are melanomas where a probability is said. On the dotted "
    "line the two agree; below it the probability is too high. The band holds 95 of 100 "
    "repetitions with other patients.",
    "decision_curve": "Net benefit: melanomas that are flagged, per image, less what false alarms "
    "cost at the threshold. A score is of use at a threshold where its line is above the others. "
    "Of calibrated probabilities; at another prevalence they are shifted, as if nothing else "
    "differed.",
    "training_curves": "Training: train and validation by epoch. The dotted line is the epoch "
    "that was kept.",
    "mask_sheet": "Test images with the best, median and worst agreement of prediction "
    "and target mask.",
}
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;margin:0 auto;max-width:62rem;padding:1rem}
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}
.note{background:#fff4e5;border-left:4px solid #d55e00;padding:.6rem 1rem}
.cards{display:flex;flex-wrap:wrap;gap:.8rem}.card{border:1px solid #ccc;border-radius:.4rem;
padding:.5rem .9rem;min-width:8rem}.card b{display:block;font-size:1.4rem}
.scroll{overflow-x:auto}table{border-collapse:collapse}td,th{padding:.25rem .7rem;
border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child{text-align:left}
figure{margin:1rem 0}img{max-width:100%;height:auto}.scroll img{min-width:40rem}
figcaption{color:#444;font-size:.9rem}
.wide{max-width:82rem}.wide td{white-space:nowrap}.wide td,.wide th{padding:.25rem .4rem}
pre{overflow-x:auto;background:#f5f5f5;padding:.6rem}
"""
NO_DEVICE = (
    '<p class="note">Research software, not a medical device. The numbers hold for the images '
    "named here and for nothing else; a score is no diagnosis.</p>"
)
# On a phone it is scrolled in its box: shrunk to the page it could not be read.
WIDE = ("mask_sheet",)


def build_report(
    title: str,
    metrics: dict[str, dict],
    figures: list[pathlib.Path],
    context: dict[str, str],
    flag_lines: list[str],
    groups: pd.DataFrame | None = None,
) -> str:
    """Returns the HTML of a run's report.

    Args:
        title: What was trained.
        metrics: `metrics.json`.
        figures: PNG files; each is embedded.
        context: Further facts, name -> sentence (leak check, training, skipped).
        flag_lines: The resolved flags.
        groups: As `subgroups.measure` gives them.
    """
    test = metrics["test"]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        NO_DEVICE,
        report_parts.headline(test),
        report_parts.label_note(test),
        "<h2>All numbers</h2>",
        report_parts.interval_note(test),
        report_parts.numbers_table(metrics),
        report_parts.source_table(test),
        report_parts.threshold_tables(test),
        report_parts.calibration_table(test),
        report_parts.set_table(test),
        report_parts.group_table(groups),
        "<h2>Figures</h2>",
        *(_figure(path) for path in figures),
        "<h2>How it was made</h2>",
        _facts(context),
        f"<pre>{html.escape(chr(10).join(flag_lines))}</pre>",
    ]
    return _page(title, parts)


def build_comparison(
    title: str, table: pd.DataFrame, facts: dict[str, str], figures: list[pathlib.Path]
) -> str:
    """Returns the HTML of a comparison.

    Args:
        title: What was compared.
        table: A row an experiment, text in the cells, words as names.
        facts: What a reader must know beside the numbers, name -> sentences.
        figures: PNG files; each is embedded.
    """
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        NO_DEVICE,
        report_parts.html_table(list(table.columns), table.astype(str).to_numpy().tolist()),
        _facts(facts),
        *(_figure(path) for path in figures),
    ]
    return _page(title, parts, "wide")


def _page(title, parts, body_class=""):
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f'<body class="{body_class}">' + "\n".join(parts) + "</body></html>\n"
    )


def _facts(facts):
    items = (f"<li><b>{html.escape(k)}:</b> {html.escape(v)}</li>" for k, v in facts.items())
    return "<ul>" + "\n".join(items) + "</ul>"


def _figure(path):
    data = base64.b64encode(path.read_bytes()).decode()
    caption = html.escape(CAPTIONS[path.stem])
    box = ' class="scroll"' if path.stem in WIDE else ""
    return (
        f'<figure><div{box}><img alt="{caption}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
