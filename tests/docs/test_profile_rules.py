"""docs/sonnx-rules.md says what the tables of the profile say."""

from tools.profile_rules import PAGE, page


def test_the_page_is_that_of_the_tables():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tools.profile_rules writes it"
