"""The documentation site: it is built without a warning, is read without a network, and names what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(place)],
                          cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
                          timeout=300, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return place


@pytest.mark.heavy
def test_no_page_asks_another_machine(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 11
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*\ssrc=[\"']?(?:https?:)?//[^\"'>\s]+", text)
        loaded += re.findall(r"<link[^>]*rel=[\"']?(?:stylesheet|preconnect|icon)[^>]*(?:https?:)?//[^>]*>", text)
        assert loaded == [], page.name
    for sheet in site.rglob("*.css"):
        assert not re.search(r"@import|url\([\"']?(?:https?:)?//", sheet.read_text()), sheet.name


@pytest.mark.heavy
def test_the_reference_has_the_docstrings(site: Path) -> None:
    page = (site / "reference.html").read_text()
    for name in ("commands.engine.think", "policy.base.Policy", "search.base.Searcher", "verifiers.base.Domain",
                 "policy.budget.Budget.parse", "verifiers.sandbox.Sandbox"):
        assert f'id="{name}"' in page, name
    assert "Run jobs behind walls" in page or "Runs jobs behind walls" in page
    assert (site / "search" / "search_index.json").stat().st_size > 10_000
