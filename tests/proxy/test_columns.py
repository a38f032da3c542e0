"""Rows stand in columns."""

from proxy.columns import format_rows


def test_texts_stand_to_the_left_and_numbers_to_the_right() -> None:
    assert format_rows(("NAME", "NUMBER"), [("a", 1234567), ("longer", 1)]).splitlines() == [
        "NAME       NUMBER",
        "a       1,234,567",
        "longer          1",
    ]


def test_there_may_be_no_rows() -> None:
    assert format_rows(("NAME", "NUMBER"), []) == "NAME  NUMBER"
