"""Thoughts and their values by transformers alone, for searches that decode with `generate`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from policy.value_head import ValueHead
from verifiers.base import Judge, Problem, State


class Solved(Exception):
    """A line was proved."""


class OutOfTime(Exception):
    """The seconds are over."""


class Line(NamedTuple):
    """A line of thought as a peer's search sees it: its score in [0, 1], and whether nothing can follow."""

    state: State
    score: float
    over: bool


class Generating:
    """Draws and scores thoughts of one problem.

    Args:
        folder: of a policy with a value head.
        longest: most tokens of a thought.
    """

    def __init__(self, folder: Path, longest: int) -> None:
        model: Any = AutoModelForCausalLM
        self._model = model.from_pretrained(folder, attn_implementation="sdpa").eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self._head = ValueHead.load(folder, self._model.config.hidden_size)
        newline = self._tokenizer.convert_tokens_to_ids("\n")
        config: Any = GenerationConfig
        self._config = config(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=longest,
                              pad_token_id=self._tokenizer.pad_token_id,
                              eos_token_id=[*self._tokenizer.all_special_ids, newline])

    def begin(self, problem: Problem, judge: Judge, seconds: float) -> Line:
        """Think about another problem from now on; returns its root."""
        self._problem, self._judge = problem, judge
        self._ends = time.perf_counter() + seconds
        return Line(State(problem), 0.5, False)

    def check_time(self) -> None:
        """Raises OutOfTime."""
        if time.perf_counter() > self._ends:
            raise OutOfTime

    @torch.inference_mode()
    async def after(self, lines: Sequence[Line]) -> list[Line]:
        """One next thought for each line, drawn at temperature 1. Raises Solved and OutOfTime."""
        self.check_time()
        open_ones = [line for line in lines if not line.over]
        found = iter(await self._drawn([line.state for line in open_ones])) if open_ones else iter(())
        self.check_time()
        return [Line(line.state, 0.0, True) if line.over else next(found) for line in lines]

    async def _drawn(self, states: Sequence[State]) -> list[Line]:
        texts = ["".join(f"{line}\n" for line in (state.problem.prompt, *state.thoughts)) for state in states]
        batch = self._tokenizer(texts, return_tensors="pt", padding=True)
        drawn = self._model.generate(**_inputs(batch), generation_config=self._config)
        thoughts = self._tokenizer.batch_decode(drawn[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        after = [state.then(thought.split("\n", 1)[0]) for state, thought in zip(states, thoughts, strict=True)]
        values = self._values(after)
        return [await self._judged(before, state, value)
                for before, state, value in zip(states, after, values, strict=True)]

    async def _judged(self, before: State, state: State, value: float) -> Line:
        thought = state.thoughts[-1]
        if not thought.strip() or not (await self._judge.check_thought(before, thought)).ok:
            return Line(state, 0.0, True)
        answer = await self._judge.answer(state)
        if answer is None:
            return Line(state, value, False)
        verdict = await self._judge.self_check(self._problem, answer)
        if verdict is not None and verdict.ok:
            raise Solved
        return Line(state, 0.0, True)

    def _values(self, states: Sequence[State]) -> list[float]:
        assert self._head is not None
        prompt = len(self._tokenizer(f"{self._problem.prompt}\n")["input_ids"])
        texts = ["".join(f"{line}\n" for line in (state.problem.prompt, *state.thoughts)) for state in states]
        batch = _inputs(self._tokenizer(texts, return_tensors="pt", padding=True))
        ids, mask = batch["input_ids"], batch["attention_mask"]
        hidden: Tensor = self._model.base_model(**batch, use_cache=False).last_hidden_state
        gained = self._model.lm_head(hidden[:, :-1]).log_softmax(-1).gather(2, ids[:, 1:, None])[:, :, 0]
        gained = torch.where(mask.cumsum(1)[:, 1:] > prompt, gained, 0.0)  # of the thoughts alone
        likelihood = torch.stack([gained.sum(1), gained.min(1).values], 1)
        values: list[float] = torch.sigmoid(self._head(hidden[:, -1], likelihood)).tolist()
        return values


def _inputs(batch: Any) -> dict[str, Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}
