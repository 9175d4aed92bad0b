"""What strangers write runs nothing, in any place where a page shows it, and is shown as it is.

Run: python -m pytest tests/reporting/test_hostile.py
"""

import pytest

from restor_interp.reporting.characters import file_stem, visible
from restor_interp.reporting.html import write_site
from restor_interp.reporting.parts import (
    Amount,
    AmountPanel,
    Amounts,
    Bars,
    Callout,
    Code,
    Column,
    Details,
    Document,
    Empty,
    EntityLink,
    Heatmaps,
    KeyValues,
    LinePanel,
    Lines,
    Mark,
    Missing,
    Number,
    Panel,
    Paragraph,
    Row,
    Section,
    Series,
    Table,
    Text,
)

pytestmark = pytest.mark.browser

PAYLOADS = (
    "<script>window.PWN=1</script>",
    "</script><script>window.PWN=2</script>",
    "<img src=x onerror=window.PWN=3>",
    "<svg onload=window.PWN=4>",
    "\"><iframe srcdoc='<script>parent.PWN=5</script>'>",
    "' onmouseover='window.PWN=6",
    '<a href="javascript:window.PWN=7">click</a>',
    "javascript:window.PWN=8",
    "%{customdata} %{x} %{fullData.name}",
    "{{7*7}} {% raw %} ${7*7}",
    "\u202egnp.exe\u2066",
    "<!--", "]]>", "</title>", "</style>", "\\u003cscript\\u003e", "&lt;b&gt;",
    "../../etc/passwd", "a/b", "CON", "\u2028\u2029\x00\x1b[31m",
    "<sCrIpT>window.PWN=22</sCrIpT>", "<script src=data:,window.PWN=23></script>",
    "<scr<script>ipt>window.PWN=24</script>", "<script/x>window.PWN=25</script>",
    "<img src=`x` onerror=window.PWN=26>", "<img/src/onerror=window.PWN=27>",
    "<body onload=window.PWN=28>", "<details open ontoggle=window.PWN=29>",
    "<input autofocus onfocus=window.PWN=30>", "<video><source onerror=window.PWN=31>",
    "<audio src onerror=window.PWN=32>", "<marquee onstart=window.PWN=33>",
    "<object data=javascript:window.PWN=34>", "<embed src=javascript:window.PWN=35>",
    "<iframe src=javascript:window.PWN=36>", "<form action=javascript:window.PWN=37><button>",
    "<math><mi xlink:href=javascript:window.PWN=38>", "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>", "<style>@import'//evil.example'</style>",
    "<meta http-equiv=refresh content=0;url=//evil.example>", "<img src=//evil.example/x.png>",
    "<a href='data:text/html,<script>window.PWN=43</script>'>x</a>", "vbscript:window.PWN=44",
    "JaVaScRiPt:window.PWN=45", "java\tscript:window.PWN=46",
    "\" autofocus onfocus=window.PWN=47 x=\"",
    "'-(window.PWN=48)-'", "\";window.PWN=49//", "`${window.PWN=50}`", "\\\";window.PWN=51//",
    "<svg><script>window.PWN=52</script></svg>",
    "<svg><a xlink:href=javascript:window.PWN=53>x</a>",
    "<svg><animate onbegin=window.PWN=54 attributeName=x>", "<template><img onerror=window.PWN=55>",
    "<noscript><p title='</noscript><img src=x onerror=window.PWN=56>'>", "<plaintext>", "<xmp>",
    "&#60;script&#62;window.PWN=59&#60;/script&#62;", "<br>",
    "<span style='font-size:90px'>big</span>",
)  # fmt: skip
"""What strangers may write into names, questions, answers, tokens and settings."""

LONG = " ".join(PAYLOADS) + "x" * 500
GRID = tuple(tuple(0.1 * (row + column) for column in range(60)) for row in range(60))


def test_there_are_sixty_payloads():
    assert len(set(PAYLOADS)) >= 60


def cells(text):
    """A text in every kind of cell."""
    return (
        Text(text, detail=text), Number(1.0, detail=text), Mark("true", text, detail=text),
        EntityLink(text), EntityLink("known", text), Missing(text),
    )  # fmt: skip


def tables():
    """Every payload in every kind of cell; the long one in headings."""
    columns = tuple(Column(LONG, help=LONG, group=LONG) for _ in cells(""))
    rows = tuple(Row(cells(text), key=text, group=text) for text in PAYLOADS)
    return (Table(columns, rows, caption=LONG, filterable=True),)


def texts():
    """Every part that holds text and no numbers."""
    inside = tuple(Paragraph(text, page="index") for text in PAYLOADS)
    return (
        Callout(LONG), Callout(LONG, tone="verdict"), Empty(LONG, LONG), Code(LONG),
        KeyValues(tuple((text, text) for text in PAYLOADS)),
        *(Details(text, inside[:1], key=text, told=text) for text in PAYLOADS),
        Section(LONG, inside, intro=LONG),
    )  # fmt: skip


def plots():
    """Every payload as a name of a row, column, line, place, bar and panel."""
    words = {"title": LONG, "caption": LONG}
    bars = tuple(Amount(text, 1.0, control=0.5) for text in PAYLOADS)
    lines = tuple(Series(name=text, x=(0, 1), y=(1, 2)) for text in PAYLOADS)
    return (
        Heatmaps(**words, panels=(Panel(LONG, GRID), Panel("b", GRID)), rows=PAYLOADS[:60],
                 columns=PAYLOADS[:60], tokens=True, row_title=LONG, column_title=LONG,
                 value_title=LONG, low_words=LONG, high_words=LONG),
        Lines(**words, panels=(LinePanel(LONG, lines),), x_title=LONG, y_title=LONG,
              x_labels=PAYLOADS),
        Bars(**words, categories=PAYLOADS, segments=(("kept", (1,) * len(PAYLOADS)),),
             value_title=LONG),
        Amounts(**words, panels=(AmountPanel(LONG, bars),), value_title=LONG, low_words=LONG,
                high_words=LONG, control_words=LONG),
    )  # fmt: skip


WALK = ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown", "ArrowUp")
INTRUDERS = "img, iframe, object, embed, base, form, .canvas a, a[href^=javascript], main script"


def is_quiet(seen, folder):
    seen.assert_quiet(folder)
    assert seen.page.locator(INTRUDERS).count() == 0
    shown = seen.page.locator("body").text_content()
    assert "<script>window.PWN=1</script>" in shown and "{{7*7}}" in shown
    assert "⟨U+202E⟩" in shown and "\u202e" not in shown and "\u2066" not in shown


@pytest.mark.parametrize("parts", [tables, texts, plots])
def test_sixty_payloads_run_nothing_in_any_part(visit, tmp_path, parts):
    page = Document(LONG, parts(), subtitle=LONG, further=(("methods", Document(LONG)),))
    seen = visit(write_site(page, {"known": Document(LONG)}, tmp_path / "report"))
    seen.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for canvas in (seen.draw(".canvas") if parts is plots else seen.page.locator(".canvas")).all():
        canvas.focus()
        for key in WALK:
            seen.page.keyboard.press(key)
    if parts is plots:
        seen.until("document.querySelectorAll('.numbers table').length === 5")
        names = seen.page.locator(".numbers table").first.locator("thead th").all_text_contents()
        assert names == [visible(text) for text in PAYLOADS[:60]]
        seen.until("document.querySelectorAll('.hoverlayer .hovertext').length > 0")
    if parts is tables:
        first = "[...document.querySelectorAll('tbody td:first-child bdi')]"
        shown = seen.page.evaluate(f"{first}.filter((one) => !one.closest('small'))"
                                   ".map((one) => one.textContent)")  # fmt: skip
        assert shown == [visible(text) for text in PAYLOADS]
        seen.page.locator("thead th button").first.click()
        seen.page.locator("input[type=search]").fill(PAYLOADS[1])
    is_quiet(seen, tmp_path / "report")


def test_a_hostile_run_runs_nothing(visit, make_run, surveyed, make_documents, tmp_path):
    """The same through the reports themselves: in entities, questions, answers, tokens, words."""
    hostile = " ".join(PAYLOADS[:12]) + "x" * 300
    run = surveyed(make_run(hostile=hostile), hostile=hostile)
    index = write_site(*make_documents(run, run.entities[:1]), tmp_path / "report")
    pages = [index, index.with_name("methods.html"), *(tmp_path / "report/e").iterdir()]
    drawn = (
        "#s4 > details:nth-of-type(3) .canvas",
        None,
        "#s3 details[open] > figure:first-of-type .canvas",
    )  # directions, read as words
    for path, selector in zip(pages, drawn, strict=True):
        seen = visit(path)
        if path == index:
            seen.page.locator("#s4 > details:nth-of-type(3) > summary").click()
        if selector:
            seen.draw(selector)
            seen.page.locator(selector).first.hover(force=True)
        is_quiet(seen, tmp_path / "report")


@pytest.mark.parametrize("payload", ["%{z}{{1}}", "<a href='javascript:1'>y</a>"])
def test_hostile_tokens_are_labels_and_hover_text(
    visit, make_run, make_documents, tmp_path, payload
):
    run = make_run(hostile=payload)
    name = run.entities[0]
    _, pages = make_documents(run, [name])
    write_site(Document("Run"), pages, tmp_path / "report")
    seen = visit(tmp_path / f"report/e/{file_stem(name)}.html")
    canvas = seen.draw(
        "#s3 details[open] > figure:first-of-type .panel:first-child > .canvas"
    ).first
    shown = ("·the" + payload.replace(" ", "·"))[:23]
    assert canvas.locator(".xtick text").all_text_contents()[-1].startswith(shown)
    assert shown in seen.hover_text(canvas, 0.98, 0.8)
    assert canvas.locator("a").count() == 0
