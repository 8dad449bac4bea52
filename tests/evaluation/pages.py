"""Helpers of the tests of pages: what a page holds, and an evaluation without a network."""

import html.parser

import numpy as np

from lbunet_tf.evaluation import choices
from lbunet_tf.evaluation import operating_point
from lbunet_tf.evaluation import scores
from lbunet_tf.evaluation import subgroups
from lbunet_tf.evaluation import uncertainty
from lbunet_tf.evaluation.reports import evaluated_run
from lbunet_tf.evaluation.reports import report_figures
from lbunet_tf.serving import chosen
from lbunet_tf.settings import config


class Page(html.parser.HTMLParser):
    """Collects text, attributes, and tags that are opened and not closed."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.words, self.links, self.open, self.tags = [], [], [], []
        self.images, self.ids = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)

    @property
    def tag_names(self):
        return {tag for tag, _ in self.tags}


def draw_nothing(folder):
    """Returns a file for every figure, none of them a picture."""
    paths = [folder / f"{name}.png" for name in report_figures.CAPTIONS]
    for path in paths:
        path.write_bytes(b"png")
    return paths


def section(text, anchor):
    """Returns the text of one section of a page, "" where it has none."""
    _, found, rest = text.partition(f'<section id="{anchor}"')
    return Page(f"<section{rest.partition('</section>')[0]}</section>").text if found else ""


def with_logit(table):
    if "score" not in table:
        return table
    with np.errstate(divide="ignore"):
        return table.assign(score_logit=np.log(table["score"] / (1 - table["score"])))


def measure(table, histogram, mask_source="lesion", is_own=True):
    """Returns the metrics of a table of predictions, with all that evaluate adds to them."""
    table = with_logit(table)
    point = choices.take_point(table, operating_point.Rule(), choices.Target())
    threshold = point["threshold"] if point else None
    histograms = {"val": histogram, "test": histogram}
    metrics = scores.evaluate_table(table, histograms, mask_source, 0.018, threshold)
    for split, values in metrics.items():
        part = table[table["split"] == split]
        values |= uncertainty.estimate(part, threshold, mask_source)
        if point:
            values["operating_point"] = point
    measured, _ = choices.calibrate(table, choices.Target())
    metrics["test"] |= measured | choices.make_sets(table, None, choices.Target(is_own=is_own))[0]
    return metrics


def evaluation(table, metrics, **fields):
    """Returns an EvaluatedRun of a table, with the groups of its test images."""
    test = table[table["split"] == "test"]
    threshold = metrics["test"].get("at_val_threshold", {}).get("threshold")
    given = {
        "title": "lbunet on isic2017",
        "metrics": metrics,
        "settings": config.make(run="runs/a", source=("isic2017",), heads=("mask", "melanoma")),
        "training": {"runs/a": {"epochs": 9, "best_epoch": 7, "monitor": "val_loss"}},
        "checks": {"skipped": 3, "crossings": {"patient_id": 0}},
        "counts": evaluated_run.count_parts(table.assign(mask="m.png")),
        "test": test,
        "groups": subgroups.measure(with_logit(test), chosen.Chosen(threshold)),
        "version": "9.8.7",
        "model_crc32": {"runs/a": 123456},
    }
    return evaluated_run.EvaluatedRun(**{**given, **fields})
