from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from policy.base import Sampling, Thought
from policy.budget import Budget, Meter
from policy.decoder import DecoderError
from policy.transformer import Transformer
from policy.value_head import ValueHead
from verifiers.base import Problem, State

Make = Callable[..., Transformer]
LONGEST = 12


def state(*lines: str) -> State:
    return State(Problem(lines[0], "toy", lines[0], {}), tuple(lines[1:]))


def meter() -> Meter:
    return Budget(seconds=60).start()


@pytest.fixture
async def make(tiny_folder: Callable[..., Path]) -> AsyncIterator[Make]:
    policies = []

    def build(
        architecture: str = "llama", tokenizer: PreTrainedTokenizerFast | None = None, **options: int
    ) -> Transformer:
        folder = tiny_folder(architecture, tokenizer)
        policies.append(Transformer(str(folder), threads=1, **{"max_thought_tokens": LONGEST, **options}))
        return policies[-1]

    yield build
    for policy in policies:
        policy.close()


class Reference:
    """Plain full forward passes with transformers alone."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.head = ValueHead.load(folder, self.model.config.hidden_size)

    @torch.inference_mode()
    def next(self, tokens: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([tokens])).logits[0, -1].float().log_softmax(-1)

    @torch.inference_mode()
    def value(self, text: str) -> float:
        tokens = self.tokenizer(text)["input_ids"]
        prompt = len(self.tokenizer(text.split("\n")[0] + "\n")["input_ids"])
        gained = [float(self.next(tokens[:i])[tokens[i]]) for i in range(prompt, len(tokens))]
        likelihood = torch.tensor([sum(gained), min(gained, default=0.0)])
        hidden = self.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1]
        assert self.head is not None
        return float(torch.sigmoid(self.head(hidden[0, -1], likelihood)))

    def greedy(self, text: str, longest: int = LONGEST) -> tuple[str, float, int, bool]:
        tokens, logprob, thought = list(self.tokenizer(text)["input_ids"]), 0.0, []
        while len(thought) < longest:
            logprobs = self.next(tokens)
            token = int(logprobs.argmax())
            logprob += float(logprobs[token])
            thought.append(token)
            tokens.append(token)
            if "\n" in self.tokenizer.decode([token]) or token in self.tokenizer.all_special_ids:
                break
        ended = "\n" in self.tokenizer.decode(thought[-1:]) or thought[-1] == self.tokenizer.eos_token_id
        written = self.tokenizer.decode(thought, skip_special_tokens=True).split("\n")[0]
        return written, logprob, len(thought), ended

    def logprob(self, text: str, thought: str) -> float:
        """Of a thought that ended with a newline."""
        tokens = list(self.tokenizer(text)["input_ids"])
        total = 0.0
        for token in self.tokenizer(thought + "\n", add_special_tokens=False)["input_ids"]:
            total += float(self.next(tokens)[token])
            tokens.append(token)
        return total


STATES = [state("12+a"), state("1=2", "ab"), state("b" * 30, "2" * 20, "a+"), state("a", "", "b")]


def text_of(s: State) -> str:
    return "".join(line + "\n" for line in (s.problem.prompt, *s.thoughts))


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "neox"])
async def test_greedy_is_the_plain_forward_pass(
    architecture: str, make: Make, tiny_folder: Callable[..., Path]
) -> None:
    policy, reference = make(architecture), Reference(tiny_folder(architecture))
    for s in STATES:
        (thought,) = await policy.propose(s, 3, sampling=Sampling.GREEDY, seed=0, meter=meter())
        text, logprob, tokens, ended = reference.greedy(text_of(s))
        assert (thought.text, thought.tokens, thought.complete) == (text, tokens, ended)
        assert thought.logprob == pytest.approx(logprob, abs=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "neox"])
async def test_values_and_log_probabilities_are_the_plain_forward_pass(
    architecture: str, make: Make, tiny_folder: Callable[..., Path]
) -> None:
    policy, reference = make(architecture), Reference(tiny_folder(architecture))
    seen = 0
    for s in STATES:
        for sampling in (Sampling.INDEPENDENT, Sampling.DISTINCT):
            for thought in await policy.propose(s, 6, sampling=sampling, seed=1, meter=meter()):
                if not thought.complete:
                    assert thought.value is None
                    continue
                seen += 1
                assert thought.value == pytest.approx(reference.value(text_of(s.then(thought.text))), abs=1e-4)
                if thought.tokens == len(thought.text) + 1 and (logprob := thought.logprob):
                    by_newline = reference.logprob(text_of(s), thought.text)
                    by_eos = by_newline + eos_minus_newline(reference, s, thought.text)
                    assert min(abs(logprob - by_newline), abs(logprob - by_eos)) < 1e-4
    assert seen > 12


def eos_minus_newline(reference: Reference, s: State, thought: str) -> float:
    logprobs = reference.next(list(reference.tokenizer(text_of(s) + thought)["input_ids"]))
    newline = reference.tokenizer("\n")["input_ids"][-1]
    return float(logprobs[reference.tokenizer.eos_token_id] - logprobs[newline])


@pytest.mark.parametrize("sampling", list(Sampling))
async def test_alone_or_among_many_is_the_same(sampling: Sampling, make: Make) -> None:
    policy = make(max_batch=24)
    crowd = [state("a" * i, "12") for i in range(1, 26)]

    async def texts(s: State, kind: Sampling) -> list[str]:
        return [t.text for t in await policy.propose(s, 4, sampling=kind, seed=5, meter=meter())]

    alone = [await texts(s, sampling) for s in STATES]
    policy = make(max_batch=24)
    others = [texts(s, kind) for s in crowd for kind in (Sampling.DISTINCT, Sampling.INDEPENDENT)]
    together = await asyncio.gather(*others[:25], *(texts(s, sampling) for s in STATES), *others[25:])
    assert together[25 : 25 + len(STATES)] == alone


async def test_independent_frequencies_are_the_models(make: Make, tiny_folder: Callable[..., Path]) -> None:
    policy, reference = make(max_thought_tokens=1), Reference(tiny_folder())
    s, draws = STATES[0], 3000
    thoughts = await policy.propose(s, draws, sampling=Sampling.INDEPENDENT, seed=2, meter=meter())
    p = reference.next(list(reference.tokenizer(text_of(s))["input_ids"])).exp().tolist()
    ends = p[0] + p[1] + p[2]  # three tokens spell no text
    counts = Counter(thought.text for thought in thoughts)
    expected = {"": ends, **{reference.tokenizer.decode([i]): p[i] for i in range(3, len(p))}}
    for text, probability in expected.items():
        spread = 4 * math.sqrt(draws * probability * (1 - probability)) + 1
        assert abs(counts[text] - draws * probability) < spread


async def test_the_first_distinct_thought_is_one_sample(make: Make, tiny_folder: Callable[..., Path]) -> None:
    policy, reference = make(max_thought_tokens=1), Reference(tiny_folder())
    s, draws = STATES[1], 1500
    found = await asyncio.gather(
        *(policy.propose(s, 1, sampling=Sampling.DISTINCT, seed=seed, meter=meter()) for seed in range(draws))
    )
    p = reference.next(list(reference.tokenizer(text_of(s))["input_ids"])).exp().numpy()
    expected = np.array([p[:3].sum(), *p[3:]])
    names = ["", *(reference.tokenizer.decode([i]) for i in range(3, len(p)))]
    counts = Counter(thoughts[0].text for thoughts in found)
    for name, probability in zip(names, expected, strict=True):
        assert abs(counts[name] - draws * probability) < 4 * math.sqrt(draws * probability * (1 - probability)) + 1


async def test_the_end_of_the_text_is_told_from_the_end_of_a_line(make: Make) -> None:
    """Of the tokens of no text, one ends the text, one the line, and one is none of a thought's."""
    found = await make(max_thought_tokens=1).propose(
        STATES[0], 3000, sampling=Sampling.INDEPENDENT, seed=2, meter=meter())
    assert {(t.complete, t.last) for t in found if not t.text} == {(True, True), (True, False), (False, False)}
    distinct = await make(max_thought_tokens=1).propose(
        STATES[0], 30, sampling=Sampling.DISTINCT, seed=2, meter=meter())
    assert [(t.complete, t.last) for t in distinct if not t.text and t.complete].count((True, True)) == 1


async def test_distinct_thoughts_are_distinct_and_calls_continue_one_another(make: Make) -> None:
    async def ask(policy: Transformer, first: int, k: int) -> list[Thought]:
        return await policy.propose(STATES[0], k, sampling=Sampling.DISTINCT, seed=3, meter=meter(), first=first)

    whole = await ask(make(), 0, 24)
    assert len({(t.text, t.complete, t.last and not t.text) for t in whole}) == 24
    policy = make()
    pieces = [await ask(policy, 0, 4), await ask(policy, 4, 4), await ask(policy, 8, 16)]
    assert [t.text for piece in pieces for t in piece] == [t.text for t in whole]
    policy = make()
    together = await asyncio.gather(ask(policy, 8, 16), ask(policy, 0, 4), ask(policy, 4, 4))
    assert [t.text for i in (1, 2, 0) for t in together[i]] == [t.text for t in whole]
    assert [t.logprob for t in await ask(make(), 20, 4)] == pytest.approx([t.logprob for t in whole[20:]], abs=1e-4)


async def test_an_exhausted_support_gives_fewer(make: Make) -> None:
    policy = make(max_thought_tokens=1)
    thoughts = await policy.propose(STATES[0], 50, sampling=Sampling.DISTINCT, seed=0, meter=meter())
    assert len({(t.text, t.complete, t.last) for t in thoughts}) == len(thoughts) == 6 + 3  # characters, ways to stop


class Countdown(Meter):
    """A meter that is out after so many looks at its clock."""

    def __init__(self, looks: int) -> None:
        super().__init__(Budget(seconds=1))
        self.looks = looks

    @property
    def expired(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize("sampling", [Sampling.INDEPENDENT, Sampling.DISTINCT])
async def test_a_meter_that_is_out_stops_at_the_next_token(sampling: Sampling, make: Make) -> None:
    policy = make(max_thought_tokens=200)
    whole = await policy.propose(STATES[2], 30, sampling=sampling, seed=0, meter=meter())
    assert max(t.tokens for t in whole) > 8
    policy = make(max_thought_tokens=200)
    limited = Countdown(8)
    stopped, other = await asyncio.gather(
        policy.propose(STATES[2], 30, sampling=sampling, seed=0, meter=limited),
        policy.propose(STATES[0], 4, sampling=sampling, seed=0, meter=meter()),
    )
    assert -3 < limited.looks < 0
    assert len(stopped) < 30
    texts = [t.text for t in whole]
    if sampling is Sampling.DISTINCT:
        assert [t.text for t in stopped] == texts[: len(stopped)]
    else:
        assert all(t.text in texts and t.tokens <= 8 for t in stopped)
    assert len(other) == 4
    assert not any(not row.gone for row in policy.decoder.scheduler.batch.rows)


async def test_an_expired_meter_decodes_nothing(make: Make) -> None:
    policy = make()
    spent = meter()
    spent.cancel()
    assert await policy.propose(STATES[0], 4, sampling=Sampling.DISTINCT, seed=0, meter=spent) == []
    assert policy.decoder.scheduler.trunk.fed == 0


async def test_a_cancelled_task_leaves_the_batch(make: Make) -> None:
    policy = make(max_thought_tokens=400)
    long = [
        asyncio.create_task(policy.propose(s, 8, sampling=sampling, seed=0, meter=meter()))
        for s in STATES
        for sampling in (Sampling.DISTINCT, Sampling.INDEPENDENT)
    ]
    await asyncio.sleep(0.02)
    for task in long:
        task.cancel()
    outcomes = await asyncio.gather(*long, return_exceptions=True)
    assert any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    (thought,) = await policy.propose(STATES[0], 1, sampling=Sampling.GREEDY, seed=0, meter=meter())
    assert thought.tokens > 0
    scheduler = policy.decoder.scheduler
    assert not (scheduler.live or scheduler._priming or scheduler._asking)


async def test_shared_prefixes_are_read_once(make: Make) -> None:
    policy = make()
    s = state("12+ab=" * 10)
    await policy.propose(s, 8, sampling=Sampling.INDEPENDENT, seed=0, meter=meter())
    fed = policy.decoder.scheduler.trunk.fed
    (thought,) = await policy.propose(s, 1, sampling=Sampling.GREEDY, seed=0, meter=meter())
    assert policy.decoder.scheduler.trunk.fed - fed <= thought.tokens
    if thought.complete:
        fed = policy.decoder.scheduler.trunk.fed
        (after,) = await policy.propose(s.then(thought.text), 1, sampling=Sampling.GREEDY, seed=0, meter=meter())
        assert policy.decoder.scheduler.trunk.fed - fed <= after.tokens
    fed = policy.decoder.scheduler.trunk.fed
    longer = state("12+ab=" * 10, "1+1=2")
    (one,) = await policy.propose(longer, 1, sampling=Sampling.GREEDY, seed=0, meter=meter())
    assert policy.decoder.scheduler.trunk.fed - fed <= len("1+1=2\n") + one.tokens + 1


async def test_distinct_siblings_share_what_they_begin_with(make: Make) -> None:
    policy = make()
    await policy.propose(STATES[0], 1, sampling=Sampling.GREEDY, seed=0, meter=meter())
    fed = policy.decoder.scheduler.trunk.fed
    thoughts = await policy.propose(STATES[0], 16, sampling=Sampling.DISTINCT, seed=0, meter=meter())
    assert policy.decoder.scheduler.trunk.fed - fed < 1.3 * sum(t.tokens for t in thoughts)


async def test_the_memory_bound_holds_and_eviction_changes_nothing(make: Make) -> None:
    states = [state("ab" * i, "12" * j) for i in range(1, 9) for j in range(1, 4)]

    async def texts(policy: Transformer, s: State) -> list[str]:
        found = await policy.propose(s, 3, sampling=Sampling.DISTINCT, seed=1, meter=meter())
        return [t.text for t in found]

    free = make()
    expected = [await texts(free, s) for s in states]
    tight = make(cache_mb=0)
    tight.decoder.scheduler.cache.limit = 20_000
    for s, e in zip(states, expected, strict=True):
        assert await texts(tight, s) == e
        assert tight.decoder.scheduler.cache.bytes <= 20_000
    assert free.decoder.scheduler.cache.bytes > 20_000
    none = make(cache_mb=0)
    assert [await texts(none, s) for s in states[:6]] == expected[:6]


async def test_rows_may_outgrow_the_first_buffers(make: Make, tiny_folder: Callable[..., Path]) -> None:
    policy, reference = make(max_thought_tokens=40), Reference(tiny_folder())
    lines = ["12+ab=" * 20, *["a=b"] * 25]
    s = state(*lines)
    found = await asyncio.gather(
        policy.propose(s, 1, sampling=Sampling.GREEDY, seed=0, meter=meter()),
        policy.propose(STATES[0], 5, sampling=Sampling.INDEPENDENT, seed=0, meter=meter()),
    )
    assert found[0][0].logprob == pytest.approx(reference.greedy(text_of(s), 40)[1], abs=1e-3)


async def test_no_room_in_the_context_is_nothing_to_propose(make: Make) -> None:
    policy = make()
    assert await policy.propose(state("a" * 505), 2, sampling=Sampling.DISTINCT, seed=0, meter=meter()) == []


async def test_an_error_in_the_thread_reaches_every_caller(make: Make) -> None:
    policy = make()

    def broken(*args: object) -> None:
        raise ArithmeticError("the model broke")

    policy.decoder.scheduler.trunk.logprobs = broken  # type: ignore[assignment, method-assign]
    calls = [policy.propose(s, 2, sampling=Sampling.DISTINCT, seed=0, meter=meter()) for s in STATES]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, DecoderError) for outcome in outcomes)
    with pytest.raises(DecoderError, match="the model broke"):
        await policy.propose(STATES[0], 1, sampling=Sampling.GREEDY, seed=0, meter=meter())


async def test_close_ends_the_thread_and_what_waits_for_it(make: Make) -> None:
    policy = make(max_thought_tokens=400)
    waiting = asyncio.create_task(policy.propose(STATES[0], 200, sampling=Sampling.INDEPENDENT, seed=0, meter=meter()))
    await asyncio.sleep(0.01)
    thread = policy.decoder._thread
    assert thread is not None
    policy.close()
    assert not thread.is_alive()
    with pytest.raises(DecoderError, match="closed"):
        await waiting
    with pytest.raises(DecoderError, match="closed"):
        await policy.propose(STATES[0], 1, sampling=Sampling.GREEDY, seed=0, meter=meter())


def test_one_decoder_serves_one_event_loop_after_another(tiny_folder: Callable[..., Path]) -> None:
    policy = Transformer(str(tiny_folder()), threads=1, max_thought_tokens=LONGEST)

    async def once() -> list[Thought]:
        return await policy.propose(STATES[0], 3, sampling=Sampling.DISTINCT, seed=0, meter=meter())

    assert asyncio.run(once()) == asyncio.run(once())
    policy.close()


async def test_subword_tokenizers_are_read_as_they_write(
    subwords: PreTrainedTokenizerFast, make: Make, tiny_folder: Callable[..., Path]
) -> None:
    policy, reference = make("llama", subwords), Reference(tiny_folder("llama", subwords))
    complete = 0
    for s in STATES:
        (thought,) = await policy.propose(s, 1, sampling=Sampling.GREEDY, seed=0, meter=meter())
        assert thought.logprob == pytest.approx(reference.greedy(text_of(s))[1], abs=1e-4)
        for sampling in (Sampling.INDEPENDENT, Sampling.DISTINCT):
            for found in await policy.propose(s, 12, sampling=sampling, seed=0, meter=meter()):
                assert "\n" not in found.text
                if found.complete:
                    complete += 1
                    assert found.value == pytest.approx(reference.value(text_of(s.then(found.text))), abs=1e-4)
    assert complete > 5
