"""What comes from outside stays text, in HTML and in Markdown."""

import subprocess
import sys

import jinja2
import pytest

from lbunet_tf.evaluation.reports import document
from lbunet_tf.evaluation.reports import rendering


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, 0.5 (n=3)", "plain text, 0.5 (n=3)"),
        ("<b>", r"\<b\>"),
        ("a|b", r"a\|b"),
        ("[x](y)", r"\[x\](y)"),
        ("*a* `b` #c", r"\*a\* \`b\` \#c"),
        ("image_id", "image_id"),
        ("_a_", r"\_a\_"),
        ("C:\\x", "C:\\\\x"),
        ("&lt;", r"\&lt;"),
        ("two\n# lines", r"two \# lines"),
        (3, "3"),
    ],
)
def test_markup_is_escaped_in_markdown(text, expected):
    assert rendering.escape_markdown(text) == expected


@pytest.mark.parametrize(
    "block",
    [
        document.Paragraph("<i>"),
        document.Cards([document.Card("<i>", "<i>", "<i>")]),
        document.Table("<i>", ["<i>", "<i>"], [["<i>", "<i>"]]),
        document.Figure("", '"<i>', "<i>"),
        document.Facts({"<i>": "<i>"}),
        document.Items(["<i>"]),
        document.Code("<i>", ["<i>"]),
    ],
    ids=lambda block: block.kind,
)
def test_every_kind_of_block_is_drawn_and_escaped(block):
    page = rendering.page("title", [document.Section("a", "b", [block])])

    assert "<i>" not in page and "&lt;i&gt;" in page


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        rendering.markdown("model_card.md.jinja", title="a")


def test_a_short_page_has_no_table_of_contents():
    sections = [document.Section(name, name, [document.Paragraph("x")]) for name in "abcd"]

    assert "<nav" not in rendering.page("t", sections[:3])
    assert "<nav" in rendering.page("t", sections)


def test_templates_are_read_only_when_a_page_is_made():
    code = "import sys; from lbunet_tf.evaluation.reports import report"
    code += "; print('jinja2' in sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == "False"
