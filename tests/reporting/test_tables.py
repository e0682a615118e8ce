import csv
import io

import pytest

from actionrec.reporting.tables import (
    Estimate,
    Short,
    Spread,
    Table,
    cell,
    cells,
    comma_separated,
    lines_of,
    markdown,
    texts,
)

TABLE = Table(
    "some",
    "Some things",
    ("name", "top-1", "n"),
    [("a|b", Estimate(0.51234, 0.4, 0.6), 1200), ("c", 0.25, None), (Short("abcdef", "abc"), None, 3)],
    "A note.",
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.51234, "0.512"),
        (5e-4, "0.0005"),
        (0.00589, "0.006"),
        (1.9e-6, "1.9e-06"),
        (0.0, "0.000"),
        (1200, "1,200"),
        (None, "–"),
        (float("nan"), "–"),
        (True, "yes"),
        ("text", "text"),
        (Short("abcdef", "abc"), "abc"),
        (Spread(0.5, 0.0084), "0.500 ± 0.008"),
        (Spread(0.5, None), "0.500"),
        (Spread(0.5, 0.01, 0.4, 0.6), "0.500 ± 0.010 [0.400, 0.600]"),
        (Estimate(0.5, 0.4, 0.6), "0.500 [0.400, 0.600]"),
        (Estimate(-0.1, -0.2, 0.02, signed=True), "−0.100 [−0.200, +0.020]"),
        (Estimate(0.5, float("nan"), float("nan")), "0.500"),
    ],
)
def test_values_are_shown_as_precisely_as_they_mean(value, text):
    assert cell(value).text == text


def test_a_column_with_a_text_sorts_as_text_and_one_of_numbers_as_numbers():
    found = cells(TABLE)
    assert [row[0].number for row in found] == [False] * 3
    assert [row[1].key for row in found] == [0.51234, 0.25, None]
    assert all(row[2].number for row in found)


def test_markdown_escapes_what_would_end_a_cell():
    text = markdown(TABLE)
    assert text.startswith("**Some things**\n\n| name | ")
    assert "| a\\|b | " in text
    assert text.endswith("\n\nA note.\n")


def test_csv_has_standard_deviations_in_a_column():
    table = Table("some", "Some", ("name", "top-1"), [("a", Spread(0.51234, 0.01)), ("b", Spread(0.25, None))])
    assert comma_separated(table) == "name,top-1,top-1 sd\na,0.51234,0.01\nb,0.25,\n"
    table = table._replace(rows=[("a", Spread(0.51234, None, 0.4, 0.6)), ("b", None)])
    assert comma_separated(table) == "name,top-1,top-1 sd,top-1 low,top-1 high\na,0.51234,,0.4,0.6\nb,,,,\n"


def test_csv_has_the_numbers_unrounded_and_the_interval_in_columns():
    header, *rows = csv.reader(io.StringIO(comma_separated(TABLE)))
    assert header == ["name", "top-1", "top-1 low", "top-1 high", "n"]
    assert rows == [
        ["a|b", "0.51234", "0.4", "0.6", "1200"],
        ["c", "0.25", "", "", ""],
        ["abcdef", "", "", "", "3"],
    ]


def test_a_terminal_gets_columns():
    assert lines_of(texts(TABLE)).splitlines()[1].startswith("| ---- | ")
    assert len({len(line) for line in lines_of(texts(TABLE)).splitlines()}) == 1
