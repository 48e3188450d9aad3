from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.charset import SPECIAL, character_tokenizer
from policy.codec import Codec
from tests.commands.conftest import ROOT

TOKENIZER = character_tokenizer()
CODEC = Codec(TOKENIZER, len(TOKENIZER))
PIECES = st.one_of(st.text("0123456789+-*/()= \nabcx<>s", max_size=8), st.sampled_from(SPECIAL), st.text(max_size=3))


@given(st.lists(PIECES, max_size=6))
def test_a_text_is_what_the_tokenizer_makes_of_it(pieces: list[str]) -> None:
    """With names of special tokens, and letters it does not know."""
    text = "".join(pieces)
    expected: list[int] = TOKENIZER(text)["input_ids"]
    if len(expected) > 1 and expected[-1] == TOKENIZER.eos_token_id:
        del expected[-1]
    assert CODEC.encode(text) == tuple(expected)


def test_what_is_decoded_is_encoded_alike() -> None:
    text = "24 = 4 * (7 - 1)\n"
    assert CODEC.decode(CODEC.encode(text)) + "\n" == text


@pytest.mark.parametrize(("text", "end", "told"), [
    ("24 = 4 * (7 - 1)", "\n", True), ("24 = 4", "<eos>", True), ("", "\n", True),
    ("24 = 4", "<bos>", False), ("a<eos>b", "\n", False),
])  # fmt: skip
def test_characters_are_kept_only_where_their_text_is_read_as_others(text: str, end: str, told: bool) -> None:
    codec = Codec(TOKENIZER, len(TOKENIZER), ends=[TOKENIZER.bos_token_id])  # one that no state is closed with
    thought = TOKENIZER.convert_tokens_to_ids([*text, end])
    assert TOKENIZER.unk_token_id not in thought and codec.decode(thought) == text
    assert codec.drawn(thought, text) == (() if told else tuple(thought))
    assert (codec.encode(text)[1:] == tuple(thought[:-1])) == ("<" not in text)


@pytest.mark.heavy
def test_a_tokenizer_that_takes_a_text_for_a_word_keeps_none() -> None:
    program = (
        "import random\n"
        "from pathlib import Path\n"
        "from policy.layout import Layout\n"
        "from policy.weights import load_tokenizer\n"
        "layout, draw = Layout(load_tokenizer('policy/shipped', True)), random.Random(1)\n"
        "def held(): return int(Path('/proc/self/statm').read_text().split()[1]) * 4096\n"
        "def some(): return [layout.encoded(''.join(draw.choices('0123456789', k=200))) for _ in range(3000)]\n"
        "some()\n"
        "before = held()\n"
        "some()\n"
        "print(held() - before)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert int(told) < 4 << 20
