"""Pages for everyone: axe-core finds nothing serious, in light and in dark, with all folds open.

axe-core comes with the package axe-playwright-python. Its rules see about half of what can be
wrong; the keyboard, the phone and the page without scripts have tests of their own.
"""

import pytest

from restor_interp.reporting.characters import file_stem
from restor_interp.reporting.comparing import compare_runs
from restor_interp.reporting.html import write_site

pytestmark = pytest.mark.browser

GRAVE = {"serious", "critical"}


@pytest.fixture(scope="module")
def axe():
    found = pytest.importorskip("axe_playwright_python.sync_playwright")
    return found.Axe()


@pytest.fixture(scope="module")
def pages(site, tmp_path_factory, make_run, reports):
    """Name -> a page of every kind."""
    comparison = compare_runs(make_run(), make_run(seed=1, name="other"))
    compared = write_site(
        reports["compare"].run(comparison), {}, tmp_path_factory.mktemp("compared") / "report"
    )
    return {
        "index": site,
        "entity": site.parent / f"e/{file_stem('Aaron Burr')}.html",
        "compare": compared,
        "methods": site.with_name("methods.html"),
    }


def grave(page, axe, *rules):
    """(rule, places) of what axe-core calls serious or critical; without rules: by all of them."""
    only = {"runOnly": list(rules)} if rules else {}
    found = axe.run(page, options={"resultTypes": ["violations"], **only}).response["violations"]
    return [
        (one["id"], [node["html"][:160] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in GRAVE
    ]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("index", "light"),
        ("entity", "light"),
        ("entity", "dark"),
        ("compare", "dark"),
        ("methods", "light"),
    ],
)
def test_axe_finds_nothing_serious(browser, pages, axe, name, scheme):
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(pages[name].as_uri())
    # Of every table some rows, of the many facts one, of each instrument a figure with one panel:
    # what repeats itself is looked at once.
    page.evaluate(
        """() => {
          const facts = [...document.querySelectorAll("section > .fold[id]")];
          facts.slice(1).forEach((fold) => fold.remove());
          for (const fold of document.querySelectorAll(".fold"))
            [...fold.querySelectorAll(":scope > figure")].slice(1).forEach((one) => one.remove());
          for (const figure of document.querySelectorAll("figure"))
            [...figure.querySelectorAll(".panel")].slice(1).forEach((one) => one.remove());
          for (const rows of document.querySelectorAll("tbody"))
            [...rows.children].slice(4).forEach((row) => row.remove());
          document.querySelectorAll("details").forEach((one) => { one.open = true; });
        }"""
    )
    if name in ("index", "entity"):
        page.locator(".canvas:visible").first.scroll_into_view_if_needed()
        page.locator(".canvas[data-drawn]").first.wait_for()
    # Only colours differ in the dark; compare is a kind of page that is looked at once.
    found = grave(page, axe, *(["color-contrast"] if (name, scheme) == ("entity", "dark") else []))
    context.close()
    assert found == []


def test_axe_sees_what_is_wrong(browser, axe):
    page = browser.new_page()
    page.set_content("<html><body><button></button><p style='color:#ddd'>pale</p></body></html>")
    assert {rule for rule, _ in grave(page, axe)} >= {"button-name", "color-contrast"}
    page.close()
