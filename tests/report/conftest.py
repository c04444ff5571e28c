"""One made-up run and its page, for all tests that only look at them."""

import pytest
from html_parts import parse
from html_run import make_run

from holdfast.report.html.write import write_html


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def text(run, tmp_path_factory):
    return write_html(run, tmp_path_factory.mktemp("page") / "report.html").read_text()


@pytest.fixture(scope="session")
def page(text):
    return parse(text)
