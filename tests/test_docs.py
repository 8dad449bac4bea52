"""README.md and docs/ say what is so: commands parse, Python runs, links lead somewhere."""

import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest
from absl import flags
from PIL import Image

from lbunet_tf import export
from lbunet_tf.settings import flagfiles

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "scripts/benchmarks/README.md", *(ROOT / "docs").glob("*.md")]
PAGES += (ROOT / "lbunet_tf/released").glob("*/*.md")
NOTES = [ROOT / "BUILD_NOTES.md", ROOT / "CHANGELOG.md"]
BLOCK = re.compile(r"^(<!-- no-run: [^\n]+ -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Commands whose flags alone make a Config; the others read a run.
WITHOUT_RUN = ("train", "prepare", "tune", "compare")


def blocks(language):
    """Returns (page:line, text) of each code block that is not marked as no-run."""
    found = []
    for page in sorted(PAGES):
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match[2] == language and not match[1]:
                line = text[: match.start()].count("\n") + 1
                found.append((f"{page.relative_to(ROOT)}:{line}", match[3]))
    return found


def commands():
    """Returns (page:line, command) of every line of the bash blocks, continued lines joined."""
    return [
        (where, line.strip())
        for where, text in blocks("bash")
        for line in text.replace("\\\n", " ").splitlines()
        if line.strip() and not line.startswith("#")
    ]


def of_package():
    """Returns (page:line, entry, arguments) of the commands of this package."""
    pattern = r"(?:\blbunet |python -m lbunet_tf\.)(\w+)(.*)"
    matches = [(where, re.search(pattern, command)) for where, command in commands()]
    return [
        (where, match[1], shlex.split(match[2].replace("$DATA", "/data"), comments=True))
        for where, match in matches
        if match
    ]


@pytest.mark.parametrize(
    "where, entry, arguments", [pytest.param(*c, id=f"{c[0]} {c[1]}") for c in of_package()]
)
def test_a_documented_command_parses(where, entry, arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    # The flagfiles of runs are there once the command before has been given.
    given = [a for a in arguments if not a.startswith("--flagfile=runs/")]
    values = flags.FlagValues()
    flagfiles.define_flags(entry, values)

    left = flagfiles.parse([entry, *given], values)

    assert len(left) == 1 or entry == "predict", left
    if entry in WITHOUT_RUN and given == arguments:
        flagfiles.from_flags(entry, values)


@pytest.mark.parametrize(
    "where, command", [pytest.param(*c, id=c[0]) for c in commands() if "scripts/" in c[1]]
)
def test_a_documented_script_is_there_and_knows_its_options(where, command):
    names = re.findall(r"\bscripts/[\w/]+\.\w+", command)
    texts = [(ROOT / name).read_text() for name in names]
    texts.append((ROOT / "scripts/benchmarks/bench_turns.py").read_text())
    if "python scripts/" in command:
        for option in re.findall(r"(--\w+)", command.split("#")[0]):
            assert any(option in text for text in texts), option


def test_there_are_commands_and_blocks_to_check():
    assert len(of_package()) > 20 and len(blocks("python")) > 3


@pytest.fixture(scope="module")
def folder_of_a_reader(untrained_run, tmp_path_factory):
    """A folder with image.jpg and the runs that the pages name, exported."""
    folder = tmp_path_factory.mktemp("reader")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype("uint8")
    Image.fromarray(pixels).save(folder / "image.jpg")
    for name in ("quickstart", "lesion"):
        shutil.copytree(untrained_run, folder / "runs" / name)
    settings = flagfiles.read(str(folder / "runs/lesion"))
    export.export(settings)
    export.export(settings.replace(format="openvino"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("where, text", [pytest.param(*b, id=b[0]) for b in blocks("python")])
def test_documented_python_runs(where, text, folder_of_a_reader, monkeypatch):
    monkeypatch.chdir(folder_of_a_reader)
    # The run of the tests is smaller, and there is no network.
    text = text.replace("128", "32").replace('"imagenet"', '"none"')

    exec(compile(text, where, "exec"), {})


def links():
    """Returns (page, target) of each link of a page that leads to a file or an anchor of ours."""
    found = []
    for page in [*PAGES, *NOTES]:
        text = BLOCK.sub("", page.read_text())
        found += [(page, target) for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    return [(page, target) for page, target in found if not target.startswith("http")]


def anchors(page):
    """Returns the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_files_and_headings():
    broken = []
    for page, target in links():
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(f"{page.relative_to(ROOT)}: {target}")

    assert not broken


def test_readme_links_to_every_page():
    named = {target.partition("#")[0] for page, target in links() if page == ROOT / "README.md"}

    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= named


def test_pictures_are_shown_and_small():
    shown = {(page.parent / target).resolve() for page, target in links()}
    pictures = {path for path in (ROOT / "docs/pictures").iterdir() if path.is_file()}

    assert pictures <= shown
    assert sum(picture.stat().st_size for picture in pictures) < 3_000_000


@pytest.mark.parametrize("page", [*PAGES, *NOTES], ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_at_most_100_columns(page):
    long = [
        f"{number}: {len(line)}"
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if len(line) > 100 and not line.lstrip().startswith("|") and "https://" not in line
    ]

    assert not long


def test_readme_fits_on_a_few_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("where, text", [pytest.param(*b, id=b[0]) for b in blocks("diff")])
def test_a_documented_diff_fits_the_code(where, text):
    for part in re.split(r"^--- a/.*\n(?=\+\+\+ b/)", text, flags=re.MULTILINE)[1:]:
        name, *hunks = re.split(r"^@@\n", part, flags=re.MULTILINE)
        code = (ROOT / name.strip().removeprefix("+++ b/")).read_text()
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if not line.startswith("+"))
            assert before in code, hunk
