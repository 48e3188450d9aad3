"""Thoughts to token ids and back, for any Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from policy.base import BadPolicy
from policy.layout import Layout

# What a token means inside a thought. Plain numbers: they are compared for every token that is drawn.
TEXT = 0
END = 1  # ends any thought, such as a newline ends a line, or the model's text: the thought is complete
STOP = 2  # any other special or unused token: the thought is dead
LOOK = 3  # the thought may be complete: its text tells


class Spelled(NamedTuple):
    """What the tokens of a thought spell.

    Attributes:
        text: without its end.
        over: whether it is over.
        last: the whole text is over, and not only the thought.
    """

    text: str
    over: bool
    last: bool


class Codec:
    """Reads and writes thoughts in tokens.

    Args:
        tokenizer: any fast or slow Hugging Face tokenizer that can spell a newline.
        vocabulary: number of tokens V the model gives logits for; may exceed the tokenizer's.
        ends: further token ids that end a sequence, from the model's generation config.
        layout: how states are written, and where thoughts end; by default a line each, after the prompt.

    Attributes:
        kinds: V numbers, TEXT, END, STOP or LOOK.
        looks: is any of them LOOK?
        last: the ENDs after which there is no text at all.
        newline: the token that ends a line wherever it is read, if tokens are characters and thoughts lines; else None.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, ends: Sequence[int] = (),
        layout: Layout | None = None,
    ) -> None:  # fmt: skip
        self._tokenizer = tokenizer
        self.layout = layout = Layout(tokenizer) if layout is None else layout
        known = min(len(tokenizer), vocabulary)
        special = set(tokenizer.all_special_ids)
        ids = [[token] for token in range(known)]
        self._strings: list[str] = tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
        self._mute = special - {token for token in special if str(tokenizer.decode([token])) in layout.steps.tags}
        self.kinds = [STOP] * vocabulary
        for token, string in enumerate(self._strings):
            if token not in self._mute:
                self.kinds[token] = self._kind(string)
        self.last = {token for token in {tokenizer.eos_token_id, *ends, layout.end} - {None} if token < vocabulary}
        for token in self.last:
            self.kinds[token] = END
        self.looks = LOOK in self.kinds
        self.encode = lru_cache(maxsize=8192)(self._encode)
        if not any("\n" in self._strings[token] for token in layout.encoded("1\n1") if token < known):
            raise BadPolicy("the tokenizer cannot spell a newline, which ends a thought")
        newline = self._newline_of_characters(special)
        self.newline = newline if layout.plain else None
        self._letters = {} if newline is None else {
            string: token for token, string in enumerate(self._strings) if token not in special}
        self._first = layout.encoded("".join(self._letters))[: -len(self._letters)] if self._letters else ()
        self._specials = [self._strings[token] for token in special if token < known]

    def _kind(self, string: str) -> int:
        """Of a token that is no special one."""
        if any(mark in string for mark in self.layout.steps.always):
            return END
        marks = (*self.layout.steps.marks, *self.layout.stops)
        return LOOK if any(_completes(string, mark) for mark in marks) else TEXT

    def _encode(self, text: str) -> tuple[int, ...]:
        """All tokens of a state; see Layout.encoded.

        The tokenizer takes longer for a state than a search for a simulation; letters are looked up without it.
        """
        if text and self._letters.keys() >= set(text) and not any(name in text for name in self._specials):
            return (*self._first, *map(self._letters.__getitem__, text))
        return self.layout.encoded(text)

    def decode(self, thought: Sequence[int], before: str = "") -> str:
        """The text of a thought's tokens, without its end; `before`: see Steps.end."""
        return self.spell(thought, before).text

    def spell(self, thought: Sequence[int], before: str = "") -> Spelled:
        """What a thought's tokens spell, as far as it goes; `before`: see Steps.end."""
        ended = thought[-1] in self.last if thought else False
        if self.newline is not None:
            text = "".join([self._strings[t] for t in thought if self.kinds[t] == TEXT])
            return Spelled(text, ended or self.newline in thought[-1:], ended)
        text, over, stopped = self._cut(before, self._text(thought))
        lead = "" if before else self.layout.lead
        return Spelled(lead + text, over or ended, stopped or (ended and not over))

    def drawn(self, thought: Sequence[int], text: str) -> tuple[int, ...]:
        """A complete thought's tokens with their end; () where its text, read again, is sure to have these and no
        others."""
        if self.newline is None or thought[-1] not in (self.newline, self.layout.end):
            return tuple(thought)
        return tuple(thought) if any(name in text for name in self._specials) else ()

    def over(self, thought: Sequence[int], before: str) -> bool:
        """Is a thought that ends in this token complete?"""
        kind = self.kinds[thought[-1]]
        return kind == END or (kind == LOOK and self.spell(thought, before).over)

    def after(self, text: str, tokens: Sequence[int], thought: Sequence[int], start: int = 0) -> list[int]:
        """The tokens of the state one thought later.

        Args:
            text, tokens: the state's text and its tokens.
            thought: the thought's tokens with their end.
            start: how many characters of the text come before the thoughts.
        """
        if self.newline is not None:
            return [*tokens, *thought[:-1], self.newline]
        before = text[start:]
        spelled = self.decode(thought, before)
        written = spelled if before else spelled.removeprefix(self.layout.lead)
        return list(self.encode(f"{text}{written}{self.layout.close(before, spelled)}"))

    def _text(self, thought: Sequence[int]) -> str:
        """All that tokens spell. What ends the text, and special tokens else, spell nothing, but for a rule's tags."""
        ids = [token for token in thought if token not in self._mute and token not in self.last]
        return str(self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _cut(self, before: str, text: str) -> tuple[str, bool, bool]:
        """A thought of what was written, whether it is over, and whether by a text that stops everything."""
        end = self.layout.steps.end(before, text)
        stop = min((at for at in map(text.find, self.layout.stops) if at >= 0), default=None)
        if stop is not None and (end is None or stop < end):
            return text[:stop], True, True
        return (text, False, False) if end is None else (text[:end], True, False)

    def _newline_of_characters(self, special: set[int]) -> int | None:
        """The newline's token if every token is one character (then encodings concatenate), else None."""
        regular = [string for token, string in enumerate(self._strings) if token not in special]
        if any(len(string) != 1 for string in regular) or len(set(regular)) != len(regular):
            return None
        spelled = self.layout.encoded("".join(regular))[-len(regular) :]
        if [self._strings[t] for t in spelled] != regular:
            return None
        return self._strings.index("\n")


def _completes(string: str, mark: str) -> bool:
    """May a text be complete after a token that spells this? It holds all of it, or begins with an end of it.

    A token that is part of a character spells a replacement, which may be anything.
    """
    ends = (mark[at:] for at in range(1, len(mark)))
    return mark in string or any(string.startswith(end) for end in ends) or ("\ufffd" in string and not mark.isascii())
