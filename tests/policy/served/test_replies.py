"""What different servers answer, read into samples."""

from __future__ import annotations

from typing import Any

import pytest

from policy.served.draws import Sample
from policy.served.replies import read
from policy.served.requests import Dialect, Writer, dialects
from tests.policy.served.standin import choice
from verifiers.base import Problem, State

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
LATER = State(Problem("p", "toy", "what?", {}), ("first", "second"))


def sample(given: dict[str, Any], chat: bool = False, turns: bool = False, usage: Any = USAGE) -> Sample:
    (found,) = read({"choices": [given], "usage": usage}, chat, turns, 10).samples
    return found


@pytest.mark.parametrize("chat", [False, True])
def test_ends(chat: bool) -> None:
    assert sample(choice("a b", chat), chat) == Sample("a b", 7)  # most tell only that it stopped
    assert sample(choice("a\nb", chat), chat) == Sample("a", 7)  # transformers keeps the newline
    assert sample(choice("a", chat, stop_reason="\n"), chat) == Sample("a", 7)  # vLLM
    assert sample(choice("a", chat, stop_reason=None), chat) == Sample("a", 7, last=True)
    assert sample(choice("a", chat, matched_stop=2), chat) == Sample("a", 7, last=True)  # SGLang
    assert sample(choice("a", chat, matched_stop="\n"), chat) == Sample("a", 7)
    assert sample(choice("", chat), chat) == Sample("", 7, last=True)
    assert sample(choice("", chat, stop_reason="\n"), chat) == Sample("", 7)  # a blank line, and dead
    assert sample(choice("a", chat, finish_reason="length"), chat) == Sample("a", 7, complete=False)
    assert sample(choice("a", chat, finish_reason="content_filter"), chat) == Sample("a", 7, complete=False)


def test_turns_end_without_the_text_being_over() -> None:
    assert sample(choice("a", True, stop_reason=None), chat=True, turns=True) == Sample("a", 7)
    assert sample(choice("", True, stop_reason=None), chat=True, turns=True) == Sample("", 7, last=True)


def test_a_model_that_only_reasons_says_nothing() -> None:
    given = {"index": 0, "finish_reason": "length", "message": {"content": None, "reasoning_content": "hm"}}
    assert sample(given, chat=True) == Sample("", 7, complete=False)


def test_charges() -> None:
    assert sample(choice("abc", False), usage=None).tokens == 4  # nobody counts
    assert sample(choice("a" * 30, False), usage=None).tokens == 10
    reply = read({"choices": [choice("b", False, 1), choice("a", False, 0)], "usage": USAGE}, False, False, 10)
    assert [(one.text, one.tokens) for one in reply.samples] == [("a", 3), ("b", 4)]
    assert (reply.prompt_tokens, reply.completion_tokens) == (5, 7)


def test_log_probabilities_up_to_the_end_of_the_line() -> None:
    tokens, values = ["a", "b\n", "c"], [-1.0, -0.5, -9.0]
    listed = {"tokens": tokens, "token_logprobs": values}
    objects = {"content": [{"token": t, "logprob": v} for t, v in zip(tokens, values, strict=True)]}
    assert sample(choice("ab\nc", False, logprobs=listed)) == Sample("ab", 2, -1.5)
    assert sample(choice("ab", True, logprobs=objects), chat=True) == Sample("ab", 2, -1.5)
    assert sample(choice("ab", False, logprobs=objects)) == Sample("ab", 2, -1.5)  # llama.cpp


def test_what_is_written() -> None:
    text = Writer(False, 9, "Be brief.\n", "next", {"top_k": 3})
    assert text.body("m", LATER, 2, 5, 1.0, Dialect()) == {
        "model": "m", "temperature": 1.0, "stop": ["\n"], "max_tokens": 9, "n": 2, "seed": 5, "logprobs": 1,
        "prompt": "Be brief.\nwhat?\nfirst\nsecond\n", "top_k": 3,
    }  # fmt: skip
    chat = Writer(True, 9, "Be brief.", "next", {"max_completion_tokens": 9})
    body = chat.body("m", LATER, 1, None, 0.0, Dialect())
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "what?"},
                                {"role": "assistant", "content": "first\nsecond\n"}]
    assert body["continue_final_message"] is True and body["add_generation_prompt"] is False
    assert not {"n", "seed", "max_tokens"} & set(body) and body["logprobs"] is True
    body = chat.body("m", LATER, 1, None, 0.0, Dialect(prefix=False, logprobs=False))
    assert body["messages"][-2:] == [{"role": "assistant", "content": "first\nsecond"},
                                     {"role": "user", "content": "next"}]
    assert not {"continue_final_message", "add_generation_prompt", "logprobs"} & set(body)


def test_what_a_server_may_lack() -> None:
    every = dialects(True, None, "auto")
    assert every[0] == Dialect() and len(every) == 16
    assert all(choice.logprobs for choice in dialects(True, True, "auto"))
    assert not any(choice.logprobs for choice in dialects(True, False, "auto"))
    assert not any(choice.prefix for choice in (*dialects(False, None, "auto"), *dialects(True, None, "turns")))
    assert all(choice.prefix for choice in dialects(True, None, "prefix"))


@pytest.mark.parametrize("value", [float("-inf"), -1e308, -(10**400)])
def test_impossible_tokens_keep_priors_finite(value: float) -> None:
    listed = {"tokens": ["a", "b"], "token_logprobs": [-1.0, value]}
    assert sample(choice("ab", False, logprobs=listed)) == Sample("ab", 2, -10000.0)
    listed = {"tokens": ["a", "b"], "token_logprobs": [-1.0, 10**400]}
    assert sample(choice("ab", False, logprobs=listed)) == Sample("ab", 2, -1.0)


def test_half_characters_become_whole_ones() -> None:
    assert sample(choice("a\ud800b", False)).text.encode().decode().startswith("a\ufffd")
