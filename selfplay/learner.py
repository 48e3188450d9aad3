"""The learner: from what self-play has found to a better policy, an adapter with its value head.

One loop for every objective. It is resumable at any step: batches depend on (seed, step) alone, and a checkpoint holds
all other state.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from policy.base import BadPolicy
from policy.files import write_atomically
from policy.layout import Writing
from policy.pretrain import Schedule, native_bf16
from selfplay.batches import LessonEncoder, Row, Stream, collate
from selfplay.lessons import Lesson
from selfplay.losses import Batch, divergence, entropy, logprobs, terms
from selfplay.objectives import Objective
from selfplay.processes import Processes
from selfplay.replay import Gathered
from selfplay.trainee import Trainee
from selfplay.training import Learned, Look, Step, Training
from verifiers.base import derive_seed

CHECKPOINT = "learner.pt"
ROWS_AT_ONCE = 64
# A stored log-probability [nats a thought] and the one computed again differ by rounding, unless another policy drew
# the thought, or its text has other tokens than it was drawn in, and those are not known.
TOLERANCE = 0.25


class Diverged(ValueError):
    """A training whose loss, gradient or weights are not finite, in one line. Nothing is written of it."""


class Collapsed(ValueError):
    """A policy whose entropy is below the floor before any training, in one line. Nothing is written of it."""


@dataclass
class Progress:
    """What a checkpoint says of the training so far."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    stopped: bool = False
    curve: list[Step] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)


class Learner:
    """Trains a policy on what self-play has found.

    Args:
        base: folder of the base model.
        objective: see Objective.
        training: see Training.
        device: where to train, unless several processes train together (selfplay/processes.py).
        writing: how problems and thoughts are written for the policy.
    """

    def __init__(
        self, base: Path, objective: Objective, training: Training, device: torch.device, writing: Writing | None = None
    ) -> None:
        self.writing = Writing() if writing is None else writing
        self.base, self.objective, self.training = base, objective, training
        self.processes = Processes(device)
        self.device = self.processes.device
        self.bf16 = native_bf16(self.device) if training.bf16 is None else training.bf16

    def learn(
        self, gathered: Gathered, out: Path, work: Path, *, champion: Path | None, seed: int, about: Mapping[str, Any],
        on_step: Callable[[Step], None] = lambda step: None, on_look: Callable[[Look], None] = lambda look: None,
    ) -> Learned:
        """Train, from wherever the checkpoint in `work` left off, and write the result.

        Args:
            gathered: what to learn from.
            out: folder to write (see Trainee.save); whole or not there.
            work: folder of the checkpoint. It is left there: done again, a training that was done is done at once.
            champion: folder of the policy that played; None for the base.
            seed: of new weights and of the order of batches.
            about: what `engine.json` says beside the objective and the steps.
            on_step, on_look: are told of each; what they raise ends the training, which can be resumed.

        Raises: BadPolicy (a folder that cannot be read, a checkpoint of another training, trajectories of another
            policy), Diverged, Collapsed, ValueError if there is nothing to learn from, OSError.
        """
        trainee = self._trainee(None if self.training.restart else champion, seed)
        encoder = LessonEncoder(trainee.tokenizer, trainee.context, self.writing.on(trainee.tokenizer, trainee.ends))
        stream = Stream(gathered.lessons, gathered.demonstrations, encoder, share=gathered.share,
                        batch_tokens=self.training.batch_tokens, seed=gathered.seed)
        unlike = 0.0
        if self.objective.on_policy:
            moved = self.training.restart and champion is not None
            unlike = self._remember(stream, self._trainee(champion, seed) if moved else trainee, encoder.pad)
        run = _Run(self, trainee, stream, _monitored(gathered.monitored, encoder), work / CHECKPOINT, seed)
        run.resume()
        run.to_the_end(on_step, on_look)
        progress = run.progress
        if self.processes.first:
            said = {**about, "objective": self.objective.name, "adapter": self.training.adapter, "steps": progress.step}
            trainee.save(out, said)
        self.processes.wait()
        return Learned(out, progress.step, run.steps, progress.tokens, progress.seconds, tuple(progress.curve),
                       tuple(progress.looks), unlike, stream.left_out, gathered.played)

    def _trainee(self, start: Path | None, seed: int) -> Trainee:
        how = self.training
        return Trainee(
            self.base, start, how.lora if how.adapter == "lora" else None, seed=seed, device=self.device,
            hold_start=how.anchor > 0 and how.anchor_to == "start", checkpointing=how.checkpointing,
            dtype=getattr(torch, how.dtype) if how.adapter == "lora" else torch.float32,
        )  # fmt: skip

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    @torch.no_grad()
    def _remember(self, stream: Stream, behaviour: Trainee, pad: int) -> float:
        """Note each token's log-probability under the policy that played, before it changes.

        Returns the share of thoughts that do not have the log-probability they were stored with: they do not count.
        """
        rows = sorted((row for rows in stream.rows for row in rows if row.logprobs), key=lambda row: len(row.tokens))
        unlike = total = 0
        behaviour.train(False)
        for some in _chunks(rows):
            tokens = collate([(row,) for row in some], pad).tokens.to(self.device)
            with self.autocast():
                found = logprobs(behaviour.read(tokens).logits, tokens).cpu().numpy()
            for row, old in zip(some, found, strict=False):  # a batch is filled up with empty rows
                row.old = old[: len(row.tokens)]
                for thought, stored in zip(row.thoughts(), row.logprobs, strict=True):
                    if stored is None:
                        continue
                    total += 1
                    if abs(float(row.old[thought].sum()) - stored) > TOLERANCE + 0.02 * abs(stored):
                        unlike += 1
                        row.advantages[thought] = 0.0
        if unlike > total / 2:
            raise BadPolicy(f"{unlike} of {total} thoughts do not have the probability that was stored with them: "
                            "another policy drew them")
        return unlike / max(1, total)


class _Run:
    """One training."""

    def __init__(self, learner: Learner, trainee: Trainee, stream: Stream, monitored: Sequence[Batch],
                 checkpoint: Path, seed: int) -> None:
        how = learner.training
        self.how, self.learner, self.trainee, self.stream = how, learner, trainee, stream
        self.monitored, self.checkpoint, self.seed = monitored, checkpoint, seed
        self.steps = min(how.max_steps, math.ceil(how.epochs * stream.per_epoch))
        self.schedule = Schedule(self.steps, warmup=min(how.warmup, self.steps))
        self.progress = Progress()
        self.kept: dict[str, dict[str, Tensor]] | None = None  # of the last look, where there is a floor
        self.trained = [*trainee.parameters().values(), *trainee.head.parameters()]
        self.optimisers = self._new_optimisers()
        self.fingerprint = self._fingerprint()

    def _new_optimisers(self) -> list[tuple[torch.optim.Optimizer, float]]:
        """Optimisers with their peak learning rates."""
        how = self.how
        named = self.trainee.parameters()
        matrices = {name for name, parameter in named.items() if how.optimiser == "muon" and parameter.ndim == 2
                    and not any(part in name for part in ("embed", "lm_head"))}
        others = [parameter for name, parameter in named.items() if name not in matrices]

        def adam(parameters: Iterable[nn.Parameter], lr: float, decay: float) -> tuple[torch.optim.Optimizer, float]:
            return torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.95), weight_decay=decay), lr

        optimisers = [adam(self.trainee.head.parameters(), how.head_lr, 0.0)]
        if others:
            optimisers.append(adam(others, how.lr, how.weight_decay))
        if matrices:
            optimisers.append((torch.optim.Muon([named[name] for name in sorted(matrices)], lr=how.lr,
                                                weight_decay=how.weight_decay, adjust_lr_fn="match_rms_adamw"), how.lr))
        return optimisers

    def _fingerprint(self) -> str:
        """Of all that decides what comes out: a checkpoint of something else is not gone on from."""
        digest = hashlib.blake2b(repr((self.how, self.learner.objective, self.learner.bf16, self.seed)).encode())
        for rows in self.stream.rows:
            for row in rows:
                for array in (row.imitation, row.advantages, row.targets, row.trust):
                    digest.update(array.tobytes())
                digest.update(repr(row.tokens).encode())
        for tensor in self.trained:
            digest.update(tensor.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:32]

    def to_the_end(self, on_step: Callable[[Step], None], on_look: Callable[[Look], None]) -> None:
        progress, how = self.progress, self.how
        if progress.step == 0 and not progress.stopped:
            self._look(on_look)
        while progress.step < self.steps and not progress.stopped:
            began = time.monotonic()
            batch = self.stream(progress.step)
            objective, imitation, value, anchor = self._step(batch, progress.step)
            progress.step += 1
            tokens = int((batch.tokens != self.stream.pad).sum())
            progress.tokens += tokens
            seconds = time.monotonic() - began
            progress.seconds += seconds
            progress.curve.append(Step(progress.step, objective, imitation, value, anchor, tokens, seconds))
            last = progress.step == self.steps
            if progress.step % how.monitor_every == 0 or last:
                self._look(on_look)
            if progress.step % how.checkpoint_every == 0 or last or progress.stopped:
                self.save()
            on_step(progress.curve[-1])

    def _step(self, batch: Batch, step: int) -> list[float]:
        """One optimisation step; returns the terms of its loss."""
        share = self.schedule(step)
        for optimiser, peak in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = peak * share
        self.trainee.train(True)
        processes, how = self.learner.processes, self.how
        sums = torch.zeros(4)
        devices = [self.learner.device] if self.learner.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(derive_seed(self.seed, "dropout", step, processes.rank))
            for number in range(how.accumulate):
                part = batch.part(processes.rank * how.accumulate + number, processes.count * how.accumulate)
                if part is not None:
                    sums += self._backward(part.each(lambda tensor: tensor.to(self.learner.device)))
        processes.add_gradients(self.trained)
        losses = [float(value) for value in processes.add(sums)]  # the same for all: they end together if they must
        _finite("the loss is", sum(losses), step + 1)
        # One gradient that is not finite would make every weight so, since all are clipped by the one norm.
        _finite("the gradient is", float(nn.utils.clip_grad_norm_(self.trained, how.clip)), step + 1)
        for optimiser, _ in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        _finite("the weights are", float(nn.utils.get_total_norm(self.trained)), step + 1)
        return losses

    def _backward(self, batch: Batch) -> Tensor:
        """Add the gradients of a part of a batch; returns the terms of its loss, [4]."""
        how, trainee, objective = self.how, self.trainee, self.learner.objective
        with self.learner.autocast():
            base = trainee.refer(batch.tokens) if objective.contrasts else None
            anchor = None
            if how.anchor:
                shared = base is not None and how.anchor_to == "base"
                anchor = base if shared else trainee.refer(batch.tokens, how.anchor_to)
            found = terms(trainee.read(batch.tokens), trainee.head, batch, objective.loss, base, anchor,
                          shared=not objective.on_policy)
        loss = found.objective + found.imitation + how.value_weight * found.value + how.anchor * found.anchor
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.stack([term.detach().float().cpu() for term in found])

    def _look(self, on_look: Callable[[Look], None]) -> None:
        """Look at the policy on the held-out lines. If its entropy has fallen below the floor, go back to the last look
        and end there."""
        if not self.monitored:
            return
        looks, floor = self.progress.looks, self.how.entropy_floor
        look = self._seen()
        on_look(look)
        if not look.entropy < floor * look.base_entropy:
            looks.append(look)
            self.kept = _copied(self.trainee.state()) if floor else None
            return
        if self.kept is None:
            raise Collapsed(f"the policy's entropy is {look.entropy / look.base_entropy:.2f} of the base's, below "
                            f"entropy_floor={floor:g}: train with restart=true, or with a lower floor (0: none)")
        self.trainee.load(self.kept)
        # The last look is of the policy that is kept, whatever was seen on the way.
        looks += [look, looks[-1]]
        self.progress.stopped, self.progress.step = True, looks[-1].step

    @torch.no_grad()
    def _seen(self) -> Look:
        """What the policy is now; each process reads its share of the lines, and all see the same."""
        self.trainee.train(False)
        processes, sums = self.learner.processes, torch.zeros(5)
        for batch in self.monitored[processes.rank :: processes.count]:
            tokens = batch.tokens.to(self.learner.device)
            with self.learner.autocast():
                base, ours = self.trainee.refer(tokens), self.trainee.read(tokens).logits
            told = (entropy(ours), entropy(base), divergence(ours, base), -logprobs(ours, tokens))
            chosen = batch.thoughts.to(self.learner.device) > 0
            sums += torch.stack([*(each[chosen].sum() for each in told), chosen.sum()]).cpu()
        sums = processes.add(sums)
        return Look(self.progress.step, *(sums[:4] / sums[4]).tolist())

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        progress = {**vars(self.progress), "curve": [astuple(step) for step in self.progress.curve],
                    "looks": [astuple(look) for look in self.progress.looks]}
        state = {"fingerprint": self.fingerprint, "progress": progress, "trainee": self.trainee.state(),
                 "kept": self.kept, "optimisers": [optimiser.state_dict() for optimiser, _ in self.optimisers]}
        if self.learner.processes.first:
            write_atomically(self.checkpoint, lambda file: torch.save(state, file))
        self.learner.processes.wait()

    def resume(self) -> None:
        """Go on from the checkpoint if there is one."""
        if not self.checkpoint.exists():
            return
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location=self.learner.device, weights_only=True)
        except Exception as error:  # whatever a broken file makes of the unpickler
            raise BadPolicy(f"cannot read the checkpoint {self.checkpoint}: {type(error).__name__}; "
                            "remove it to train anew") from error
        if state["fingerprint"] != self.fingerprint:
            raise BadPolicy(f"the checkpoint {self.checkpoint} is of another training (other settings, policy or "
                            "trajectories); remove it to train anew")
        self.trainee.load(state["trainee"])
        self.kept = state.get("kept")
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        told = state["progress"]
        told["curve"] = [Step(*step) for step in told["curve"]]
        told["looks"] = [Look(*look) for look in told["looks"]]
        self.progress = Progress(**told)


def _copied(state: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    return {part: {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}
            for part, tensors in state.items()}


def _finite(what: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise Diverged(f"{what} {value} at step {step}; try a smaller lr")


def _monitored(lessons: Sequence[Lesson], encoder: LessonEncoder) -> list[Batch]:
    rows = sorted((row for lesson in lessons for [row] in encoder.rows(lesson)), key=lambda row: len(row.tokens))
    return [collate([(row,) for row in some], encoder.pad) for some in _chunks(rows)]


def _chunks(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    return (rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE))
