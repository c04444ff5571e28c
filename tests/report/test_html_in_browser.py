"""The page in headless Chromium: no error, no request, and its script does what it should.

Where no Chromium is installed (Debian: ``apt-get install chromium``), the same pages are held to
the policy that a browser would enforce, and a line says so.
"""

import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from html_parts import Element, parse
from html_run import make_run

from holdfast.report.html.write import write_html

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--enable-logging=stderr", "--virtual-time-budget=3000", "--window-size=1280,900"),
]


@pytest.fixture
def asked():
    """A server on this machine that notes what is asked of it: the address and the list."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<p>seen</p>")

        def log_message(self, format, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


def browse(page: Path, profile: Path, *flags: str) -> tuple[Element, list[str]]:
    """The page's tree after its script ran, and what the console said."""
    assert CHROMIUM is not None
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return parse(done.stdout), console


def hostile(address: str):
    texts = [
        f"<img src={address}/img onerror=\"fetch('{address}/error')\">",
        f"</script><script>fetch('{address}/script'); document.title = 'owned'</script>",
        f"<link rel=stylesheet href={address}/style><iframe src={address}/frame></iframe>",
        f"<style>@import url({address}/import);</style><!-- ",
        "\x00\x1b[31m\u202e reversed \u2066 <b> مرحبا",
        "x" * 10**6,
    ]
    return lambda name, number: texts[(number + len(name)) % len(texts)]


def test_no_error_and_no_request_whatever_models_said(tmp_path, asked):
    address, paths = asked
    evil = hostile(address)
    root = make_run(
        tmp_path / "run",
        answer=evil,
        title=evil("", 0),
        notes=[evil("", i) for i in range(4)],
        failures={evil("", 1): evil("", 0)},
        published=[
            {"variant": evil("", i), "paper": {"x": evil("", i)}, "HS": 1} for i in range(6)
        ],
    )
    page = write_html(root, tmp_path / "page.html")
    before = parse(page.read_text())
    if CHROMIUM is None:
        print("no chromium is installed: only the policy and the elements are checked")
        policy = before.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes
        assert policy["content"].startswith("default-src 'none'; style-src 'sha256-")
        assert not [e for e in before.all() if e.tag in ("img", "iframe", "object", "embed")]
        return
    # A page that does ask and err, so that the watch is known to see it.
    bad = tmp_path / "bad.html"
    bad.write_text(f"<script>console.error('no')</script><img src='{address}/control'>")
    _, console = browse(bad, tmp_path / "profile")
    assert len(console) == 1
    assert paths == ["/control"]
    paths.clear()
    for scheme, offered in ((0, "Light"), (1, "Dark")):
        flag = f"--blink-settings=preferredColorScheme={scheme}"
        after, console = browse(page, tmp_path / "profile", flag)
        assert console == []
        assert paths == []
        # The script ran under the page's own policy.
        assert "hidden" not in after.one("form", id="filters").attributes
        assert after.one("output", id="count").text == "12 of 12 rows"
        theme = after.one("button", id="theme")
        assert ("hidden" in theme.attributes, theme.text) == (False, offered)
        titles = [one.one("head").one("title").text for one in (before, after)]
        assert titles[0] == titles[1]
        assert len(after.all()) == len(before.all())


SORTED = """
const button = (name) => [...document.querySelectorAll('#table thead button')]
  .find((one) => one.textContent.startsWith(name));
const press = (name) => button(name).dispatchEvent(new MouseEvent('click'));
const row = (r) => r.cells[0].dataset.value + ' ' + Number(r.cells[4].dataset.sort).toFixed(1);
const rows = () => [...document.querySelectorAll('#table tbody tr')]
  .filter((r) => !r.hidden).map(row).join(', ');
const told = [];
const tell = () => told.push(rows() + ' / ' + button('HS').closest('th').ariaSort);
const choose = (column, value) => {
  const select = document.querySelector(`select[data-column="${column}"]`);
  select.value = value;
  select.dispatchEvent(new Event('change', { bubbles: true }));
};
choose(1, '0.1'); choose(2, '3e-4'); tell();
press('HS'); tell();
press('HS'); tell();
press('HS'); tell();
press('variant'); tell();
document.getElementById('theme').click();
told.push(document.getElementById('count').textContent, document.documentElement.dataset.theme);
told.push(document.documentElement.scrollWidth <= innerWidth);
document.getElementById('told').textContent = told.join('\\n');
"""


def test_sorting_filtering_and_the_look(tmp_path):
    page = write_html(make_run(tmp_path / "run"), tmp_path / "page.html")
    text = page.read_text()
    if CHROMIUM is None:
        print("no chromium is installed: that the script sorts and filters is not checked")
        assert len(re.findall("<script>", text)) == 1
        return
    # In a copy without its policy a script of the test's own may press the buttons.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    text = text.replace("</body>", f'<p id="told"></p><script>{SORTED}</script></body>')
    copy = tmp_path / "copy.html"
    copy.write_text(text)
    after, console = browse(copy, tmp_path / "profile")
    assert console == []
    told = after.one("p", id="told").text.split("\n")
    # Harmful scores of seeds 0 and 1 at p = 0.1 and 3e-4: 11 and 12 of 20, less 1, less 2.
    study = "SFT 57.5, T-Vaccine 52.5, Antidote 47.5"
    assert told == [
        f"{study} / none",
        "Antidote 47.5, T-Vaccine 52.5, SFT 57.5 / ascending",
        f"{study} / descending",
        f"{study} / none",
        "Antidote 47.5, SFT 57.5, T-Vaccine 52.5 / none",
        *("3 of 12 rows", "dark", "true"),
    ]
