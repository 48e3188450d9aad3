"""How a problem and the thoughts about it are written for a model: the one place for what proposes and what is trained.

Without a chat, a model reads the prompt, a newline, and each thought with its end. In a chat the prompt is the user's
message, by the model's own template, and the thoughts are the beginning of the assistant's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from policy.base import BadPolicy
from policy.steps import STEPS, Lines, Steps

MARKER = "MESSAGE"  # stands for an answer when a template is looked at


class Written(NamedTuple):
    """A state as text.

    Attributes:
        text: all of it.
        start: how many of its characters come before the thoughts.
    """

    text: str
    start: int


@dataclass(frozen=True)
class Writing:
    """How to write for a model, whichever it is.

    Attributes:
        chat: True: by the tokenizer's chat template. 'auto': if it has one, and the model ends its text where the
            template ends an assistant's message, which models for chats were taught and their bases were not.
        system: a message before the user's, in chats.
        template: further variables of the template, such as {'enable_thinking': False}.
        step: what a thought is: 'line', 'paragraph', 'think', or a rule of one's own (policy/steps.py).
        stop: texts at which the model's text is over, such as 'Problem:' after examples; no part of the thought.
    """

    chat: bool | str = "auto"
    system: str | None = None
    template: Mapping[str, Any] | None = None
    step: str | Steps = "line"
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.chat not in (True, False, "auto"):
            raise BadPolicy(f"chat={str(self.chat)[:40]!r} cannot be; allowed: auto, true, false")
        if isinstance(self.step, str) and self.step not in STEPS:
            raise BadPolicy(f"step={self.step[:40]!r} cannot be; allowed: {', '.join(STEPS)}")
        if isinstance(self.stop, str) or not all(isinstance(text, str) and text for text in self.stop):
            raise BadPolicy(f"stop={str(self.stop)[:40]!r} cannot be; allowed: a list of texts, such as ['Problem:']")

    def on(self, tokenizer: PreTrainedTokenizerBase, ends: Sequence[int] = ()) -> Layout:
        """For a tokenizer, and the tokens that end a model's text besides its own. Raises BadPolicy."""
        chat = self._chat(tokenizer, {tokenizer.eos_token_id, *ends})
        if chat is None and (self.system is not None or self.template):
            raise BadPolicy("system and template are for chats; allowed: chat=true, if the tokenizer has a template")
        steps = STEPS[self.step] if isinstance(self.step, str) else self.step
        for end in (*steps.always, *steps.marks):
            if any(end in text for text in self.stop):
                raise BadPolicy(f"stop={str(list(self.stop))[:40]} cannot be: {end!r} ends a thought, so that nothing "
                                "with it is ever found; allowed: texts without it")
        return Layout(tokenizer, steps, tuple(self.stop), chat)

    def _chat(self, tokenizer: PreTrainedTokenizerBase, ends: set[int | None]) -> Chat | None:
        if self.chat is False:
            return None
        if not tokenizer.chat_template:
            if self.chat is True:
                raise BadPolicy("the tokenizer has no chat template; allowed: chat=auto, chat=false")
            return None
        chat = Chat(tokenizer, self.system, self.template or {})
        return chat if self.chat is True or chat.end in ends else None


class Chat:
    """A tokenizer's chat template.

    Args:
        system, variables: see Writing.

    Attributes:
        end: the special token at which an assistant's message ends; None if there is none.

    Raises BadPolicy for a template that fails.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, system: str | None, variables: Mapping[str, Any]) -> None:
        self._tokenizer, self._variables = tokenizer, dict(variables)
        self._before = [] if system is None else [{"role": "system", "content": system}]
        self._specials = tuple(token for token in tokenizer.all_special_tokens if token)
        self.opening = lru_cache(maxsize=4096)(self._opening)
        if MARKER not in self.opening(MARKER):
            raise BadPolicy("the tokenizer's chat template does not show what the user says")
        tail = self._render(MARKER, MARKER).rpartition(MARKER)[2]
        special = set(tokenizer.all_special_ids)
        ids: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
        self.end = next((token for token in ids if token in special), None)

    def _opening(self, prompt: str) -> str:
        """What is read before the first thought. A prompt that begins with a special token is written out already."""
        return f"{prompt}\n" if self._specials and prompt.startswith(self._specials) else self._render(prompt)

    def _render(self, prompt: str, answer: str | None = None) -> str:
        messages = [*self._before, {"role": "user", "content": prompt}]
        if answer is not None:
            messages.append({"role": "assistant", "content": answer})
        try:
            return str(self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=answer is None, **self._variables))
        except Exception as error:  # a template is a program, and may raise what it likes
            said = " ".join(f"{type(error).__name__} {error}".split())[:200]
            raise BadPolicy(f"the tokenizer's chat template refuses: {said}; allowed: chat=false") from error


class Layout:
    """Problems and thoughts as text and as tokens, for one tokenizer.

    Args:
        steps, stops: see Writing.
        chat: None where there is none.

    Attributes:
        over: the text of the token that ends the model's whole text; "" if it has none.
        lead: the end of the opening that belongs to the first thought; see Steps.lead.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, steps: Steps | None = None, stops: tuple[str, ...] = (),
        chat: Chat | None = None,
    ) -> None:  # fmt: skip
        self._tokenizer = tokenizer
        _remember_words_only(tokenizer)
        self.steps: Steps = Lines() if steps is None else steps
        self.stops, self.chat = stops, chat
        self.end: int | None = tokenizer.eos_token_id if chat is None or chat.end is None else chat.end
        self.over = "" if self.end is None else str(tokenizer.decode([self.end], skip_special_tokens=False))
        self.lead = self.steps.lead(self.opening(MARKER))
        self.encode = lru_cache(maxsize=8192)(self.encoded)

    @property
    def plain(self) -> bool:
        """Are thoughts lines, and nothing else an end?"""
        return type(self.steps) is Lines and not self.stops

    def opening(self, prompt: str) -> str:
        """What is read before the first thought."""
        return f"{prompt}\n" if self.chat is None else self.chat.opening(prompt)

    def close(self, before: str, thought: str) -> str:
        """What is read after a thought."""
        closing = self.steps.close(before, thought)
        return closing if closing is not None else self.over or "\n"

    def text(self, prompt: str, thoughts: Sequence[str] = (), closed: bool = True) -> Written:
        """A state as the model reads it; not closed: without what is read after its last thought."""
        opening, body = self.opening(prompt), ""
        for number, thought in enumerate(thoughts, 1):
            body += thought + (self.close(body, thought) if closed or number < len(thoughts) else "")
        if self.lead and body.startswith(self.lead):
            opening = opening.removesuffix(self.lead)
        return Written(opening + body, len(opening))

    def encoded(self, text: str) -> tuple[int, ...]:
        """All tokens of a text, with the beginning-of-sequence token if the tokenizer adds one, and no end of its own.

        A chat's template has written what there is to write.
        """
        ids: list[int] = self._tokenizer(text, add_special_tokens=self.chat is None)["input_ids"]
        ended = len(ids) > 1 and ids[-1] == self._tokenizer.eos_token_id
        if ended and self.chat is None and not self._meant(ids, text):
            del ids[-1]
        return tuple(ids)

    def _meant(self, ids: Sequence[int], text: str) -> bool:
        """Is the end at the end a thought's, and not the tokenizer's addition?"""
        return not self.plain and bool(self.over) and text.endswith(self.over) and ids[-2] != ids[-1]

    def line(self, prompt: str, thoughts: Sequence[str], last: bool = False) -> tuple[list[int], list[int]]:
        """A whole line of thought in tokens, and where each of its states ends: the prompt's, then each thought's.

        A state's tokens are the beginning of the line's, but where a tokenizer joins what stands at both sides of a
        thought's end: there a state ends where the two part. With `last` the line's last thought ends as the model ends
        its whole text, which no state that is read does.
        """
        states = [self.encode(self.text(prompt, thoughts[:count]).text) for count in range(len(thoughts) + 1)]
        if last and thoughts and self.end is not None:
            states[-1] = (*self.encode(self.text(prompt, thoughts, closed=False).text), self.end)
        line = states[-1]
        ends: list[int] = []
        for state in states:
            ends.append(max(_shared(state, line), 1, *ends[-1:]))
        return list(line), ends


def _remember_words_only(tokenizer: PreTrainedTokenizerBase) -> None:
    """A tokenizer keeps 10,000 words and their tokens, which is 50 MB where it takes a whole text for a word."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not hasattr(backend.model, "_resize_cache"):
        return  # written in Python, or of a kind that keeps none
    if backend.pre_tokenizer is None or len(backend.pre_tokenizer.pre_tokenize_str("a b")) == 1:
        backend.model._resize_cache(0)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    if one == other[: len(one)]:
        return len(one)
    return next(at for at, (a, b) in enumerate(zip(one, [*other, None], strict=False)) if a != b)
