"""The site: built without a warning and without the network, complete, and self-contained.

Run: python -m pytest tests/docs/test_site.py
"""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml

import restor_interp
from restor_interp.store import TABLES

pytestmark = pytest.mark.docs

NO_PROXY = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
"""Whatever is fetched through these fails."""


@pytest.fixture(scope="module")
def site(documentation_tools, root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=root,
        env=os.environ | NO_PROXY | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def pages(site):
    return {path.relative_to(site).as_posix(): path.read_text() for path in site.rglob("*.html")}


def test_every_page_of_the_navigation_is_there(site, root):
    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        values = entry if isinstance(entry, list) else list(entry.values())
        return [leaf for value in values for leaf in leaves(value)]

    wanted = leaves(yaml.safe_load((root / "mkdocs.yml").read_text())["nav"])
    assert len(wanted) > 30
    assert {page.replace(".md", ".html") for page in wanted} <= set(pages(site))


def test_no_page_fetches_anything(site):
    """Links may leave the site; scripts, styles, fonts, pictures and frames may not."""
    for name, text in pages(site).items():
        fetched = re.findall(
            r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//[^\s>]+", text
        )
        styles = [
            link
            for link in re.findall(r"<link[^>]*>", text)
            if "//" in link and "canonical" not in link
        ]
        assert not fetched + styles, name
    for path in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//", path.read_text()), path.name


def test_search_works_on_pages_that_are_opened_from_the_disk(site):
    index = (site / "search" / "search_index.js").read_text("utf-8")
    assert json.loads(index.removeprefix("var __index = "))["docs"]
    assert (site / "assets" / "search-from-disk.js").is_file()
    for name, text in pages(site).items():
        # The theme makes its worker as soon as it is loaded.
        assert 0 < text.find("search-from-disk.js") < text.find("javascripts/bundle."), name


def test_every_public_name_is_described_once(site):
    found = [
        match
        for name, text in pages(site).items()
        if name.startswith("reference/")
        for match in re.findall(r'<h\d id="restor_interp\.(\w+)"', text)
    ]
    public = set(restor_interp.__all__)  # modules that describe a format are on the pages as well
    assert sorted(name for name in found if name in public) == sorted(public)


def test_every_table_is_described_with_its_columns(site, root):
    slots = re.findall(
        r"`(\w+)` \|[^|]*\| \{(\w+)\}", (root / "docs/reference/run-folder.md").read_text()
    )
    assert all(told == filled for told, filled in slots)
    assert sorted(told for told, _ in slots) == sorted(TABLES)
    page = pages(site)["reference/run-folder.html"]
    assert "<code>sum_logprob</code>" in page and "{" not in re.sub(
        r"(?s)<(script|style).*?</\1>", "", page
    )


def test_commands_come_from_the_command_line(site):
    page = pages(site)["reference/commands.html"]
    for command in ("run", "plan", "sweep", "report", "data check", "model get"):
        assert f">{command}<" in re.sub(r"<a class=.headerlink.*?</a>", "", page), command
    assert "--rotations" in page and "restor-interp run demo --out runs/demo" in page


def test_links_of_results_that_lead_nowhere_are_text(site):
    page = pages(site)["results/mechanisms.html"]
    assert "tables/mechanisms" in page and 'href="tables/mechanisms' not in page


def test_the_notebook_is_a_page_with_its_outputs(site):
    page = pages(site)["tutorials/notebook.html"]
    assert page.count("<table") >= 3 and "Alba Delmonte" in page
    assert "dataframe" not in page  # pandas' own looks: lines that are not seen in the dark


def test_nothing_but_pages_is_published(site):
    kinds = {path.suffix for path in site.rglob("*") if path.is_file()}
    assert not kinds & {".py", ".ipynb", ".parquet", ".txt"}
