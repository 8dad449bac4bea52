"""Fills the templates of this package: an HTML page, or the Markdown of a model card.

Every value is escaped by the environment, never by whoever writes a template.
"""

import functools
import pathlib
import re
from collections.abc import Sequence

from lbunet_tf.evaluation.reports import document

FOLDER = pathlib.Path(__file__).parent / "templates"
# What Markdown may take for markup wherever it stands; an underscore only at the end of a word.
_MARKUP = re.compile(r"[\\`*\[\]{}<>|#~$&]|(?<![^\W_])_|_(?![^\W_])")


def page(title: str, sections: Sequence[document.Section], is_wide: bool = False) -> str:
    """Returns the HTML of a page that needs no other file.

    Args:
        title: What it is about.
        sections: The first has no entry in the table of contents, which a page of more than three
            sections has.
        is_wide: Whether it is made for one wide table.
    """
    return _fill("page.html.jinja", title=title, sections=sections, is_wide=is_wide)


def markdown(name: str, **values) -> str:
    """Returns a Markdown template with its values, each on one line and escaped."""
    return _fill(name, **values)


def escape_markdown(text: object) -> str:
    """Returns one line that Markdown shows as the text is: no markup, no HTML, no cell's end."""
    line = " ".join(str(text).split())
    return _MARKUP.sub(lambda found: f"\\{found[0]}", line)


def _fill(name, **values):
    return _environment(name.endswith(".html.jinja")).get_template(name).render(**values)


@functools.cache
def _environment(is_html):
    # Commands that write no page do not wait for it.
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=is_html,
        finalize=None if is_html else escape_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
