"""PH2 as it is handed out: a table as text or as a spreadsheet, and one folder per image."""

import pathlib

import pandas as pd

from lbunet_tf.data import identifiers
from lbunet_tf.data.sources import downloads

TABLES = ("PH2_dataset.txt", "PH2_dataset.xlsx")
DIAGNOSES = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
CODE = "clinical diagnosis"


def ph2(folder: pathlib.Path) -> pd.DataFrame:
    """Returns the manifest of PH2 (Mendonca et al. 2013): 200 BMP images with lesion masks.

    `PH2_dataset.txt` is a table drawn with bars, of which copies separated by tabs circulate;
    its clinical diagnosis is 0 common nevus, 1 atypical nevus, 2 melanoma.
    `PH2_dataset.xlsx` has a column for each of the three, and an X in one of them.
    """
    places = (f"{below}{name}" for below in ("", "PH2Dataset/") for name in TABLES)
    path = downloads.first_existing(folder, tuple(places), "the table")
    images = downloads.first_existing(path.parent, ("PH2 Dataset images",), "the images")
    lines = _spreadsheet(path) if path.suffix.lower() == ".xlsx" else _text(path)
    rows = [
        {
            "image_id": name,
            "image": _file_in(images, name, "_Dermoscopic_Image", name),
            "mask": _file_in(images, name, "_lesion", f"{name}_lesion"),
            "label": float(code == "2"),
            "diagnosis": DIAGNOSES[code],
            "official_part": "train",
        }
        for name, code in _codes(path, lines)
    ]
    if not rows:
        raise ValueError(f"{path} must have rows such as '|| IMD003 || ... ||'. Received: none")
    return pd.DataFrame(rows)


def _file_in(images, name, kind, stem):
    return downloads.files_of(images / name / f"{name}{kind}", [stem], ".bmp")[0]


def _text(path):
    """Returns the cells of each line; the original is in Latin-1, copies in what saved them."""
    contents = path.read_bytes()
    marks = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
    encodings = (name for mark, name in marks.items() if contents.startswith(mark))
    text = contents.decode(next(encodings, "latin-1"), errors="replace")
    return [line.split("||" if "||" in line else "\t") for line in text.splitlines()]


def _spreadsheet(path):
    """Returns the cells of each row."""
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{path} is read with openpyxl: pip install 'lbunet_tf[xlsx]', or put PH2_dataset.txt "
            "next to it"
        ) from error
    try:
        sheet = pd.read_excel(path, header=None, dtype=str, keep_default_na=False)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} must be a spreadsheet. {error}") from error
    return sheet.fillna("").astype(str).to_numpy().tolist()


def _codes(path, lines):
    """Yields (image, code of its clinical diagnosis) of each row that names an image."""
    columns = {"name": 1, CODE: 3}
    for number, line in enumerate(lines, start=1):
        cells = [cell.strip(identifiers.INVISIBLE + '"') for cell in line]
        words = [" ".join(cell.lower().split()) for cell in cells]
        if found := {"name", "image name"} & set(words):
            columns = {word: position for position, word in enumerate(words) if word}
            columns["name"] = words.index(found.pop())
        name = _cell(cells, columns["name"])
        if name.startswith("IMD"):
            yield name, _code(path, number, name, cells, columns)


def _code(path, number, name, cells, columns):
    if CODE in columns:
        if len(cells) <= columns[CODE]:
            raise ValueError(
                f"{path} must have a clinical diagnosis in line {number}. Received: "
                f"{' '.join(cells)}"
            )
        code = cells[columns[CODE]]
        if code not in DIAGNOSES:
            raise ValueError(
                f"{path} must give each image a clinical diagnosis of 0, 1 or 2. Received: "
                f"{code!r} for {name} in line {number}"
            )
        return code
    marked = [
        code
        for code, diagnosis in DIAGNOSES.items()
        if _cell(cells, columns.get(diagnosis, len(cells)))
    ]
    if len(marked) != 1:
        raise ValueError(
            f"{path} must mark one of {', '.join(DIAGNOSES.values())} for each image. Received: "
            f"{len(marked)} marks for {name} in line {number}"
        )
    return marked[0]


def _cell(cells, position):
    return cells[position] if position < len(cells) else ""
