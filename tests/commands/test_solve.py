from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from commands.solve import take_words

FAKES = ("policy=counting", "search=sweep")
KEYS = [
    "problem",
    "domain",
    "answer",
    "verified",
    "confidence",
    "seconds",
    "tokens",
    "simulations",
    "thoughts",
    "policy",
    "failure",
]

WORDS = [
    "2x + 3 = 7",
    "x=3*4-2",
    "1,2,3",
    r"\frac{1}{2}",
    "${oc.env:HOME}",
    "${budget}",
    "it's",
    'say "it"',
    "-3x + 2 = 5",
    "-m=3",
    "--4",
    "---",
    "a=1,2",
    "~x",
    "+x=1",
    "[1,2",
    "{a: 1}",
    "domain=game24",
    "null",
    "???",
    "<b>[red]x[/red]</b>",
    "x² = 4",
    "a\tb",
    "50 %",
    "$HOME `ls`",
    "key: value",
    "policy=uniform -m",
    "=",
    "#",
    "--cfgx",
    "budget=1s",
]


def test_the_first_word_never_reaches_hydra():
    for word in WORDS:
        assert take_words([word, "a=b", "-m"]) == ({"problem": word}, ["a=b", "-m"])
    for flag in ("--help", "--cfg", "--cfg=job", "-m", "-c"):
        assert take_words([flag, "a=b"]) == ({}, [flag, "a=b"])
    assert take_words([]) == ({}, [])
    assert take_words(["--from", "a=b", "c=d"]) == ({"source": "a=b"}, ["c=d"])
    assert take_words(["--from=x y", "c=d"]) == ({"source": "x y"}, ["c=d"])


@pytest.mark.parametrize("word", WORDS[:7])
def test_the_first_word_is_the_problem_whatever_it_looks_like(run, word):
    result = run("solve", word, "domain=anything", "search=first", "policy=counting", "budget=100tok", "output=json")
    assert result.code == 1 and result.err == ""
    assert [o["problem"] for o in result.objects] == [word]


def test_json_holds_exactly_the_promised_keys_in_order(run):
    result = run("solve", "guess 3", "domain=guess", *FAKES, "budget=1000tok", "output=json")
    [said] = result.objects
    assert result.code == 0 and result.err == "" and list(said) == KEYS
    assert {k: said[k] for k in KEYS if k != "seconds"} == {
        "problem": "guess 3",
        "domain": "guess",
        "answer": "3",
        "verified": True,
        "confidence": 1.0,
        "tokens": 8,
        "simulations": 4,
        "thoughts": ["3"],
        "policy": "counting-1",
        "failure": None,
    }
    assert 0 < said["seconds"] < 5


def test_words_for_people_are_one_line_with_the_found_domain(run):
    result = run("solve", "guess 3", "+domains.guess=guess N", *FAKES, "budget=1000tok")
    assert result.code == 0 and len(result.out.splitlines()) == 1
    for part in ("answer: 3", "verified", "8 tokens", "domain guess (found by parsing)", "counting-1"):
        assert part in result.out
    assert "found by parsing" not in run("solve", "guess 3", "domain=guess", *FAKES, "budget=1000tok").out


def test_an_answer_known_to_be_wrong_is_none(run):
    result = run("solve", "guess 3", "domain=guess", "policy=counting", "search=first", "budget=1000tok")
    assert result.code == 1 and "no answer; the best try is 0, which is wrong: not the number" in result.out
    [said] = run("solve", "guess 3", "domain=guess", "policy=counting", "search=first", "output=json").objects
    assert said["answer"] is None and said["verified"] is False and said["confidence"] == 0.0


def test_an_answer_that_cannot_be_tested_is_one(run):
    result = run("solve", "guess 3", "domain=blind", "policy=counting", "search=first", "output=json")
    assert result.code == 0 and result.objects[0]["answer"] == "0" and result.objects[0]["verified"] is False


def test_nothing_is_written_unless_asked_for(run, tmp_path: Path):
    run("solve", "guess 3", "domain=guess", *FAKES, "budget=1000tok")
    assert list(tmp_path.iterdir()) == []
    run("solve", "guess 3", "domain=guess", *FAKES, "budget=1000tok", "run_dir=kept")
    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    assert {"config", "git", "machine", "versions", "seeds"} <= set(manifest) and manifest["status"] == "finished"
    assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == ["answers.jsonl", "manifest.json"]
    assert json.loads((tmp_path / "kept" / "answers.jsonl").read_text())["answer"] == "3"


def test_the_directory_one_works_in_is_left_alone(run, tmp_path: Path, monkeypatch):
    (tmp_path / "runs" / "work").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "work")
    assert run("solve", "guess 3", "domain=guess", *FAKES, "budget=1000tok").code == 0
    assert (tmp_path / "runs" / "work").is_dir()


def test_multirun_solves_the_same_problem_with_each(run, tmp_path: Path):
    result = run(
        "solve",
        "a=1,2",
        "domain=anything",
        "policy=counting",
        "budget=100tok",
        "output=json",
        "-m",
        "search=first,sweep",
    )
    assert [(o["problem"], o["answer"]) for o in result.objects] == [("a=1,2", None), ("a=1,2", "2")]
    assert result.code == 1
    assert len(list(tmp_path.glob("runs/solve/*/*/manifest.json"))) == 2


def test_help_and_cfg_are_hydras_own(run):
    assert "search: " in run("solve", "--help").out  # what ours says before it is in test_helping.py
    result = run("solve", "--cfg", "job", "policy=counting", "search=sweep")
    assert result.code == 0 and "budget: 10s" in result.out
    assert (
        run("solve", "guess 3", "policy=counting", "search=sweep", "--cfg=job", "budget=3s").out.count("budget: 3s")
        == 1
    )


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["budget=0"], ["'0'", "5500tok"]),
        (["budget=0s"], ["positive"]),
        (["budget=1tok"], ["2 tokens"]),
        (["~search"], ["remove"]),
        (["budget=-1"], ["'-1'", "10s"]),
        (["budget=abc"], ["'abc'", "10s"]),
        (["budget="], ["10s"]),
        (["budget=null"], ["10s"]),
        (["bugdet=1s"], ["'bugdet'", "did you mean 'budget'"]),
        (["domain=gues"], ["'gues'", "guess"]),
        (["search=mtcs"], ["'mtcs'", "sweep"]),
        (["policy=missing"], ["there is no policy in nowhere", "pretrain"]),
        (["domains={gmae24: x}"], ["'domains.gmae24'", "did you mean 'game24'"]),
        (["search.puase=1"], ["'search.puase'", "did you mean 'pause'", "fails_at"]),
        (["+search.puase=1"], ["puase"]),
        (["+extra=1"], ["+extra=1"]),
        (["++extra.a=1"], ["++extra.a=1"]),
        (["search=sweep,first"], ["-m"]),
        (["word"], ["'word'", "name=value"]),
        (["--flag"], ["--flag"]),
        (["budget=["], ["budget=["]),
        (["output=xml"], ["xml", "text, json"]),
        (["seed=-1"], ["'-1'"]),
        (["seed=x"], ["'x'"]),
        (["search.last=-1"], ["last must be at least 0"]),
        (["split=test"], ["'split'", "allowed"]),
        (["--from", "f"], ["--from"]),
        (["budget=${nothing}"], ["nothing"]),
    ],
)
def test_bad_options_get_one_line_that_says_what_is_allowed(run, tmp_path: Path, options, parts):
    defaults = [d for d in ("domain=guess", *FAKES) if not any(o.startswith(f"{d.split('=')[0]}=") for o in options)]
    complaint = run("solve", "guess 3", *defaults, *options).complaint
    assert all(part in complaint for part in parts), complaint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["guess 666", "domain=guess"], ["666", "allowed"]),
        (["", "domain=guess"], ["empty"]),
        (
            [
                " ",
            ],
            ["empty"],
        ),
        (["\udcff", "domain=anything"], ["Unicode"]),
        (["hello", "domain=guess"], ["guess cannot read 'hello'"]),
        (["x" * 10**6], ["no domain can read", "…"]),
        (["blah blah"], ["no domain can read 'blah blah'", "game24 reads", "equations reads"]),
        (["guess 666", "+domains.guess=N"], ["666 cannot be guessed"]),
        (["--run"], ["solve needs a problem"]),
        (["--from", "none.jsonl"], ["none.jsonl"]),
        (["--from=none.jsonl"], ["none.jsonl"]),
    ],
)
def test_bad_problems_get_one_line(run, arguments, parts):
    complaint = run("solve", *arguments, *FAKES).complaint
    assert all(part in complaint for part in parts), complaint[:300]


def test_control_characters_of_a_problem_do_not_reach_the_terminal(run):
    result = run("solve", "\x1b[31mred", "domain=anything", *FAKES, "budget=100tok")
    assert result.code == 0 and "\x1b" not in result.out and "\\x1b[31mred" in result.out


def problems_file(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "problems.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_file_shares_its_budget_and_is_answered_in_order(run, tmp_path: Path):
    lines = [json.dumps({"problem": f"guess {n}", "domain": "guess"}) for n in (40, 0, 1, 2)]
    # 41 + 1 + 2 + 3 guesses of two tokens: alone or in equal shares of 94 tokens the hard one would not be solved.
    result = run(
        "solve", "--from", problems_file(tmp_path, lines[0], "", *lines[1:]), *FAKES, "budget=94tok", "output=json"
    )
    assert result.code == 0 and result.err == ""
    assert [o["answer"] for o in result.objects] == ["40", "0", "1", "2"]
    assert sum(o["tokens"] for o in result.objects) == 94
    short = run("solve", "--from", problems_file(tmp_path, *lines), *FAKES, "budget=92tok", "output=json")
    assert short.code == 1 and [o["answer"] for o in short.objects] == [None, "0", "1", "2"]


def test_a_file_may_begin_with_a_mark_and_hold_odd_line_separators(run, tmp_path: Path):
    path = tmp_path / "problems.jsonl"
    path.write_text('\ufeff{"problem": "a \u2028 b", "domain": "anything"}\r\n', encoding="utf-8")
    [said] = run("solve", "--from", str(path), *FAKES, "budget=94tok", "output=json").objects
    assert said["problem"] == "a \u2028 b"


def test_one_failing_search_does_not_end_the_others(run, tmp_path: Path):
    lines = [json.dumps({"problem": f"guess {n}", "domain": "guess"}) for n in (40, 1)]
    result = run("solve", "--from", problems_file(tmp_path, *lines), *FAKES, "search.fails_at=5", "output=json")
    assert result.code == 1 and [o["answer"] for o in result.objects] == [None, "1"]
    assert result.err == "error: the search failed: RuntimeError: out of fingers\n"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("{", ["line 2", "not JSON"]),
        ("[]", ["line 2", "not a problem"]),
        ('{"problem": 3}', ["line 2"]),
        ('{"problem": "guess 1", "domian": "guess"}', ["line 2", "domain"]),
        ('{"problem": ""}', ["line 2", "empty"]),
        ('{"problem": "guess 1", "domain": "gues"}', ["line 2", "'gues'", "guess"]),
        ('{"problem": "guess 666", "domain": "guess"}', ["line 2", "666"]),
        ('{"problem": "blah blah"}', ["line 2", "no domain"]),
        ("[" * 100_000, ["line 2"]),
    ],
)
def test_a_bad_line_is_named_before_anything_runs(run, tmp_path: Path, line, parts):
    path = problems_file(tmp_path, '{"problem": "guess 1", "domain": "guess"}', line)
    complaint = run("solve", "--from", path, *FAKES).complaint
    assert all(part in complaint for part in parts), complaint


def test_an_empty_file_is_refused(run, tmp_path: Path):
    assert "holds no problem" in run("solve", "--from", problems_file(tmp_path, ""), *FAKES).complaint
    (tmp_path / "problems.jsonl").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in run("solve", "--from", str(tmp_path / "problems.jsonl"), *FAKES).complaint


@pytest.mark.parametrize(("domains", "made"), [
    (["guess"], [None, "a"]), (["anything"], [None, "c"]), (["guess", "anything"], [None, "a", "c"]),
])
def test_only_experts_with_problems_are_loaded(run, tmp_path: Path, domains, made):
    experts = [f"policy.adapters.{name}={path}" for name, path in (("guess", "a"), ("blind", "b"), ("anything", "c"))]
    path = problems_file(tmp_path, *(json.dumps({"problem": "guess 2", "domain": name}) for name in domains))
    objects = run("solve", "--from", path, "policy=worn", "search=sweep", *experts, "output=json").objects
    assert sys.modules["fakes"].Worn.made == made and [o["answer"] for o in objects] == ["2"] * len(domains)
    alone = run("solve", "guess 2", "domain=guess", "policy=worn", "search=sweep", *experts, "output=json").objects
    assert alone[0]["policy"] == objects[0]["policy"]  # whoever is loaded
    assert "no adapter folder 'nowhere'" in run(
        "solve", "--from", path, "policy=worn", "search=sweep", *experts, "policy.adapters.blind=nowhere").complaint


def test_an_evaluation_loads_the_expert_of_its_domain(run):
    words = ("domain=guess", "search=sweep", "split=twenty", "limit=2", "budget=94tok", "policy=worn")
    assert run("evaluate", *words, "policy.adapters.guess=a", "policy.adapters.blind=b").code == 0
    assert sys.modules["fakes"].Worn.made == [None, "a"]


def test_unknown_commands_and_usage(run):
    assert "evaluate" in run("sovle").complaint
    from run_experiment import main

    assert main(["--help"]) == 0 and main([]) == 2 and main(["solve", "--from"]) == 2
