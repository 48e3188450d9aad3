"""One page about a run of self-play: report RUN writes RUN/report.html, which needs no other file and no network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from commands.errors import BadInput, plain, whole
from commands.host import in_cores
from commands.manifest import write_atomically
from commands.plot import save
from commands.progress import MODES, Improvement, draw_improvement, read_improvement
from commands.traces import take_run_dirs as take_words

__all__ = ["run", "take_words"]

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #ddd; text-align: right; font-size: 13px; }
td { white-space: nowrap; }
th:last-child, td:last-child { text-align: left; white-space: normal; min-width: 13rem; }
img { max-width: 100%; }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; }
.good { color: #00724f; } .bad { color: #a33; }
"""


def run(cfg: DictConfig, run_dirs: Sequence[str]) -> int:
    if len(run_dirs) != 1:
        raise BadInput("report needs the directory of one run of self-play: report RUN")
    found = read_improvement(Path(run_dirs[0]))
    examples = whole("examples", cfg.examples, 0)
    figure = draw_improvement(found, None, whole("samples", cfg.samples), whole("seed", cfg.seed, 0))
    picture = io.BytesIO()
    save(figure, picture, "png")
    out = found.path / "report.html" if cfg.out is None else Path(str(cfg.out))
    page = html(found, picture.getvalue(), _examples(found, examples))
    write_atomically(out, lambda file: file.write(page.encode("utf-8", "backslashreplace")))
    print(out)
    return 0


def html(found: Improvement, picture: bytes, examples: Sequence[Mapping[str, Any]]) -> str:
    """The page. Everything that a model or a person wrote is escaped."""
    manifest = found.manifest
    image = base64.b64encode(picture).decode()
    machine, versions = manifest["machine"], manifest["versions"]
    facts = {
        "command": " ".join(manifest["command_line"]), "status": _status(manifest), "started": manifest["started"],
        "cpu": f"{machine['cpu']}, {in_cores(machine['cores'])}", "gpu": machine["gpu"] or "none",
        "revision": manifest["git"]["revision"],
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }
    parts = [
        f"<h1>Self-improvement on {_text(found.domain)}</h1>", f"<p>{_text(_conclusion(found))}</p>",
        f'<img alt="ratings, accuracy against thinking time, what was solved, losses" '
        f'src="data:image/png;base64,{image}">',
        "<h2>Generations</h2>", _generations(found),
        "<h2>Thinking</h2>", _curves(found),
        "<h2>What it learned to do at once</h2>", *map(_example, examples),
        "" if examples else "<p>No example was asked for, or there are no evaluations.</p>",
        "<h2>How it was run</h2>",
        _table(("", ""), ([_text(name), _text(str(value))] for name, value in facts.items())),
        _attempts(manifest.get("attempts", ())),
        f"<details><summary>configuration</summary><pre>{_text(json.dumps(manifest['config'], indent=1), lines=True)}"
        "</pre></details>",
    ]
    body = "\n".join(parts)
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Self-improvement on '
            f"{_text(found.domain)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n")


def _conclusion(found: Improvement) -> str:
    champions = [row["generation"] for row in found.history if row["promoted"]]
    if not champions:
        return f"{len(found.history)} generations were played; none was better than the policy that it began with."
    ratings = [(name, found.elo[mode][champions[-1]]) for mode, name in MODES.items()
               if champions[-1] in found.elo.get(mode, {})]
    said = ", ".join(f"{elo:+.0f} [{low:+.0f}, {high:+.0f}] in {name}" for name, (elo, low, high) in ratings)
    return (f"{len(found.history)} generations were played, {len(champions)} of them took over; the last champion is "
            f"generation {champions[-1]}. Its Elo against the first policy: {said} (95 % intervals).")


def _generations(found: Improvement) -> str:
    rows = []
    for row in found.history:
        both = [row["accuracies"].get(mode) for mode in MODES]
        accuracies = ["" if pair is None else f"{100 * pair[0]:.1f} ({100 * pair[1]:.1f})" for pair in both]
        elos = [found.elo.get(mode, {}).get(row["generation"]) for mode in MODES]
        word, kind = ("promoted", "good") if row["promoted"] else ("refused", "bad")
        rows.append([
            str(row["generation"]), f"{row['played']}", f"{row['errors']}", f"{100 * row['solve_rate']:.1f}",
            f"{100 * row['greedy_rate']:.1f}", f"{100 * row['search_rate']:.1f}", *accuracies,
            *("" if elo is None else f"{elo[0]:+.0f} [{elo[1]:+.0f}, {elo[2]:+.0f}]" for elo in elos),
            f"{row['distinct_solutions']:.1f}", f"{row['core_hours']:.2f}",
            f'<span class="{kind}">{word}</span>: {_text(row["reason"])}',
        ])
    heads = ("", "searches", "errors", "sampled [%]", "greedy [%]", "search [%]", "held out, System 1 [%]",
             "System 2 [%]", "Elo 1", "Elo 2", "distinct solutions", found.hours, "")
    return _table(heads, rows)


def _curves(found: Improvement) -> str:
    rows = []
    for one in found.curves:
        rows.append([_text(one.label), _text(str(one.manifest["budget"])), str(len(one.ids)),
                     f"{100 * one.greedy_correct.mean():.1f}", f"{100 * one.correct.mean():.1f}",
                     f"{one.spent('seconds').mean():.2f}", f"{one.spent('tokens').mean():.0f}",
                     _text(str(one.manifest["split"]))])
    if not rows:
        return "<p>There are no evaluations (curves.of=none).</p>"
    return _table(("", "budget", "problems", "greedy [%]", "search [%]", "seconds", "tokens", "split"), rows)


def _examples(found: Improvement, count: int) -> list[dict[str, Any]]:
    """Problems that the last policy solves at once and the first one does not."""
    if len(found.curves) < 2:
        return []
    first, last = found.curves[0], found.curves[-1]
    before = dict(zip(first.ids, first.greedy_correct, strict=True))
    return list(islice(({
        "problem": row["problem"], "before": _greedy(first, row["problem_id"]),
        "after": _greedy(last, row["problem_id"]),
    } for row in last.results if row["greedy_correct"] and not before.get(row["problem_id"], 1.0)), count))


def _greedy(one: Any, problem: str) -> str:
    return next((str(answer["answer"]) for answer in one.trace.get(problem, ()) if answer["greedy"]), "no answer")


def _example(example: Mapping[str, Any]) -> str:
    return (f"<pre>{_text(example['problem'])}\n  before: <span class=\"bad\">{_text(example['before'])}</span>\n"
            f"  after:  <span class=\"good\">{_text(example['after'])}</span></pre>")


def _attempts(attempts: Sequence[Mapping[str, Any]]) -> str:
    """What became of each, and what had changed since the first, where there were several."""
    if len(attempts) < 2:
        return ""
    rows = []
    for each in attempts:
        others = {name: version for name, version in each["versions"].items()
                  if version != attempts[0]["versions"].get(name)}
        versions = ", ".join(f"{name} {version}" for name, version in others.items()) or "the same"
        rows.append([_text(cell) for cell in (
            each["started"], each.get("ended", "unknown"), str(each["git"]["revision"])[:12],
            "" if each is attempts[0] else versions, _status(each), " ".join(each["command_line"]))])
    return "<h3>Attempts</h3>" + _table(("started", "ended", "revision", "other versions", "", "command"), rows)


def _status(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['status']}: {manifest['reason']}" if "reason" in manifest else str(manifest["status"])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Of cells that are markup already."""
    head = "".join(f"<th>{_text(each)}</th>" for each in heads)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _text(text: str, lines: bool = False) -> str:
    return escape("\n".join(map(plain, text.split("\n"))) if lines else plain(text))
