"""The description of the API and the page that shows it: served from the binary, with a policy that lets the page talk to this
server only."""
import re

import pytest

TYPES = {"/api/openapi.json": "application/json", "/docs": "text/html; charset=utf-8", "/docs/app.js": "text/javascript; charset=utf-8",
         "/docs/style.css": "text/css; charset=utf-8"}


@pytest.mark.parametrize("path", TYPES)
def test_docs_are_public_typed_and_tagged(server, path):
    client = server.client()
    answer = client.get(path)
    assert answer.status == 200 and answer.header("Content-Type") == TYPES[path], answer
    assert re.fullmatch(r'"[0-9a-f]{32}"', answer.header("ETag"))
    assert client.get(path, headers={"If-None-Match": answer.header("ETag")}).status == 304
    assert client.get(path, headers={"If-None-Match": '"another"'}).status == 200
    client.close()


def test_docs_policy_is_strict_and_the_page_keeps_it(server):
    client = server.client()
    page = client.get("/docs")
    policy = page.header("Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    html = page.body.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|javascript:", html)
    linked = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert "/docs/app.js" in linked and "/docs/style.css" in linked
    for target in linked:
        assert target == "data:," or client.get(target).status == 200, target
    script = client.get("/docs/app.js").body.decode()
    assert "innerHTML" not in script and "eval" not in script and "http" not in re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL)
    client.close()


def test_other_answers_keep_the_policy_for_data(server):
    policy = server.client().get("/api/health/live").header("Content-Security-Policy")
    assert policy == "default-src 'none'; frame-ancestors 'none'"


def test_docs_accept_is_that_of_a_browser(server):
    client = server.client()
    html = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    assert client.get("/docs", headers={"Accept": html}).status == 200
    assert client.get("/docs/style.css", headers={"Accept": "text/css,*/*;q=0.1"}).status == 200
    assert client.get("/docs", headers={"Accept": "application/json"}).status == 406
    client.close()
