"""llama.cpp by its low-level interface, on one thread of a CPU."""

from __future__ import annotations

import ctypes
import time
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray
from transformers import AutoTokenizer

from benchmarks.decode.arms import ends
from benchmarks.decode.engines.gguf_file import write_gguf
from benchmarks.decode.work import Done, Work, as_text

MOST = 256  # LLAMA_MAX_SEQ: sequences of one context
CACHES = {"float32": 0, "bfloat16": 1, "float16": 1}  # ggml_type; its usual float16 where matrices are narrow
PAGE = 256  # llama.cpp rounds the room of a sequence up to so many tokens

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]

_silent = llama_cpp.llama_log_callback(lambda *_: None)
llama_cpp.llama_log_set(_silent, ctypes.c_void_p())
llama_cpp.llama_backend_init()


class LlamaCpp:
    """Many sequences in one batch. As in Tree, the leaves have been read before, the prompt once for all of them.

    Each sequence has keys and values of its own (`kv_unified` off) and attention is not "flash": on a CPU the fastest
    of the four ways by far, though the prompt is then copied for every sequence. The first sequences are the live ones:
    one that ends is overwritten by a waiting leaf or else by the last live one, for llama.cpp computes neighbours
    together and others one by one.

    Args:
        folder: of the model; its GGUF file is written there.
        dtype: of the matrices.
    """

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        file = write_gguf(folder, folder / f"{dtype}.gguf", dtype)
        self._model = Model(file)
        self._dtype = dtype
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._ends = np.array(ends(self._tokenizer, 1).eos_token_id)
        self._sequences: Sequences | None = None

    def run(self, work: Work, seed: int) -> Done:
        """See Arm."""
        rng = np.random.default_rng(seed)
        lines = [self._tokenizer(as_text(leaf))["input_ids"] for leaf in work.leaves]
        known = self.read(lines, work.longest)
        started = time.perf_counter()
        tokens = self._draw(work, known, np.array([len(line) for line in lines]), rng)
        return Done(tokens, len(lines), time.perf_counter() - started)

    def read(self, lines: Sequence[Sequence[int]], longest: int) -> Floats:
        """Read lines, what they share once; the logits of what follows each, [lines, vocabulary]."""
        room = -(-(max(map(len, lines)) + longest) // PAGE) * PAGE
        if self._sequences is None or self._sequences.shape != (len(lines), room):
            self._sequences = None  # frees its memory first
            self._sequences = Sequences(self._model, len(lines), room, CACHES[self._dtype])
        sequences = self._sequences
        sequences.clear()
        shortest = min(map(len, lines)) - 1
        heads = np.array([line[:shortest] for line in lines])
        shared = int((heads == heads[0]).all(0).cumprod().sum())
        sequences.decode(np.array(lines[0][:shared]), np.arange(shared), np.zeros(shared), last=True)
        for number in range(1, len(lines)):
            sequences.copy(0, number)
        rows = []
        for number, line in enumerate(lines):
            rest = np.arange(shared, len(line))
            rows.append(sequences.decode(np.array(line)[rest], rest, np.full(len(rest), number), last=True).copy())
        return np.concatenate(rows)

    def _draw(self, work: Work, known: Floats, lengths: NDArray[np.int64], rng: np.random.Generator) -> int:
        """Tokens drawn. The first one of a thought follows from what is known of its leaf: no pass of the model."""
        assert self._sequences is not None
        firsts = draw(known, rng)
        over = np.isin(firsts, self._ends) | (work.longest == 1)
        total, live = len(firsts), min(work.live, len(firsts))
        waiting = deque(int(leaf) for leaf in range(live, len(firsts)) if not over[leaf])
        # Of each row its last token, where the next one is, and how many were drawn.
        rows = np.stack([firsts, lengths, np.ones_like(firsts)])
        over = over[:live]
        while True:
            for row in np.flatnonzero(over)[::-1]:  # from the back: the last row is live
                if not waiting:
                    live -= 1
                source = waiting.popleft() if waiting else live
                if source != row:
                    rows[:, row] = rows[:, source]
                    self._sequences.copy(source, int(row))
            if not live:
                return total
            mine = rows[:, :live]
            mine[0] = draw(self._sequences.decode(mine[0], mine[1], np.arange(live)), rng)
            mine[1:] += 1
            total += live
            over = np.isin(mine[0], self._ends) | (mine[2] >= work.longest)


class Model:
    """Is freed after all that hold it."""

    def __init__(self, file: Path) -> None:
        self.it = llama_cpp.llama_model_load_from_file(str(file).encode(), llama_cpp.llama_model_default_params())
        weakref.finalize(self, llama_cpp.llama_model_free, self.it)


class Sequences:
    """Keys and values of some sequences. Tokens come in, logits go out.

    Args:
        count: of sequences.
        room: of each, in tokens.
        cache: ggml_type of keys and values.
    """

    def __init__(self, model: Model, count: int, room: int, cache: int) -> None:
        if count > MOST:
            raise ValueError(f"llama.cpp holds at most {MOST} sequences, not {count}")
        self.shape, self._model = (count, room), model
        size = max(count, room)
        options = llama_cpp.llama_context_default_params()
        options.n_seq_max, options.n_ctx, options.n_batch, options.n_ubatch = count, count * room, size, size
        options.kv_unified, options.flash_attn_type = False, llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        options.type_k = options.type_v = cache
        options.n_threads = options.n_threads_batch = 1
        self._context = llama_cpp.llama_init_from_model(model.it, options)
        weakref.finalize(self, llama_cpp.llama_free, self._context)
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model.it))
        # The batch reads from these arrays.
        self._tokens, self._places, self._of, self._ones = (np.ones(size, np.int32) for _ in range(4))
        self._wanted = np.ones(size, np.int8)
        ints, starts = ctypes.POINTER(ctypes.c_int32), self._of.ctypes.data + 4 * np.arange(size)
        self._each = (ints * size)(*(ctypes.cast(int(start), ints) for start in starts))
        self._batch = llama_cpp.llama_batch(
            token=self._tokens.ctypes.data_as(ints), pos=self._places.ctypes.data_as(ints), seq_id=self._each,
            n_seq_id=self._ones.ctypes.data_as(ints),
            logits=self._wanted.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def decode(self, tokens: NDArray[Any], places: NDArray[Any], of: NDArray[Any], last: bool = False) -> Floats:
        """Logits after each token, or after the last one alone, [tokens, vocabulary]; valid until the next call."""
        count = self._batch.n_tokens = len(tokens)
        self._tokens[:count], self._places[:count], self._of[:count] = tokens, places, of
        self._wanted[:count] = not last
        self._wanted[count - 1] = 1
        if llama_cpp.llama_decode(self._context, self._batch):
            raise RuntimeError("llama.cpp could not decode")
        shape = 1 if last else count, self._vocabulary
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), shape)

    def copy(self, source: int, target: int) -> None:
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def clear(self) -> None:
        llama_cpp.llama_memory_clear(self._memory, False)


def draw(logits: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """A token of each row at temperature 1: the largest after Gumbel noise. Not quite 0, whose logarithm is none."""
    noise = rng.standard_exponential(logits.shape, dtype=np.float32) + np.float32(1e-9)
    drawn: NDArray[np.int64] = (logits - np.log(noise)).argmax(1)
    return drawn
