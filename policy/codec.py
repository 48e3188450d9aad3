"""Lines of thought to token ids and back, for any Hugging Face tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from policy.base import BadPolicy

# What a token means inside a thought. Plain numbers: they are compared for every token that is drawn.
TEXT = 0
END = 1  # holds a newline, or is the end-of-sequence token: the thought is complete
STOP = 2  # any other special or unused token: the thought is dead


class Codec:
    """Reads and writes thoughts in tokens.

    Args:
        tokenizer: any fast or slow Hugging Face tokenizer that can spell a newline.
        vocabulary: number of tokens V the model gives logits for; may exceed the tokenizer's.
        ends: further token ids that end a sequence, from the model's generation config.

    Attributes:
        kinds: V numbers, TEXT, END or STOP.
        last: the ENDs after which there is no text at all.
        newline: the token that ends a line wherever it is read, if tokens are characters; else None.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, ends: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        known = min(len(tokenizer), vocabulary)
        special = set(tokenizer.all_special_ids)
        ids = [[token] for token in range(known)]
        self._strings: list[str] = tokenizer.batch_decode(ids, clean_up_tokenization_spaces=False)
        self.kinds = [STOP] * vocabulary
        for token, string in enumerate(self._strings):
            if token not in special:
                self.kinds[token] = END if "\n" in string else TEXT
        self.last = {token for token in {tokenizer.eos_token_id, *ends} - {None} if token < vocabulary}
        for token in self.last:
            self.kinds[token] = END
        self.encode = lru_cache(maxsize=8192)(self._encode)
        if not any("\n" in self._strings[token] for token in self._encode_any("1\n1") if token < known):
            raise BadPolicy("the tokenizer cannot spell a newline, which ends a thought")
        self.newline = self._newline_of_characters(special)
        self._letters = {} if self.newline is None else {
            string: token for token, string in enumerate(self._strings) if token not in special}
        self._first = self._encode_any("".join(self._letters))[: -len(self._letters)] if self._letters else ()
        self._specials = [self._strings[token] for token in special if token < known]

    def _encode(self, text: str) -> tuple[int, ...]:
        """All tokens of a line of thought, with the beginning-of-sequence token if the tokenizer adds one.

        The tokenizer takes longer for a state than a search for a simulation; letters are looked up without it.
        """
        if text and self._letters.keys() >= set(text) and not any(name in text for name in self._specials):
            return (*self._first, *map(self._letters.__getitem__, text))
        return self._encode_any(text)

    def _encode_any(self, text: str) -> tuple[int, ...]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        if len(ids) > 1 and ids[-1] == self._tokenizer.eos_token_id:
            del ids[-1]
        return tuple(ids)

    def decode(self, thought: Sequence[int]) -> str:
        """The text of a thought's tokens, without its end."""
        if self.newline is not None:
            return "".join([self._strings[t] for t in thought if self.kinds[t] == TEXT])
        text = self._tokenizer.decode(list(thought), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text).split("\n", 1)[0]

    def after(self, text: str, tokens: Sequence[int], thought: Sequence[int]) -> list[int]:
        """The tokens of the state one thought later.

        Args:
            text, tokens: the state's text and its tokens.
            thought: the thought's tokens with their end.
        """
        if self.newline is not None:
            return [*tokens, *thought[:-1], self.newline]
        return list(self.encode(f"{text}{self.decode(thought)}\n"))

    def _newline_of_characters(self, special: set[int]) -> int | None:
        """The newline's token if every token is one character (then encodings concatenate), else None."""
        regular = [string for token, string in enumerate(self._strings) if token not in special]
        if any(len(string) != 1 for string in regular) or len(set(regular)) != len(regular):
            return None
        spelled = self._encode_any("".join(regular))[-len(regular) :]
        if [self._strings[t] for t in spelled] != regular:
            return None
        return self._strings.index("\n")
