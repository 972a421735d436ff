"""The page of rules is the table of rules."""

from tools.edge_rules import PAGE, page


def test_the_page_says_what_the_table_says():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tools.edge_rules"
