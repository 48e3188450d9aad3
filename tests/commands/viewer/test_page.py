from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from commands.viewer.document import FOLDER, MODULES, STYLES, embedded, page
from tests.commands.viewer.made import wide

HOSTILE = [
    "</script><script>window.hacked=1;alert(1)</script>", "<img src=x onerror=\"window.hacked=1;alert(2)\">",
    "<!--<script>", "]]>", "\u2028window.hacked=1\u2029", "a\u202egnp.exe\u2066", "\ud800 alone \udc00", "\x00\x1b[31m",
    "{{constructor.constructor('window.hacked=1')()}}", "javascript:window.hacked=1", "%DATA%%SCRIPT%", "y" * 100_000,
]
Visit = Callable[..., Page]


def saved(tmp_path: Path, tree: dict[str, Any], problem: str = "4 9 10 13") -> str:
    about = {"problem": problem, "domain": "made", "search": "mcts", "budget": "10s", "seed": 0}
    path = tmp_path / "tree.html"
    path.write_bytes(page({"about": about, "tree": tree}).encode())
    return path.as_uri()


def point(shown: Page, number: int) -> tuple[float, float]:
    """Where a node stands in the window."""
    x, y = shown.evaluate("n => viewer.view.at(viewer.model.nodes[n])", number)
    box = shown.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + x, box["y"] + y


def shown_nodes(shown: Page) -> int:
    return int(shown.evaluate("viewer.view.shown.nodes.length"))


def test_only_the_pages_own_script_and_styles_may_run() -> None:
    text = page({"tree": wide(3)})
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    for name in ("script type=\"module\"", "style"):
        [part] = re.findall(rf"<{name}>(.*?)</{name.split()[0]}>", text, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none';") and "connect-src 'none'" in policy and "unsafe" not in policy
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "") and "https://" not in text
    assert {*MODULES, *STYLES, "page.html"} == {path.name for path in FOLDER.iterdir()}
    assert all(len(path.read_text().splitlines()) <= 300 for path in FOLDER.iterdir())
    assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_data_cannot_leave_its_element(text: str) -> None:
    held = embedded({"text": text})
    assert json.loads(held) == {"text": text} and held.isascii() and not set("<>&") & set(held)


def test_one_of_something_is_singular(tmp_path: Path, visit: Visit) -> None:
    tree = wide(1)
    tree["spent"] |= {"simulations": 1, "tokens": 1}
    facts = visit(saved(tmp_path, tree)).locator("#facts").inner_text()
    assert {"1 node", "1 token", "1 simulation"} <= set(facts.split(" · ")), facts


def test_a_thought_is_chosen_by_a_click_and_told_of(visit: Visit, tmp_path: Path) -> None:
    shown = visit(saved(tmp_path, wide(60)))
    assert "60 nodes" in shown.locator("#facts").inner_text() and shown.evaluate("viewer.model.nodes.length") == 60
    shown.click("#open-all")
    assert shown_nodes(shown) == 60
    shown.mouse.click(*point(shown, 13))
    details = shown.locator("#details")
    expect(details.locator(".thought")).to_have_text("thought 13")
    for part in ("finished", "Answer 13", "Visits", "10.0 %", "25.0 %", "-1.500 nats"):
        expect(details).to_contain_text(part)
    assert details.locator(".trail button").all_inner_texts() == ["4 9 10 13", "thought 1", "thought 13"]
    details.locator(".trail button").nth(1).click()
    expect(details.locator(".thought")).to_have_text("thought 1")
    expect(shown.locator("#answer")).to_have_text("7")
    assert shown.locator("#chart path.curve").count() == 1 and shown.locator("#legend li").count() == 9


def test_the_keyboard_walks_opens_searches_and_helps(visit: Visit, tmp_path: Path) -> None:
    shown = visit(saved(tmp_path, wide(60)))
    shown.click("#open-all")
    shown.focus("#tree")
    item = shown.locator("[role=treeitem]")
    selected = "viewer.view.selected.id"
    expect(item).to_have_attribute("aria-level", "1")
    for key, number in (("ArrowRight", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("ArrowRight", 11), ("ArrowLeft", 1)):
        shown.keyboard.press(key)
        assert shown.evaluate(selected) == number
    assert shown.locator("#tree").get_attribute("aria-activedescendant") == item.get_attribute("id") == "item-1"
    shown.keyboard.press("Enter")
    expect(item).to_have_attribute("aria-expanded", "false")
    assert shown_nodes(shown) == 50
    shown.keyboard.press("/")
    shown.keyboard.type("thought 19")
    expect(shown.locator("#found")).to_have_text("1 found")
    shown.keyboard.press("Enter")
    assert shown.evaluate(selected) == 19 and shown_nodes(shown) == 60
    shown.keyboard.press("Escape")
    shown.keyboard.press("d")
    assert shown_nodes(shown) < 60 and shown.locator("#dead").get_attribute("aria-pressed") == "false"
    shown.keyboard.press("?")
    expect(shown.locator("#keys")).to_be_visible()
    shown.keyboard.press("Escape")
    expect(shown.locator("#keys")).to_be_hidden()


def test_growth_is_replayed(visit: Visit, tmp_path: Path) -> None:
    shown = visit(saved(tmp_path, wide(60)))
    shown.locator("#time").evaluate("slider => { slider.value = 100; slider.dispatchEvent(new Event('input')); }")
    expect(shown.locator("#moment")).to_have_text("1.00 s")
    expect(shown.locator("#answer")).to_have_text("no answer")
    shown.wait_for_function("() => viewer.view.drawn > 0 && viewer.view.drawn < 10")
    shown.click("#play")
    expect(shown.locator("#answer")).to_have_text("7")


def test_dark_light_and_narrow(visit: Visit, tmp_path: Path) -> None:
    url = saved(tmp_path, wide(60), "x" * 400)
    ground = "getComputedStyle(document.body).backgroundColor"
    shown = visit(url, color_scheme="dark", viewport={"width": 375, "height": 700}, reduced_motion="reduce")
    dark = shown.evaluate(ground)
    assert shown.evaluate("document.documentElement.scrollWidth") == 375
    shown.click("#theme")  # light, whatever the system says
    assert shown.evaluate(ground) != dark and shown.evaluate("document.documentElement.dataset.theme") == "light"
    shown.click("#theme")
    assert shown.evaluate(ground) == dark
    shown.focus("#tree")
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("document.documentElement.scrollWidth") == 375


def test_ten_thousand_nodes_stay_smooth(visit: Visit, tmp_path: Path) -> None:
    url, started = saved(tmp_path, wide(10_000)), time.monotonic()
    shown = visit(url)
    assert time.monotonic() - started < 30 and "10,000 nodes" in shown.locator("#facts").inner_text()
    assert shown_nodes(shown) < 200
    shown.keyboard.press("e")
    assert shown_nodes(shown) == 10_000
    shown.wait_for_function("() => viewer.view.drawn === 10000")
    frames = shown.evaluate("""async () => {
      const started = performance.now();
      for (let i = 0; i < 10; i += 1) {
        viewer.view.pan(1, 1);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      }
      return (performance.now() - started) / 10;
    }""")
    assert frames < 1000  # milliseconds, on a core that others use too


@pytest.mark.parametrize("batch", [HOSTILE[:6], HOSTILE[6:]], ids=["first", "second"])
def test_hostile_texts_run_nothing(visit: Visit, tmp_path: Path, batch: list[str]) -> None:
    tree = wide(len(batch) + 1)
    for node, text in zip(tree["nodes"][1:], batch, strict=True):
        node["text"] = node["answer"] = text
    tree["answers"] = [{**tree["answers"][0], "text": text, "thoughts": [text]} for text in batch]
    shown = visit(saved(tmp_path, tree, batch[0]))
    for number in range(1, len(batch) + 1):
        shown.evaluate("n => viewer.view.on.select(viewer.model.nodes[n])", number)
        told = shown.locator("#details .thought").inner_text()
        assert told and not set("\u202e\u2066\x1b\ud800") & set(told)
    shown.fill("#search", batch[0])
    assert shown.evaluate("window.hacked") is None
    assert shown.locator("img, script").count() == 2  # the data, and the page's own
    assert shown.evaluate("document.documentElement.scrollWidth") <= 1280
