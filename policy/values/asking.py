"""The policy is asked for its opinion: the state evaluator of Tree of Thoughts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping

from policy.base import BadPolicy, Policy
from policy.budget import Meter
from policy.template import Template
from policy.values.lines import holds_a_thought, write
from policy.values.valued import Valued, count
from verifiers.base import State, derive_seed

_WORD = re.compile(r"[^\W\d_]+")


class Asking(Valued):
    """Each thought is valued by the policy itself, in words (Yao et al. 2023, "Tree of Thoughts", section 3, (3a)).

    The policy gets the value prompt several times and writes a few lines; the first line whose last word is one of the
    table's is its verdict. The value is the mean over the verdicts given, and None if there are none. (The paper sums
    20 for sure, 1 for likely and 0.001 for impossible, which ranks states; a value here is a probability.)

    Every token written is charged with the thought; what is read is not, like every prompt. For models that follow
    instructions: the shipped policy does not.

    Args:
        policy: proposes the thoughts, and says what it thinks of them.
        prompt: the file of the value prompt, with the places {problem} and {thoughts}.
        words: from a single word to the number in [0, 1] that it stands for; letter case does not matter.
        samples: times it is asked.
        max_tokens: of one reply; at least the policy's max_thought_tokens.
        chains: see Valued.
    """

    def __init__(
        self, policy: Policy, prompt: str, words: Mapping[str, float], samples: int = 3, max_tokens: int = 128,
        chains: bool = False,
    ) -> None:  # fmt: skip
        count(samples=samples, max_tokens=max_tokens)
        holds_a_thought(policy, max_tokens)
        self._words = {str(word).casefold(): number for word, number in words.items()}
        for word, number in self._words.items():
            real = isinstance(number, int | float) and not isinstance(number, bool)
            if not _WORD.fullmatch(word) or not real or not 0 <= number <= 1:
                raise BadPolicy(f"values.words cannot have {word!r}: {number!r}; allowed: single words of letters, "
                                "each with a number from 0 to 1")
        if not self._words:
            raise BadPolicy("values.words is empty; allowed: words and their numbers, such as {sure: 0.95}")
        self._template = Template(prompt)
        self._samples, self._tokens = samples, max_tokens
        told = json.dumps([self._template.text, sorted(self._words.items()), samples, max_tokens])
        name = hashlib.blake2b(told.encode(), digest_size=3).hexdigest()
        super().__init__(policy, f"asking-{name}", samples * max_tokens, chains)

    async def value(self, state: State, seed: int, meter: Meter) -> tuple[float | None, int]:
        """See Valued."""
        asked, seed = self._template.about(state), derive_seed(seed, "asking")
        replies = await asyncio.gather(*(
            write(self._policy, asked, i, self._tokens, seed=seed, meter=meter,
                  done=lambda text: self.verdict(text) is not None)
            for i in range(self._samples)
        ))  # fmt: skip
        last = (reply.state.thoughts[-1] for reply in replies if reply.state.thoughts)
        verdicts = [number for text in last if (number := self.verdict(text)) is not None]
        return sum(verdicts) / len(verdicts) if verdicts else None, sum(reply.tokens for reply in replies)

    def verdict(self, text: str) -> float | None:
        """The number of the last word of a line; None if that is no word of the table."""
        words = _WORD.findall(text)
        return self._words.get(words[-1].casefold()) if words else None
