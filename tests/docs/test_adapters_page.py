"""The page on adapters says what the table in the code says."""

from holdfast.models.adapter_support import as_markdown
from pages import page


def test_the_pages_table_is_the_codes():
    text = page("adapters").split("<!-- table -->\n")[1].split("<!-- /table -->")[0]
    assert text == as_markdown(), "python -m holdfast.models.adapter_support prints the new one"
