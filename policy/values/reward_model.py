"""A reward model of the Hugging Face hub, or of a folder, as the value of thoughts."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from policy import weights
from policy.base import BadPolicy, Policy
from policy.budget import Meter
from policy.values.batches import Batches
from policy.values.valued import Valued, count
from verifiers.base import State

LOADERS: dict[str, Any] = {
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "tokens": AutoModelForCausalLM,
}
_ENDINGS = {"ForSequenceClassification": "sequence", "ForTokenClassification": "token"}
_ALLOWED = "auto, sequence, token, tokens"


class RewardModel(Valued):
    """Thoughts are valued by a reward model, in a thread of its own, with whatever else waits in one batch.

    Three kinds:
        sequence: AutoModelForSequenceClassification reads problem and thoughts and gives one score: an outcome reward
            model (Cobbe et al. 2021), or one of preferences.
        token: AutoModelForTokenClassification scores each step where it ends, at its separator: a process reward model
            (Lightman et al. 2023; what TRL's PRMTrainer trains). The last step's score counts.
        tokens: a causal language model says a good or a bad token after each separator (Math-Shepherd, Wang et al.
            2024: separator ' \\u043a\\u0438', good '+', bad '-'). The value is P(good) of the two.
    With one label the value is the sigmoid of the score, with two the probability of the last. Preferences know no
    zero: their sigmoid ranks thoughts but is no probability of being correct.

    Where the tokenizer has a chat template the problem is the user's turn and the thoughts are the assistant's.
    Values cost no tokens of the policy and are charged none; they cost seconds. No code of the model's is ever
    run: models that bring their own (Qwen2.5-Math-PRM's head) are refused.

    Args:
        policy: proposes the thoughts.
        path: a folder or a name on the hub.
        kind: auto reads it off the config: sequence or token.
        separator: written after each thought; for token and tokens it must be what the model was trained with.
        good, bad: for tokens only; one token each.
        dtype, device, revision: see Transformer.
        batch: states in one forward pass at most; 1 where the tokenizer has no padding token and the kind is sequence.
        max_length: tokens of problem and thoughts at most; a longer state has no value.
        chains: see Valued.

    Raises: BadPolicy, with one line that says what is missing, corrupt or unsupported.
    """

    def __init__(
        self, policy: Policy, path: str, kind: str = "auto", separator: str = "\n", good: str | None = None,
        bad: str | None = None, dtype: str = "float32", device: str = "cpu", revision: str | None = None,
        batch: int = 16, max_length: int = 2048, chains: bool = True,
    ) -> None:  # fmt: skip
        count(batch=batch, max_length=max_length)
        weights.quiet()
        source = weights.locate(path, "reward model")
        folder = source if source.is_dir() else None
        name, local = path if folder is None else str(folder), folder is not None
        self._kind = _kind(name, local, revision) if kind == "auto" else kind
        if self._kind not in LOADERS:
            raise BadPolicy(f"there is no kind {kind!r} of reward models; allowed: {_ALLOWED}")
        if (self._kind == "tokens") != (good is not None and bad is not None):
            raise BadPolicy("values.good and values.bad must be given for kind=tokens, and for no other")
        self._model = weights.moved(weights.load_model(
            name, local, dtype, revision, loader=LOADERS[self._kind], attention=None, what="reward model",
        ), device)  # fmt: skip
        self._tokenizer = weights.load_tokenizer(name, local, revision)
        self._separator = separator
        self._marks = [self._one(str(bad)), self._one(str(good))] if self._kind == "tokens" else []
        if self._kind != "tokens" and self._model.config.num_labels not in (1, 2):
            raise BadPolicy(f"the reward model {path!r} has {self._model.config.num_labels} labels; allowed: 1 or 2")
        most = self._padding(batch)
        self._max_length = max_length
        commit = getattr(self._model.config, "_commit_hash", None)
        told = f"{self._kind}{separator!r}{good!r}{bad!r}{max_length}{dtype}"
        digest = hashlib.blake2b(told.encode(), digest_size=3).hexdigest()
        made = weights.Naming(folder, f"{path}@{commit}").base
        super().__init__(policy, f"reward-{made}-{digest}", 0, chains)
        self._threads = torch.get_num_threads()
        self._batches: Batches[State, float | None] = Batches(self.scores, most)

    async def value(self, state: State, seed: int, meter: Meter) -> tuple[float | None, int]:
        """See Valued."""
        left = meter.seconds_left
        try:
            async with asyncio.timeout(None if math.isinf(left) else max(left, 0.0)):
                return await self._batches.ask(state), 0
        except TimeoutError:
            return None, 0

    def close(self) -> None:
        """End the thread and what the policy keeps running."""
        self._batches.close()
        super().close()

    @torch.inference_mode()
    def scores(self, states: Sequence[State]) -> list[float | None]:
        """Values of states in one forward pass; None for what is too long."""
        torch.set_num_threads(self._threads)  # a setting of the thread, too
        rows = [self._read(state) for state in states]
        fitting = [i for i, row in enumerate(rows) if len(row) <= self._max_length]
        values: list[float | None] = [None] * len(rows)
        if fitting:
            scored = self._forward([rows[i] for i in fitting]).float().cpu()
            chances = scored.squeeze(-1).sigmoid() if scored.shape[-1] == 1 else scored.softmax(-1)[:, -1]
            for i, chance in zip(fitting, chances.tolist(), strict=True):
                values[i] = chance
        return values

    def _forward(self, rows: Sequence[list[int]]) -> Tensor:
        """Logits of each row, [n, labels]: those of bad and good for kind tokens."""
        longest, left = max(map(len, rows)), self._kind == "tokens"
        padded = [_padded(row, longest, self._pad, left) for row in rows]
        mask = torch.tensor([_padded([1] * len(row), longest, 0, left) for row in rows], device=self._model.device)
        ids = torch.tensor(padded, device=self._model.device)
        if self._kind == "sequence":
            logits: Tensor = self._model(input_ids=ids, attention_mask=mask).logits
            return logits
        if self._kind == "token":
            logits = self._model(input_ids=ids, attention_mask=mask).logits
            return logits[torch.arange(len(rows), device=logits.device), mask.sum(-1) - 1]
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = self._model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=1).logits
        return logits[:, -1, self._marks]

    def _read(self, state: State) -> list[int]:
        """The tokens of a state; those of steps end where the last one does, at its separator."""
        thoughts = [text for text in state.thoughts if text.strip()]
        chat = bool(getattr(self._tokenizer, "chat_template", None))
        asked = [{"role": "user", "content": state.problem.prompt}]
        if self._kind == "sequence":
            said = self._separator.join(thoughts)
            if not chat:
                return self._ids(f"{state.problem.prompt}\n{said}", True)
            told = self._tokenizer.apply_chat_template(
                [*asked, {"role": "assistant", "content": said}], tokenize=False)
            return self._ids(told, False)
        start = self._tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) if chat else ""
        head = self._ids(start, False) if chat else self._begin() + self._ids(f"{state.problem.prompt}\n", False)
        mark = self._ids(self._separator, False)
        return head + [token for text in thoughts for token in (*self._ids(text, False), *mark)]

    def _ids(self, text: str, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])

    def _begin(self) -> list[int]:
        begin = self._tokenizer.bos_token_id
        begin = self._tokenizer.cls_token_id if begin is None else begin
        return [] if begin is None else [begin]

    def _one(self, text: str) -> int:
        ids = self._ids(text, False)
        if len(ids) != 1:
            raise BadPolicy(f"{text!r} is {len(ids)} tokens of this reward model; good and bad must be one token each")
        return ids[0]

    def _padding(self, batch: int) -> int:
        """Sets what rows are filled up with; returns how many may be in a batch."""
        config, pad = self._model.config.get_text_config(), self._tokenizer.pad_token_id
        self._pad: int = pad if pad is not None else 0
        if self._kind != "sequence":
            return batch
        if config.pad_token_id is None:
            config.pad_token_id = pad
        elif pad is None or pad != config.pad_token_id:
            self._pad = config.pad_token_id  # by this one the model finds the end of a row
        return 1 if config.pad_token_id is None else batch


def _padded(row: list[int], length: int, filler: int, left: bool) -> list[int]:
    blank = [filler] * (length - len(row))
    return blank + row if left else row + blank


def _kind(name: str, local: bool, revision: str | None) -> str:
    """What the config says that the model is. Raises BadPolicy."""
    if not local:
        weights.reach_hub()
    try:
        config = AutoConfig.from_pretrained(
            name, local_files_only=local, revision=revision or "main", trust_remote_code=False)
    except Exception as error:
        raise BadPolicy(f"cannot read the config of the reward model {name!r}: {weights.line(error)}") from error
    for made in config.architectures or ():
        for ending, kind in _ENDINGS.items():
            if made.endswith(ending):
                return kind
    made = ", ".join(config.architectures or ()) or "nothing"
    raise BadPolicy(f"the reward model {name!r} says it is {made[:80]}, from which no kind follows; allowed: "
                    "kind=sequence, token or tokens, where the weights fit")
