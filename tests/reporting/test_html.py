"""The site as files: whole or absent, the same bytes twice, no markup from strangers."""

import hashlib
import html.parser
import json
import re
from pathlib import Path

import pytest

import restor_interp.reporting
from restor_interp.errors import DataError, StorageError
from restor_interp.reporting.characters import file_stem
from restor_interp.reporting.html import PLOTLY, site_files, write_site
from restor_interp.reporting.parts import Document, Paragraph

OWN = Path(restor_interp.reporting.__file__).parent
HOSTILE = "</script><img src=x onerror=alert(1)>'\"&{{7*7}}%{z}\u202e\u2028<!--"


class Page(html.parser.HTMLParser):
    """Tags with attributes, texts, and the data inside scripts."""

    def __init__(self, data):
        super().__init__(convert_charrefs=True)
        self.tags, self.data, self.words, self.inside = [], [], [], False
        self.feed(data.decode("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        (self.data if self.inside else self.words).append(data)


@pytest.fixture(scope="module")
def hostile_files(make_run, make_documents):
    run = make_run(hostile=HOSTILE)
    index, pages = make_documents(run, run.entities[:2])
    return site_files(index, pages)


def pages_of(files):
    return {name: Page(data) for name, data in files.items() if name.endswith(".html")}


def test_a_site_has_its_pages_assets_and_a_manifest(site):
    folder = site.parent
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"index.html", "manifest.json", f"assets/{PLOTLY}", "assets/report.js",
            "assets/report.css", "assets/LICENSES.txt"} <= names  # fmt: skip
    assert len([name for name in names if name.startswith("e/")]) == 16
    manifest = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(manifest) == names - {"manifest.json"}
    for name, entry in manifest.items():
        data = (folder / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    licence = (folder / "assets/LICENSES.txt").read_text()
    assert "MIT License" in licence and "Plotly" in licence and PLOTLY in licence


def test_the_same_documents_give_the_same_bytes(make_run, make_documents):
    first, second = (site_files(*make_documents(make_run(), ("Kaká",))) for _ in range(2))
    assert first == second


def test_pages_are_small(site):
    sizes = {path.name: path.stat().st_size for path in site.parent.rglob("*.html")}
    data = {path.name: path.stat().st_size for path in site.parent.rglob("data/*.js")}
    # of the entity whose eight facts are all looked into, by every instrument
    assert max(sizes.values()) <= 440_000 and max(data.values()) <= 400_000
    assert sizes["index.html"] <= 150_000


def test_every_link_of_a_page_leads_somewhere(site):
    for path in site.parent.rglob("*.html"):
        page = Page(path.read_bytes())
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        for tag, attributes in page.tags:
            for key in ("data-plotly", "data-plots"):
                assert (path.parent / attributes.get(key, ".")).exists()
            target = attributes.get("href") or attributes.get("src") or ""
            if target.startswith("#"):
                assert target[1:] in ids, (path, target)
            elif tag in ("a", "link", "script") and target:
                assert (path.parent / target).is_file(), (path, target)
            for other in ("aria-describedby", "aria-labelledby"):
                assert attributes.get(other, ids[0]) in ids


def test_strangers_text_makes_no_markup(hostile_files):
    clean_tags = {"html", "head", "meta", "title", "link", "script", "body", "a", "header", "nav",
                  "span", "bdi", "button", "div", "ol", "li", "main", "h1", "h2", "h3", "h4", "p",
                  "section", "label", "input", "output", "table", "thead", "tbody", "tr", "th",
                  "td", "small", "b", "ul", "figure", "figcaption", "svg", "symbol", "use", "path",
                  "details", "summary", "pre", "code", "dl", "dt", "dd", "footer"}  # fmt: skip
    for name, page in pages_of(hostile_files).items():
        assert {tag for tag, _ in page.tags} <= clean_tags, name
        for tag, attributes in page.tags:
            assert not [key for key in attributes if key.startswith("on")], (tag, attributes)
            for key in ("href", "src", "id", "class", "data-plotly", "data-plots"):
                assert re.fullmatch(r"[\w./# -]*", attributes.get(key) or "", re.ASCII), attributes
            assert re.fullmatch(r"[\w:;#(),%. -]*", attributes.get("style") or "", re.ASCII)
        text = "".join(page.words)
        assert "<img src=x onerror=alert(1)>'\"&{{7*7}}%{z}⟨U+202E⟩⟨U+2028⟩<!--" in text
        assert "\u202e" not in text and "49" not in re.findall(r"\{\{(\d+)\}\}", text)


def test_scripts_are_files_and_the_data_of_plots_is_base64(hostile_files, plots_of):
    pages = pages_of(hostile_files)
    for name, page in pages.items():
        assert all("src" in attributes for tag, attributes in page.tags if tag == "script"), name
        assert page.data == []
        (body,) = (attributes for tag, attributes in page.tags if tag == "body")
        plots = plots_of(hostile_files[body["data-plots"].removeprefix("../")])
        figures = sum(tag == "figure" for tag, _ in page.tags)
        assert len(plots) == figures and (figures > 0) == (name != "methods.html")
        for panels in plots:
            names = {"data", "layout", "names", "labels"}
            assert all(set(panel) - {"likeliest", "extra"} == names for panel in panels)
    assert len([name for name in hostile_files if name.startswith("data/")]) == len(pages)


def test_the_policy_allows_the_sites_own_files_alone(hostile_files):
    for page in pages_of(hostile_files).values():
        policies = [
            attributes["content"]
            for tag, attributes in page.tags
            if attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policies == [
            "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
        ]


def test_our_script_and_templates_have_no_way_to_run_text():
    forbidden = re.compile(
        r"\|\s*safe\b|Markup\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b"
        r"|new Function|https?://|autoescape false"
    )
    for path in (*OWN.glob("templates/*"), *OWN.glob("assets/*")):
        assert not forbidden.search(path.read_text()), path
    tags = re.compile(r"</?(div|span|table|td|script|p|h1|style)\b")
    for path in OWN.rglob("*.py"):
        if path.name not in ("html.py", "single_page.py"):  # this one moves html's files inside
            assert not tags.search(path.read_text()), f"{path} writes tags"


def test_names_never_become_paths(hostile_files):
    assert all(
        re.fullmatch(r"[a-zA-Z0-9./-]+", name) and ".." not in name for name in hostile_files
    )


def one_page(text="x"):
    return Document("Run", (Paragraph(text),))


def test_a_report_replaces_a_report_and_nothing_else(tmp_path):
    folder = tmp_path / "report"
    write_site(one_page("first"), {"a": one_page()}, folder)
    index = write_site(one_page("second"), {}, folder)
    assert "second" in index.read_text() and not (folder / "e").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(StorageError, match="not a report"):
        write_site(one_page(), {}, other)
    with pytest.raises(StorageError, match="is a file"):
        write_site(one_page(), {}, other / "chapter.txt")
    assert (other / "chapter.txt").read_text() == "years of work"


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    folder = tmp_path / "report"
    write_site(one_page("first"), {}, folder)
    for step in range(2):
        calls, real = [], Path.replace

        def failing(self, target, calls=calls, real=real, step=step):
            calls.append(target)
            if len(calls) == step + 1:
                raise OSError("the cable was pulled")
            return real(self, target)

        monkeypatch.setattr(Path, "replace", failing)
        with pytest.raises(OSError, match="cable"):
            write_site(one_page("second"), {}, folder)
        monkeypatch.undo()
        assert "first" in (folder / "index.html").read_text()
        assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_entities_that_differ_only_in_unicode_form_are_refused():
    with pytest.raises(DataError, match="another Unicode form"):
        site_files(one_page(), {"Kaká": one_page(), "Kaka\u0301": one_page()})


def test_pages_turn_to_their_neighbours():
    files = site_files(one_page(), {name: one_page() for name in ("a", "b", "c")})
    page = Page(files[f"e/{file_stem('b')}.html"])
    links = {a["id"]: a["href"] for tag, a in page.tags if tag == "a" and "id" in a}
    assert links == {"before": f"{file_stem('a')}.html", "after": f"{file_stem('c')}.html"}
