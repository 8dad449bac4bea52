"""Properties of manifests whose ids are any text at all."""

import unicodedata

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from lbunet_tf.data import identifiers
from lbunet_tf.data import manifests
from lbunet_tf.data import splits
from lbunet_tf.storage import whole_files

# Any text, and what comes near what people write: a few ids with marks around and accents.
MARKS = st.sampled_from(["", " ", "\t", "\xa0", "\ufeff", "\u200b"])
WORDS = st.sampled_from(
    ["P1", "P2", "p1", "Jos\u00e9", "Jose\u0301", "unknown", "nan", "-", "=1+1"]
)
NEAR = st.builds("{}{}{}".format, MARKS, WORDS, MARKS)
TEXTS = st.one_of(st.text(max_size=8), st.text(st.characters(), max_size=4), NEAR)
ROWS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=8)
IDS = ("image_id", "patient_id", "lesion_id")
SETTINGS = hypothesis.settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)


def _table(rows):
    ids, patients, lesions = zip(*rows, strict=True)
    columns = {"image_id": ids, "patient_id": patients, "lesion_id": lesions}
    table = pd.DataFrame(columns, dtype=object)
    return table.assign(image=[f"/d/{number}.png" for number in range(len(rows))])


@SETTINGS
@hypothesis.given(ROWS)
def test_ids_are_refused_or_read_back_equal(tmp_path, rows):
    try:
        table = manifests.check(manifests.complete(_table(rows), "manifest"))
    except ValueError as error:
        assert "row " in str(error) and any(name in str(error) for name in IDS)
        return
    whole_files.write_table(tmp_path / "rows.csv", table)

    again = manifests.read(tmp_path / "rows.csv")

    for column in ("image_id", "patient_id", "lesion_id", "image"):
        assert again[column].tolist() == table[column].tolist()


def _shown(text):
    return unicodedata.normalize("NFC", text.strip(identifiers.INVISIBLE))


@SETTINGS
@hypothesis.given(st.lists(NEAR, min_size=6, max_size=20), st.integers(0, 99))
def test_patients_that_look_equal_stand_on_one_side(patients, seed):
    rows = [(f"i{number}", patient, "") for number, patient in enumerate(patients)]
    table = manifests.check(manifests.complete(_table(rows), "manifest"))

    divided = splits.assign(table, "patient", (50, 25, 25), seed)

    shown = np.array([_shown(patient) for patient in patients])
    for patient in set(shown) - {"unknown", "nan", "-"}:
        assert divided["split"][shown == patient].nunique() == 1
    assert splits.crossings(divided)["patient_id"] == 0


@SETTINGS
@hypothesis.given(ROWS, st.sampled_from([",", ";", "\t"]))
def test_cells_of_any_text_are_refused_or_read_as_written(tmp_path, rows, separator):
    table = _table(rows)
    path = tmp_path / "rows.csv"
    try:
        table.to_csv(path, index=False, sep=separator, quoting=1)
        again = manifests.read(path)
    except ValueError as error:
        assert not isinstance(error, UnicodeDecodeError)
        return

    assert again["image_id"].tolist() == [row[0].strip(identifiers.INVISIBLE) for row in rows]


@pytest.mark.parametrize("column", IDS)
def test_half_a_character_is_named_by_row_and_column(column):
    pytest.importorskip("pyarrow")
    rows = _table([("a", "b", "c"), ("d", "e", "f")])
    rows.loc[1, column] = "\ud800"

    with pytest.raises(ValueError, match=f"row 2: {column} must be Unicode"):
        manifests.complete(rows, "manifest")
