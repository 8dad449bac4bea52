"""Tests of tables that grow and of tables that a spreadsheet opens."""

import csv

import hypothesis
import pandas as pd
import pytest
from hypothesis import strategies

from lbunet_tf.storage import growing_table
from lbunet_tf.storage import spreadsheets

COLUMNS = ("image_id", "score")


def test_lines_are_added_to_those_that_were_written(tmp_path):
    path = tmp_path / "t.csv"
    growing_table.write(path, COLUMNS, [("a", "1")])
    with growing_table.appending(path) as append:
        append([("b,c", "2"), ("d", "3")])
        # On the disk already, whatever happens to this process.
        assert growing_table.read(path, COLUMNS) == [["a", "1"], ["b,c", "2"], ["d", "3"]]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_line_that_was_cut_is_left_out(tmp_path, cut):
    path = tmp_path / "t.csv"
    growing_table.write(path, COLUMNS, [("a", "1"), ('b"', "2.345")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert growing_table.read(path, COLUMNS) == [["a", "1"]]


def test_a_table_that_is_not_there_has_no_lines(tmp_path):
    assert growing_table.read(tmp_path / "t.csv", COLUMNS) == []


@pytest.mark.parametrize("formula", ["=1+1", "+cmd|' /C calc'!A0", "-x", "@SUM(A1)", "\t=1", "'=1"])
def test_what_begins_like_a_formula_is_quoted(formula):
    assert spreadsheets.quoted(formula) == f"'{formula}"


@pytest.mark.parametrize("plain", ["ISIC_1", "-1.5", "+3", "1e-5", "a=b", "", "'quoted'"])
def test_names_and_numbers_stay_as_they_are(plain):
    assert spreadsheets.quoted(plain) == plain


@hypothesis.given(strategies.lists(strategies.text(max_size=5), unique=True, max_size=5))
@hypothesis.settings(max_examples=100, deadline=None)
def test_different_texts_stay_different(texts):
    assert len({spreadsheets.quoted(text) for text in texts}) == len(texts)


def test_numbers_of_a_table_keep_their_type(tmp_path):
    table = pd.DataFrame({"image_id": ["=x", "y"], "score": [-0.5, float("nan")]})
    spreadsheets.quoted_table(table).to_csv(tmp_path / "t.csv", index=False)
    with open(tmp_path / "t.csv", encoding="utf-8") as file:
        assert list(csv.reader(file))[1:] == [["'=x", "-0.5"], ["y", ""]]
