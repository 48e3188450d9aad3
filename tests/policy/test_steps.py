"""Where thoughts end: each rule, ends that span tokens, and texts that stop everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.base import BadPolicy
from policy.codec import END, LOOK, TEXT, Codec, _completes
from policy.layout import Writing
from policy.steps import STEPS
from tests.policy.chatty import chat_tokenizer

PIECES = st.lists(st.sampled_from(["a", "\n", "\n\n", "</think>", "</th", "ink>", "Prob", "lem:", "Problem:\n", " x\n"]
                                  ), min_size=1, max_size=12)  # fmt: skip
TOKENIZER = chat_tokenizer()


def codec(**options: object) -> Codec:
    return Codec(TOKENIZER, len(TOKENIZER), layout=Writing(**options).on(TOKENIZER))  # type: ignore[arg-type]


@pytest.mark.parametrize(("step", "before", "text", "thought"), [
    ("line", "", "a\nb", "a"), ("line", "", "\na", ""), ("line", "", "a", None),
    ("paragraph", "", "a\nb\n\nc", "a\nb"), ("paragraph", "", "\n\n\na\n\n", "\n\n\na"),
    ("paragraph", "", "\n\n", None),
    ("think", "", "a\n\nb", "a"), ("think", "", "a\n</think>b", "a\n</think>"), ("think", "", "</think>", "</think>"),
    ("think", "", "<think>\n\n</think>", "<think>"), ("think", "a</think>\n\n", "b\n\nc", None),
])
def test_ends(step: str, before: str, text: str, thought: str | None) -> None:
    end = STEPS[step].end(before, text)
    assert (None if end is None else text[:end]) == thought


@given(PIECES, st.sampled_from(["\n\n", "</think>", "Problem:", "m:\n", "a"]))
def test_a_text_is_complete_only_after_a_token_that_is_looked_at(pieces: list[str], mark: str) -> None:
    text = ""
    for piece in pieces:
        new = mark not in text and mark in text + piece
        text += piece
        if new:
            assert _completes(piece, mark)


@given(PIECES, st.sampled_from(["line", "paragraph", "think"]))
def test_tokens_one_by_one_end_where_their_text_does(pieces: list[str], step: str) -> None:
    """No end is missed for the way in which a text is cut into tokens, and none is seen before it is there."""
    found = codec(step=step, stop=["Problem:"])
    ids = [token for piece in pieces for token in TOKENIZER(piece, add_special_tokens=False)["input_ids"]]
    for count in range(1, len(ids) + 1):
        text = TOKENIZER.decode(ids[:count])
        over = found.over(ids[:count], "")
        assert over == (STEPS[step].end("", text) is not None or "Problem:" in text)
        if over:
            break


def test_a_stop_ends_the_text_and_is_no_part_of_it() -> None:
    found = codec(step="paragraph", stop=["Problem:"])
    tokens = TOKENIZER("1+2=3\nProblem: 4", add_special_tokens=False)["input_ids"]
    assert found.spell(tokens) == ("1+2=3\n", True, True)
    line = codec(stop=["Problem:"])
    assert line.spell(TOKENIZER("Problem:", add_special_tokens=False)["input_ids"]) == ("", True, True)
    assert line.spell(TOKENIZER("1\nProblem:", add_special_tokens=False)["input_ids"]) == ("1", True, False)


def test_the_end_of_the_text_ends_any_thought() -> None:
    tokens = [*TOKENIZER("1+2", add_special_tokens=False)["input_ids"], TOKENIZER.eos_token_id]
    for step in STEPS:
        assert codec(step=step).spell(tokens, before="x</think>") == ("1+2", True, True)


def test_lines_need_no_look_and_a_final_answer_is_written_with_its_end() -> None:
    lines = codec()
    assert not lines.looks and set(lines.kinds) >= {TEXT, END} and LOOK not in lines.kinds
    think = codec(step="think")
    layout = think.layout
    thoughts = ("<think>\na", "b\n</think>", "#### 3")
    text, start = layout.text("1+2", thoughts)
    assert text[start:] == "<think>\na\n\nb\n</think>\n\n#### 3<|im_end|>"
    assert think.encode(text)[-1] == TOKENIZER.eos_token_id


@pytest.mark.parametrize("chat", [True, False])
def test_a_template_that_begins_to_think_begins_the_first_thought(chat: bool) -> None:
    layout = Writing(step="think", chat=chat, template={"thinking": True} if chat else None).on(TOKENIZER)
    assert layout.lead == ("<think>\n" if chat else "")
    opening = layout.text("1+2").text
    assert layout.text("1+2", (f"{layout.lead}a",)).text == f"{opening}a\n\n"
    spelled = Codec(TOKENIZER, len(TOKENIZER), layout=layout).spell(TOKENIZER("a\n\n")["input_ids"])
    assert spelled.text == f"{layout.lead}a"


@pytest.mark.parametrize(("step", "stop"), [("line", "\nProblem"), ("line", "\n"), ("paragraph", "a\n\n"),
                                            ("think", "</think>x")])
def test_a_stop_that_is_never_found_is_refused(step: str, stop: str) -> None:
    with pytest.raises(BadPolicy, match="ends a thought"):
        Writing(step=step, stop=[stop]).on(chat_tokenizer())
    assert Writing(step=step, stop=["Problem:"]).on(chat_tokenizer()).stops == ("Problem:",)
