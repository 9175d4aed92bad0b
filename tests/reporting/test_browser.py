"""The site in a real browser, opened from the disk: nothing runs, nothing is fetched, all works."""

import time

import pytest

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def entity(visit, entity_page):
    """A page that several tests look at; its first fact's plots are drawn."""
    seen = visit(entity_page)
    seen.draw("#s3 details[open] .canvas")
    return seen


def cells(page, table, column):
    return page.locator(f"{table} tbody tr:not([hidden]) td:nth-child({column})").all_inner_texts()


def test_pages_open_from_the_disk_without_any_request_elsewhere(visit, site, entity):
    index = visit(site)
    index.draw("#s1 .canvas")
    for seen in (index, entity):
        seen.assert_quiet(site.parent)
        assert len([url for url in seen.requests if "plotly-" in url]) == 1


def test_plots_are_drawn_only_when_they_come_near(visit, entity_page):
    seen = visit(entity_page)
    seen.page.wait_for_timeout(300)
    assert seen.page.locator(".canvas[data-drawn]").count() == 0
    seen.draw("#s2 .canvas")
    assert (
        seen.page.locator(".canvas[data-drawn]").count() < 8 < seen.page.locator(".canvas").count()
    )


def test_repeated_tokens_keep_their_columns_and_cells_stay_sharp(entity):
    canvas = entity.page.locator("#s3 .canvas").first
    ticks = canvas.locator(".xtick text").all_text_contents()
    assert ticks[-4:] == ["↵", "·the", "·the", "·the"] and len(ticks) == 12
    picture = canvas.locator(".heatmaplayer image").first
    assert picture.evaluate("(image) => getComputedStyle(image).imageRendering") == "pixelated"


def test_hover_names_the_cell(entity):
    text = entity.hover_text(entity.page.locator("#s3 .canvas").first, 6.5 / 12, 0.99)
    assert "layer 0" in text and "token ·Burr" in text
    assert "probability with this state restored" in text


def test_tables_sort_by_value_and_filter(visit, site):
    page = visit(site).page
    header = page.locator("#s1 th", has_text="p(false)")
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    values = [float(text.split()[0]) for text in cells(page, "#s1 table", 2)]
    assert values == sorted(values)
    header.locator("button").click()
    assert cells(page, "#s1 table", 1)[0] == "corrupted"
    page.locator("#s1 th", has_text="restored").locator("button").click()
    assert cells(page, "#s1 table", 1)[-1] == "clean"  # a missing value stays last

    page.keyboard.press("/")
    page.keyboard.type("kak")
    assert cells(page, "#s3 table", 1) == ["Kaká"]
    assert page.locator("#s3 output").inner_text() == "1 of 16 rows"
    page.locator("#s3 input").fill("")
    assert len(cells(page, "#s3 table", 1)) == 16


def test_entities_link_to_their_pages_and_pages_to_each_other(visit, site):
    page = visit(site).page
    heading = page.locator("h1")
    page.locator("#s3 a", has_text="Kaká").click()
    assert heading.inner_text() == "Kaká"
    with page.expect_navigation():
        page.keyboard.press("]")
    assert heading.inner_text().startswith("Prince Carl Philip")
    with page.expect_navigation():
        page.keyboard.press("[")
    assert heading.inner_text() == "Kaká"
    page.locator("header .home").click()
    assert heading.inner_text() == "Run demo"


def test_a_question_leads_inside_the_model(visit, entity_page):
    seen = visit(entity_page)
    seen.page.locator("#s1 tbody a").nth(2).click()
    target = seen.page.evaluate("location.hash")
    seen.until("(target) => document.querySelector(target).open", target)
    assert "nationality" in seen.page.locator(f"{target} > summary").inner_text()


@pytest.mark.parametrize("place", [0, 1])
def test_numbers_of_a_plot_are_its_data(entity, entity_page, plots_of, place):
    figure = entity.page.locator("#s2 figure").nth(place)
    figure.locator(".numbers > summary").click()
    figure.locator(".numbers tbody tr").first.wait_for()
    rows = [row.locator("th, td").all_inner_texts() for row in figure.locator("tbody tr").all()]
    plots = plots_of((entity_page.parents[1] / f"data/{entity_page.stem}.js").read_bytes())
    data = plots[place][0]
    trace = next(trace for trace in data["data"] if trace.get("meta") != "band")
    if trace["type"] == "heatmap":
        assert [row[0] for row in rows] == data["names"]["y"][::-1]
        written = [[float(text.replace("−", "-")) for text in row[1:]] for row in rows]
        assert written == trace["z"][::-1]
    else:
        assert [row[0] for row in rows] == data["names"]["x"]
        assert [float(row[1].replace("−", "-")) for row in rows] == trace["y"]


INSTRUMENTS = (
    *(
        "What each layer would say at each token",
        "Best swaps",
        "Patching between states",
        "Retention",
        "Grafting weights",
        "Attention knockout",
    ),
    *("Attribution patching", "Direct logit attribution"),
)


def test_every_instrument_unfolds_its_figures(visit, entity_page):
    seen = visit(entity_page)
    fact = "#s3 > details:first-of-type"
    folds = seen.page.locator(f"{fact} > details.fold")
    summaries = folds.locator("> summary").all_inner_texts()
    assert [text.partition("\n")[0] for text in summaries] == list(INSTRUMENTS)
    assert all(len(text.partition("\n")[2]) > 20 for text in summaries)  # what is found inside
    assert folds.locator(".canvas:visible").count() == 0
    for fold in folds.all():
        fold.locator("> summary").click()
        assert fold.locator("> p.quiet").first.inner_text().count(".") >= 2  # what it cannot show
    canvases = seen.draw(f"{fact} > details.fold .canvas")
    # 3 maps of tokens, 4 maps and 2 bars of the best swaps, 8 + 4 × 4 maps of patches, 2 of
    # retention, 6 × 2 of grafts, 3 states cut, 2 × 2, 3 states
    assert canvases.count() == 3 + 6 + 24 + 2 + 12 + 3 + 4 + 3
    # a plot is there, not only its frame: cells, lines, points or bars
    kinds = ".heatmaplayer image, .scatterlayer .trace, .barlayer .point"
    assert all(canvas.locator(kinds).count() > 0 for canvas in canvases.all())

    patches = folds.nth(2)
    first = patches.locator(".canvas").first
    assert first.locator(".xtick text").all_text_contents()[-4:] == ["↵", "·the", "·the", "·the"]
    assert "head 4" in seen.hover_text(
        patches.locator("figure", has_text="at the subject").locator(".canvas").first,
        4.5 / 9,
        1 - 12.5 / 30,
    )
    bars = folds.last.locator(".canvas").first
    assert "layer 26, MLP" in seen.hover_text(bars, 0.68, 2.5 / 11)
    seen.assert_quiet(entity_page.parents[1])


def test_points_are_listed_one_by_one(entity, plots_of, entity_page):
    fold = entity.page.locator("#s3 > details:first-of-type > details.fold").nth(6)
    fold.evaluate("(fold) => { fold.open = true; }")
    figure = fold.locator("figure", has_text="Exact against approximate")
    figure.locator(".numbers > summary").click()
    table = figure.locator(".numbers table").first
    table.locator("tbody tr").first.wait_for()
    plots = plots_of((entity_page.parents[1] / f"data/{entity_page.stem}.js").read_bytes())
    panel = plots[int(figure.get_attribute("id")[1:]) - 1][0]
    points = next(trace for trace in panel["data"] if trace["mode"] == "markers")
    heads = table.locator("thead tr > *").all_inner_texts()
    assert heads == ["", "approximate effect", "exact effect"]
    cells = table.locator("tbody td").all_inner_texts()
    numbers = [float(text.replace("−", "-")) for text in cells]
    assert (numbers[::2], numbers[1::2]) == (points["x"], points["y"])


def test_legend_buttons_hide_a_line_in_every_panel(entity):
    figure = entity.page.locator("#s3 figure", has_text="What each layer would answer").first
    lines = figure.locator(".scatterlayer .trace")
    assert lines.count() == 18
    button = figure.locator("[data-line]", has_text="false object")
    for pressed, shown in (("false", 9), ("true", 18)):
        button.click()
        assert button.get_attribute("aria-pressed") == pressed
        deadline = time.monotonic() + 20
        while lines.count() != shown:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_dark_mode_changes_paper_and_plots(entity):
    def colours():
        return entity.page.evaluate(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('#s3 .xtick text')).fill]"
        )

    light = colours()
    entity.page.locator("#theme").click()
    entity.until(
        "(old) => getComputedStyle(document.querySelector('#s3 .xtick text')).fill !== old",
        light[1],
    )
    assert (light[0], colours()[0]) == ("rgb(255, 255, 255)", "rgb(18, 18, 18)")
    entity.page.locator("#theme").click()


def test_without_scripts_everything_but_plots_can_be_read(visit, entity_page):
    page = visit(entity_page, java_script_enabled=False).page
    assert "Corruption took" in page.locator(".verdict").inner_text()
    assert page.locator("#s1 tbody tr").count() == 8
    assert page.locator(".tools").is_hidden() and page.locator("#theme").is_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(visit, site, entity_page, scheme):
    path = {"light": site, "dark": entity_page}[scheme]
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": scheme}
    seen = visit(path, **phone)
    seen.draw("#s1 .canvas, #s2 .canvas")
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.page.locator(".modebar:visible").count() == 0
