"""Reward models of three kinds as values: what transformers computes, alone and in a batch."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LlamaForTokenClassification,
    PreTrainedTokenizerFast,
)

from policy.base import BadPolicy, Policy, PolicyStopped, Sampling
from policy.budget import Budget
from policy.scripted import Scripted, evenly
from policy.values.batches import Batches
from policy.values.reward_model import RewardModel
from tests.policy.conftest import small_tokenizer
from verifiers.base import Problem, State

STATE = State(Problem("p", "d", "1+1", {}, reference="2"))
LINES = (("1=1",), ("12+2", "a=b+12=2"), ("b", "ab", "2=2=2=2"))
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 128}  # fmt: skip
CLASSES = {"sequence": LlamaForSequenceClassification, "token": LlamaForTokenClassification, "tokens": LlamaForCausalLM,
           "bert": BertForSequenceClassification}  # fmt: skip
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """saved(kind, labels, pad=True, chat=False): a folder with random weights that matter."""
    made: dict[object, Path] = {}

    def make(kind: str, labels: int = 2, pad: bool = True, chat: bool = False) -> Path:
        if (key := (kind, labels, pad, chat)) not in made:
            tokenizer: PreTrainedTokenizerFast = small_tokenizer()
            if pad:
                tokenizer.add_special_tokens({"pad_token": "<pad>"})
            if chat:
                tokenizer.chat_template = ("{% for m in messages %}{{ '=' + m['content'] + '\n' }}{% endfor %}"
                                           "{% if add_generation_prompt %}{{ '=' }}{% endif %}")
            torch.manual_seed(5)
            config = (BertConfig if kind == "bert" else LlamaConfig)(
                vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, num_labels=labels, **SHAPE)
            model = CLASSES[kind](config)
            with torch.no_grad():
                for parameter in model.parameters():
                    if parameter.ndim == 2:
                        parameter.mul_(8.0)
            made[key] = tmp_path_factory.mktemp("reward")
            model.save_pretrained(made[key])
            tokenizer.save_pretrained(made[key])
        return made[key]

    return make


@pytest.fixture
def wrapped() -> Iterator[Callable[..., RewardModel]]:
    made: list[RewardModel] = []

    def make(folder: Path, **options: object) -> RewardModel:
        inner = Scripted({(): evenly(*("1=1", "b"))}, max_thought_tokens=16)
        made.append(RewardModel(inner, str(folder), **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for policy in made:
        policy.close()


def states() -> list[State]:
    return [State(STATE.problem, line) for line in LINES]


def ids(text: str) -> list[int]:
    return list(small_tokenizer()(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.parametrize("kind", ["sequence", "token", "bert"])
def test_values_are_those_of_transformers_alone_and_in_a_batch(
    saved: Make, wrapped: Callable[..., RewardModel], kind: str, labels: int
) -> None:
    folder = saved(kind, labels)
    policy = wrapped(folder)  # the kind is read off the config
    loader = AutoModelForTokenClassification if kind == "token" else AutoModelForSequenceClassification
    model = loader.from_pretrained(folder).eval()
    expected = []
    for line in LINES:
        end = "\n" if kind == "token" else ""
        row = torch.tensor([[0, *ids("1+1\n" + "\n".join(line) + end)]])
        with torch.inference_mode():
            logits = model(input_ids=row).logits[0]
        logits = logits[-1] if kind == "token" else logits
        expected.append(float(logits.sigmoid()[0] if labels == 1 else logits.softmax(-1)[1]))
    assert policy.scores(states()) == pytest.approx(expected, abs=1e-5)
    assert [policy.scores([state])[0] for state in states()] == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.001


def test_good_and_bad_tokens_after_a_separator(saved: Make, wrapped: Callable[..., RewardModel]) -> None:
    folder = saved("tokens")
    policy = wrapped(folder, kind="tokens", good="+", bad="b", separator="a\n")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    expected = []
    for line in LINES:
        row = torch.tensor([[0, *ids("1+1\n" + "".join(f"{text}a\n" for text in line))]])
        with torch.inference_mode():
            chances = model(input_ids=row).logits[0, -1, [*ids("b"), *ids("+")]].softmax(-1)
        expected.append(float(chances[1]))
    assert policy.scores(states()) == pytest.approx(expected, abs=1e-5)
    assert [policy.scores([state])[0] for state in states()] == pytest.approx(expected, abs=1e-5)


def test_a_chat_template_is_used(saved: Make, wrapped: Callable[..., RewardModel]) -> None:
    for kind, told in (("sequence", "=1+1\n=12+2\na=b+12=2\n"), ("token", "=1+1\n=12+2\na=b+12=2\n")):
        assert wrapped(saved(kind, chat=True))._read(states()[1]) == ids(told)


def test_without_padding_a_batch_is_one(saved: Make, wrapped: Callable[..., RewardModel]) -> None:
    policy = wrapped(saved("sequence", 1, pad=False), batch=8)
    assert policy._batches._most == 1 and all(policy.scores([state])[0] is not None for state in states())


async def test_thoughts_carry_values_and_are_charged_nothing_for_them(
    saved: Make, wrapped: Callable[..., RewardModel]
) -> None:
    policy = wrapped(saved("sequence", 1))
    assert isinstance(policy, Policy) and policy.max_thought_tokens == 16
    for sampling in (Sampling.DISTINCT, Sampling.GREEDY):
        thoughts = await policy.propose(STATE, 2, sampling=sampling, seed=1, meter=Budget(tokens=99).start())
        for thought in thoughts:
            assert thought.value == pytest.approx(policy.scores([STATE.then(thought.text)])[0], abs=1e-5)
            assert thought.tokens == len(thought.text) + 1
    assert all(thought.value is None for thought in await wrapped(saved("sequence", 1), max_length=3).propose(
        STATE, 2, sampling=Sampling.DISTINCT, seed=1, meter=Budget(tokens=99).start()))


async def test_a_value_that_is_late_is_none_and_nothing_waits_for_it(
    saved: Make, wrapped: Callable[..., RewardModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, free = wrapped(saved("sequence", 1)), threading.Event()
    monkeypatch.setattr(policy._batches, "_work", lambda items: [0.5 for _ in items if free.wait(20)])
    begun = time.monotonic()
    [thought] = await policy.propose(STATE, 1, sampling=Sampling.GREEDY, seed=1, meter=Budget(seconds=0.2).start())
    free.set()
    assert thought.value is None and time.monotonic() - begun < 5


def test_versions(saved: Make, wrapped: Callable[..., RewardModel]) -> None:
    versions = {wrapped(saved("sequence", 1)).version, wrapped(saved("sequence", 2)).version,
                wrapped(saved("token")).version, wrapped(saved("token"), separator="=").version}  # fmt: skip
    assert len(versions) == 4 and all(version.startswith("scripted+reward-") for version in versions)
    assert wrapped(saved("sequence", 1)).version in versions


@pytest.mark.parametrize(("kind", "options", "said"), [
    ("tokens", {}, "LlamaForCausalLM, from which no kind follows"), ("token", {"kind": "prm"}, "allowed: auto"),
    ("tokens", {"kind": "tokens"}, "good and values.bad"), ("token", {"good": "+", "bad": "b"}, "good and values.bad"),
    ("tokens", {"kind": "tokens", "good": "++", "bad": "b"}, "2 tokens"), ("token", {"batch": 0}, "batch"),
    ("tokens", {"kind": "sequence"}, "score.weight is missing"), ("token", {"dtype": "floaty"}, "no dtype"),
])  # fmt: skip
def test_what_cannot_be_is_refused(saved: Make, kind: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(BadPolicy, match=said):
        RewardModel(Scripted({}), str(saved(kind)), **options)  # type: ignore[arg-type]


def test_three_labels_and_folders_that_are_not_there_are_refused(saved: Make, tmp_path: Path) -> None:
    with pytest.raises(BadPolicy, match="3 labels; allowed: 1 or 2"):
        RewardModel(Scripted({}), str(saved("sequence", 3)))
    with pytest.raises(BadPolicy, match="no reward model folder"):
        RewardModel(Scripted({}), str(tmp_path / "nowhere"))


def test_code_of_a_model_is_never_run(saved: Make, tmp_path: Path) -> None:
    for file in saved("token").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    auto = {"AutoConfig": "own.Own", "AutoModelForTokenClassification": "own.Own"}
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": auto}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    for kind in ("auto", "token"):
        with pytest.raises(BadPolicy):
            RewardModel(Scripted({}), str(tmp_path), kind=kind)
    assert not (tmp_path / "ran").exists()


async def test_what_waits_is_worked_on_together() -> None:
    sizes: list[int] = []

    def work(items: object) -> list[int]:
        sizes.append(len(items))  # type: ignore[arg-type]
        time.sleep(0.05)
        return [item * 2 for item in items]  # type: ignore[attr-defined]

    batches: Batches[int, int] = Batches(work, 4)
    assert await asyncio.gather(*(batches.ask(i) for i in range(12))) == [2 * i for i in range(12)]
    assert max(sizes) == 4 and sum(sizes) == 12
    sizes[:] = [4, 4, 4]
    gone = asyncio.ensure_future(batches.ask(0))
    while len(sizes) < 4:
        await asyncio.sleep(0.001)
    waiting = asyncio.ensure_future(batches.ask(1))
    await asyncio.sleep(0.001)
    waiting.cancel()
    await gone
    batches.close()
    assert sum(sizes) == 12 + 1  # nobody worked for the one who left
    with pytest.raises(PolicyStopped):
        await batches.ask(1)


async def test_what_fails_fails_for_who_asked_and_the_next_is_served() -> None:
    batches: Batches[int, int] = Batches(lambda items: [1 // item for item in items], 1)
    with pytest.raises(ZeroDivisionError):
        await batches.ask(0)
    assert await batches.ask(1) == 1
    batches.close()
