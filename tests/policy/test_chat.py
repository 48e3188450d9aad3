"""Chats and steps through the whole policy, held against transformers alone: templates, tokens, probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from policy.base import BadPolicy, Sampling, Thought
from policy.budget import Budget
from policy.layout import Writing
from policy.rows import Row
from policy.transformer import Transformer
from selfplay.batches import LessonEncoder
from selfplay.lessons import NOTHING, Lesson
from selfplay.losses import logprobs
from selfplay.trainee import Lora, Trainee
from tests.policy.chatty import CHATML, chat_tokenizer, write_chatty
from verifiers.base import Problem, State

ARCHITECTURES = ["llama", "qwen2", "neox"]
PROBLEM = Problem("x", "toy", "Add 1 and 2.\nThat is all.", {})
LONGEST = 24
THOUGHTS = {
    "line": ("1+2=3", "    b=2", "That is 3."),
    "paragraph": ("1+2=3\nThat is 3.", "a=1\n    b=2", "#### 3"),
    "think": ("<think>\n1+2=3\nThat is 3.", "a=1", "That is 3.\n</think>", "#### 3"),
}
Make = Callable[..., Transformer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def of(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = write_chatty(tmp_path_factory.mktemp(architecture), architecture)
        return made[architecture]

    return of


@pytest.fixture
def make(folder: Callable[[str], Path]) -> Iterator[Make]:
    policies: list[Transformer] = []

    def of(architecture: str = "llama", **options: Any) -> Transformer:
        policies.append(Transformer(str(folder(architecture)), threads=1,
                                    **{"max_thought_tokens": LONGEST, "speculate": 4, **options}))
        return policies[-1]

    yield of
    for policy in policies:
        policy.close()


class Plain:
    """The model by transformers alone."""

    def __init__(self, folder: Path) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder)

    @torch.inference_mode()
    def logprobs(self, tokens: Sequence[int]) -> torch.Tensor:
        found: torch.Tensor = self._model(torch.tensor([[*tokens]])).logits[0].log_softmax(-1)
        return found

    def logprob(self, before: Sequence[int], thought: Sequence[int]) -> float:
        logprobs = self.logprobs([*before, *thought])[len(before) - 1 : -1]
        return float(logprobs.gather(1, torch.tensor([*thought])[:, None]).sum())


async def ask(policy: Transformer, state: State, k: int, sampling: Sampling, seed: int = 0) -> list[Thought]:
    return await policy.propose(state, k, sampling=sampling, seed=seed, meter=Budget(seconds=120).start())


def conversation(tokenizer: Any, thoughts: str, **more: Any) -> list[int]:
    """Of the whole dialogue, by the tokenizer's own template."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROBLEM.prompt},
                {"role": "assistant", "content": thoughts}]
    ids: list[int] = tokenizer.apply_chat_template(messages, return_dict=False, **more)
    return ids


@pytest.mark.parametrize("step", ["line", "paragraph", "think"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_the_beginning_of_the_conversation(
    folder: Callable[[str], Path], architecture: str, step: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder(architecture))
    layout = Writing(system="Be brief.", step=step).on(tokenizer)
    assert layout.chat is not None
    for count in range(len(THOUGHTS[step]) + 1):
        text, start = layout.text(PROBLEM.prompt, THOUGHTS[step][:count])
        said = text[start:]
        whole = conversation(tokenizer, said)
        ours = list(layout.encode(text))
        assert whole[: len(ours)] == ours and len(whole) > len(ours) - 1
        assert conversation(tokenizer, said, continue_final_message=True) == ours if said else True
    if step == "think":  # the answer's end is the template's own
        assert said.endswith("#### 3<|im_end|>")


@pytest.mark.parametrize("step", ["line", "paragraph", "think"])
def test_what_is_trained_is_what_is_read(make: Make, step: str) -> None:
    """Lessons in tokens are the states that the policy reads, each at its end."""
    policy = make(step=step, template={"thinking": step == "think"})
    thoughts = THOUGHTS[step]
    lesson = Lesson(PROBLEM.prompt, thoughts, (1.0,) * len(thoughts), (NOTHING,) * (len(thoughts) + 1), ends=True)
    encoder = LessonEncoder(chat_tokenizer(), 512, policy._layout)
    [[row]] = encoder.rows(lesson)
    for count, end in enumerate(row.ends):
        read = policy._codec.encode(policy._layout.text(PROBLEM.prompt, thoughts[:count]).text)
        assert tuple(row.tokens[:end]) == read
    assert row.tokens[-1] == chat_tokenizer().eos_token_id
    assert row.tokens.count(chat_tokenizer().eos_token_id) == 2  # the user's, and the assistant's


def written(step: str, tokens: list[int], before: str, tokenizer: Any) -> tuple[str, bool, bool]:
    """What was written so far, whether the thought is over, and the text: told anew, from the whole text alone."""
    *rest, token = tokens
    ended = token == tokenizer.eos_token_id
    text = tokenizer.decode(rest if ended else tokens)
    if step == "think" and "</think>" in before:
        return text, ended, ended
    if step == "line":
        line, newline, _ = text.partition("\n")
        return line, bool(newline) or ended, ended and not newline
    skipped = len(text) - len(text.lstrip("\n"))
    cut, blank, _ = text[skipped:].partition("\n\n")
    if step == "think" and "</think>" in cut:
        cut, blank = cut.partition("</think>")[0] + "</think>", "\n\n"
    return text[:skipped] + cut, bool(blank) or ended, ended and not blank


@pytest.mark.parametrize(("architecture", "step"), [
    ("llama", "line"), ("llama", "paragraph"), ("llama", "think"), ("qwen2", "think"), ("neox", "think")])
async def test_greedy_thoughts_are_those_of_the_plain_model_token_by_token(
    make: Make, folder: Callable[[str], Path], architecture: str, step: str
) -> None:
    policy = make(architecture, step=step, template={"thinking": step == "think"})
    model, tokenizer = Plain(folder(architecture)), AutoTokenizer.from_pretrained(folder(architecture))
    opening = tokenizer.apply_chat_template([{"role": "user", "content": PROBLEM.prompt}], tokenize=False,
                                            add_generation_prompt=True, thinking=step == "think")
    complete = 0
    others = [(f"<think>\n{text}" if step == "think" else text,) for text in ("a", "1", "ab=ba", "Add", "is 3.")]
    for thoughts in [(), *(THOUGHTS[step][:n] for n in range(1, len(THOUGHTS[step]))), *others]:
        before = "".join(f"{thought}\n" if step == "line" else f"{thought}\n\n" for thought in thoughts)
        text = (opening.removesuffix("<think>\n") if thoughts else opening) + before
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        drawn: list[int] = []
        logprob, over = 0.0, False
        while len(drawn) < LONGEST and not over:
            logprobs = model.logprobs([*tokens, *drawn])[-1]
            drawn.append(int(logprobs.argmax()))
            logprob += float(logprobs[drawn[-1]])
            spelled, over, last = written(step, drawn, before, tokenizer)
            if drawn[-1] in tokenizer.all_special_ids:
                break
        [thought] = await ask(policy, State(PROBLEM, thoughts), 1, Sampling.GREEDY)
        lead = "<think>\n" if step == "think" and not thoughts else ""
        assert thought.tokens == len(drawn) and thought.complete == over
        assert thought.logprob == pytest.approx(logprob, abs=1e-3)
        if over:
            complete += 1
            assert (thought.text, thought.last) == (lead + spelled, last)
    assert complete


def finishing(policy: Transformer) -> list[tuple[tuple[int, ...], float]]:
    """Tokens and log-probabilities of the thoughts that are drawn from now on."""
    finished: list[tuple[tuple[int, ...], float]] = []
    finish = policy.decoder.scheduler._finish

    def noted(row: Row, complete: bool, value: float | None) -> None:
        finished.append((tuple(row.thought), row.logprob))
        finish(row, complete, value)

    policy.decoder.scheduler._finish = noted  # type: ignore[method-assign]
    return finished


@pytest.mark.parametrize("sampling", [Sampling.INDEPENDENT, Sampling.DISTINCT])
@pytest.mark.parametrize("step", ["line", "paragraph", "think"])
async def test_probabilities_are_those_of_the_plain_model(
    make: Make, folder: Callable[[str], Path], step: str, sampling: Sampling
) -> None:
    """On the very tokens that were drawn, after those that the tokenizer makes of the state."""
    policy = make(step=step)
    model, layout = Plain(folder("llama")), policy._layout
    finished = finishing(policy)
    state = State(PROBLEM, THOUGHTS[step][: -1 if step == "think" else 1])
    tokens = layout.encode(layout.text(PROBLEM.prompt, state.thoughts).text)
    found = await ask(policy, state, 30, sampling)
    assert len(found) > 10 and len(finished) >= len(found)
    for thought, logprob in finished:
        assert model.logprob(tokens, thought) == pytest.approx(logprob, abs=1e-3)
    for thought in found:  # trees hold too many of the distinct ones
        known = sampling is Sampling.INDEPENDENT and thought.complete
        assert (thought.ids, thought.logprob) in finished if known else thought.ids == ()
        assert len(thought.ids) == thought.tokens * known


@pytest.mark.parametrize("step", ["line", "paragraph", "think"])
async def test_the_learner_gives_thoughts_the_probability_they_were_drawn_with(
    make: Make, folder: Callable[[str], Path], step: str
) -> None:
    """Wherever the tokens of its text are those that were drawn, which a thought's logarithm tells apart."""
    policy = make(step=step)
    learner = Trainee(folder("llama"), None, Lora(), seed=0, device=torch.device("cpu"))
    encoder = LessonEncoder(learner.tokenizer, 512, Writing(step=step).on(learner.tokenizer, learner.ends))
    drawn, alike = finishing(policy), 0
    for thought in [thought for seed in range(3) for thought in await ask(policy, State(PROBLEM), 8, Sampling.DISTINCT,
                                                                          seed) if not thought.dead]:
        for then in await ask(policy, State(PROBLEM, (thought.text,)), 2, Sampling.INDEPENDENT):
            stored = (thought.logprob, then.logprob)
            [[row]] = encoder.rows(Lesson(PROBLEM.prompt, (thought.text, then.text), (1.0,) * 2, (NOTHING,) * 3,
                                          logprobs=stored))  # fmt: skip
            with torch.no_grad():
                found = logprobs(learner.read(torch.tensor([row.tokens])).logits, torch.tensor([row.tokens]))[0]
            for where, logprob in zip(row.thoughts(), stored, strict=True):
                if (tuple(row.tokens[where]), logprob) in drawn:
                    alike += 1
                    assert float(found[where].sum()) == pytest.approx(logprob, abs=1e-3)
    assert alike >= 5


async def test_what_else_is_drawn_changes_no_thought(make: Make) -> None:
    policy = make(step="paragraph")
    state = State(PROBLEM, THOUGHTS["paragraph"][:1])
    alone = await ask(policy, state, 3, Sampling.DISTINCT, seed=5)
    more = await ask(make(step="paragraph", speculate=0), state, 40, Sampling.DISTINCT, seed=5)
    assert [(t.text, t.tokens, t.last) for t in alone] == [(t.text, t.tokens, t.last) for t in more[:3]]


async def test_a_blank_line_that_joins_the_newline_before_it(make: Make) -> None:
    """Many rows end in the very state, which has no more tokens than the one they began with."""
    policy = make(speculate=0)
    state = State(PROBLEM, ("1+2=3",))
    found = [await ask(policy, state, 60, sampling, seed)
             for seed in range(2) for sampling in (Sampling.INDEPENDENT, Sampling.DISTINCT)]
    blank = [thought for thoughts in found for thought in thoughts if thought.complete and not thought.text]
    assert blank and all(thought.dead or thought.last for thought in blank)


@pytest.mark.parametrize(("template", "eos", "chats"), [
    (CHATML, "<|im_end|>", True), (CHATML, "<|endoftext|>", False), (None, "<|im_end|>", False)])
def test_auto_is_a_chat_where_the_model_ends_as_the_template_does(template: str | None, eos: str, chats: bool) -> None:
    layout = Writing().on(chat_tokenizer(template, eos))
    assert (layout.chat is not None) == chats
    assert layout.text("1+2").text.startswith("<|im_start|>user\n1+2<|im_end|>" if chats else "1+2\n")
    end = chat_tokenizer().convert_tokens_to_ids("<|im_end|>")
    assert (Writing().on(chat_tokenizer(CHATML, "<|endoftext|>"), [end]).chat is not None)  # the generation config's


def test_a_prompt_in_the_models_own_tokens_stands_as_it_is() -> None:
    prompt = "<|im_start|>user\n1+2<|im_end|>\n<|im_start|>assistant"
    assert Writing().on(chat_tokenizer()).text(prompt).text == f"{prompt}\n"


@pytest.mark.parametrize(("options", "said"), [
    ({"chat": "maybe"}, "allowed: auto, true, false"), ({"step": "word"}, "allowed: line, paragraph, think"),
    ({"stop": "Problem:"}, "a list of texts"), ({"stop": [""]}, "a list of texts"),
    ({"chat": False, "system": "Be brief."}, "allowed: chat=true"),
    ({"attention": "flash"}, "allowed: sdpa, eager"),
    ({"quantization": {"quant_method": "magic"}}, "magic"),
    ({"device_map": {"": "cpu"}, "device": "cuda"}, "both say where the weights are; allowed: one of them"),
    ({"device_map": {"model": "cpu", "lm_head": "disk"}}, "on cpu, disk, and the tree decoder needs them on one"),
    ({"device_map": {"model": "disk", "lm_head": "disk"}}, "layers on disk"),
    ({"device_map": {"model": "meta"}}, "layers on cpu, meta"), ({"device_map": "everywhere"}, "everywhere"),
])
def test_what_cannot_be_is_one_line(folder: Callable[[str], Path], options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPolicy, match=said) as caught:
        Transformer(str(folder("llama")), threads=1, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("template", "said"), [
    (None, "no chat template"), ("{{ raise_exception('no system\nhere') }}", "no system here"),
    ("{{ x.y.z }}", "refuses"), ("hello", "does not show"),
])
def test_a_template_that_cannot_be_used_is_one_line(template: str | None, said: str) -> None:
    with pytest.raises(BadPolicy, match=said) as caught:
        Writing(chat=True).on(chat_tokenizer(template))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device_map", [{"": "cpu"}, "cpu", "auto"])
async def test_a_map_that_fits_one_device_gives_the_same_policy(make: Make, device_map: Any) -> None:
    if device_map == "auto" and torch.cuda.is_available():
        pytest.skip("auto is another device here")
    plain, mapped = make(), make(device_map=device_map)
    assert mapped.version == plain.version
    for kind, k in ((Sampling.GREEDY, 1), (Sampling.DISTINCT, 4)):
        assert await ask(mapped, State(PROBLEM), k, kind) == await ask(plain, State(PROBLEM), k, kind)


@pytest.mark.parametrize("dtype", ["auto", "float16", "bfloat16"])
async def test_other_dtypes(make: Make, dtype: str) -> None:
    [thought] = await ask(make(dtype=dtype, attention="eager"), State(PROBLEM), 1, Sampling.GREEDY)
    assert thought.tokens
