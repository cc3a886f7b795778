"""A whole site with a model to talk to, and a browser that notices every error of the page."""

import shutil
from importlib.resources import files
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from tests.journeys.site import PASSWORD, USERNAME, Site
from tests.model_server import running

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # milliseconds: a busy machine is slow, and a test that waits for elements does not mind


@pytest.fixture(scope="module")
def models():
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory, models):
    site = Site(
        tmp_path_factory.mktemp("console"),
        PIPELINE_COMPONENTS="tests.components.Sleeper",
        PIPELINE_HOSTS=models.host,
        PIPELINE_SECRETS=f"LOCAL_KEY@{models.host}",
        LOCAL_KEY="a-key",
    ).start()
    yield site
    site.stop()


@pytest.fixture(scope="module")
def browser():
    playwright = sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
    yield browser
    browser.close()
    playwright.stop()


@pytest.fixture
def open_page(browser, site):
    """Opens signed-in pages. A test fails if one of them had an error, broke the policy, or asked another host."""
    contexts, wrong = [], []

    def watch(page, forgiven):
        def note(kind, text):
            if not any(words in text for words in forgiven):
                wrong.append(f"{kind} at {page.url}: {text}")

        page.on("console", lambda message: note(message.type, message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: note("exception", str(error)))
        page.on(
            "request",
            lambda request: (
                urlsplit(request.url).netloc in ("", f"127.0.0.1:{site.port}") or note("request", request.url)
            ),
        )

    def make(path="/admin/", *, width=1440, height=900, forgiven=(), language="en", signed_in=True, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        context.add_cookies([{"name": "django_language", "value": language, "url": site.address}])
        page = context.new_page()
        watch(page, forgiven)
        if signed_in:
            page.goto(f"{site.address}/admin/login/?next={path}")
            page.fill("#id_username", USERNAME)
            page.fill("#id_password", PASSWORD)
            page.click("#login-form [type=submit]")
            page.wait_for_selector("#user-tools")
        else:
            page.goto(site.address + path)
        return page

    yield make
    for context in contexts:
        context.close()
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="session")
def axe_source():
    """The text of axe-core, which the development requirements bring along."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
