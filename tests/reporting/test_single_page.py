"""One document as one file: alone on the disk, in a real browser, nothing is fetched.

Run: python -m pytest tests/reporting/test_single_page.py
"""

import base64
import hashlib
import re

import pytest

from restor_interp.errors import ConfigError
from restor_interp.reporting.parts import Document, Heatmaps, Panel, Paragraph
from restor_interp.reporting.single_page import single_page, write_single_page

HOSTILE = "</script><script>window.PWN=1</script><img src=x onerror=window.PWN=2>"


def document(text="plain"):
    return Document(
        text,
        (
            Paragraph(text),
            Heatmaps(
                title=text, panels=(Panel(text, ((0.1, 0.9), (0.4, 0.2))),), rows=("0", text),
                columns=("a", "b"), row_title="layer", column_title="token", value_title="share",
                caption=text,
            ),
        ),
    )  # fmt: skip


def test_the_policy_names_the_digest_of_every_script_and_nothing_else():
    page = single_page(document()).decode()
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert len(scripts) == 3 and re.findall(r"'sha256-([^']*)'", policy) == digests
    assert "script-src 'self'" not in policy and "unsafe-inline" not in policy.split("style")[0]
    assert not re.search(r"<script[^>]+src=", page) and "<link" not in page
    assert page.encode() == single_page(document())


def test_without_a_plot_there_is_no_plotting_library():
    assert len(single_page(Document("words", (Paragraph("no plot"),)))) < 60_000


def test_a_file_is_a_page_by_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        write_single_page(document(), tmp_path / "page.txt")
    assert write_single_page(document(), tmp_path / "new" / "page.html").is_file()


@pytest.mark.browser
@pytest.mark.parametrize("text", ["plain", HOSTILE])
def test_it_draws_alone_and_asks_for_nothing(browser, tmp_path, text):
    path = write_single_page(document(text), tmp_path / "page.html")
    page = browser.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    page.locator(".canvas[data-drawn]").wait_for(timeout=20_000)
    assert asked == [path.as_uri()] and errors == []
    assert page.evaluate("window.PWN === undefined")
    page.locator(".numbers summary").click()
    page.locator(".numbers table").wait_for(timeout=5_000)
    assert "0.9" in page.locator(".numbers").inner_text()
    page.close()
