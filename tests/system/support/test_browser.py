"""The browser fixtures."""

from playwright.sync_api import Page

from tests.support.waiting import wait_until


def test_runs_scripts(quiet_page: Page) -> None:
    quiet_page.set_content("<p id=greeting>hello</p>")
    assert quiet_page.evaluate("document.getElementById('greeting').textContent") == "hello"


def test_collects_errors(page: Page, page_errors: list[str]) -> None:
    page.set_content("<script>console.error('one'); console.log('quiet'); throw new Error('two')</script>")

    def both() -> bool:
        page.evaluate("0")  # lets Playwright hand over the events that came
        return len(page_errors) == 2

    wait_until(both, "both errors")
    assert sorted(error.split(" (")[0] for error in page_errors) == ["console: one", "uncaught: two"]


def test_tabs_share_nothing_with_other_tests(page: Page, page_errors: list[str]) -> None:
    assert page.evaluate("document.body.children.length") == 0
    assert page_errors == []
