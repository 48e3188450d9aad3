"""What a text commits itself to last, and that hedging is no answer."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifiers.answer_extraction import Extraction, extract_answer, hedges


@pytest.mark.parametrize(("text", "answer"), [
    (r"so it is \boxed{42}.", "42"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\boxed{\left\{1,2\right\}}", r"\left\{1,2\right\}"),
    (r"\boxed{41} ... no, \boxed{42}", "42"),
    (r"\boxed{41}. Wait, that is wrong. The answer is 42.", "42"),
    ("The answer is 41. #### 42", "41"),
    ("The answer is 41.\n#### 42", "42"),
    ("#### 1,234\n", "1,234"),
    (r"\boxed{3} and then \boxed{4", "3"),
    (r"The final answer is $\boxed{\frac12}$. I hope it is correct.", r"\frac12"),
    (r"$$\boxed{5}$$ So the answer is what we sought.", "5"),
    (r"\boxed{2} and \boxed{3}", "2, 3"),
    (r"\boxed{2}, \boxed{2}", "2"),
    (r"\boxed{2}. Later, in another part: \boxed{3}", "3"),
    (r"\boxed{15\frac{39}{40}}, or $\boxed{\frac{639}{40}}$ inches", r"\frac{639}{40}"),
    (r"Thus the final answer is $11,\! 111$.", r"11,\! 111"),
    (r"\boxed{x=2 \text{ or } x=3}", r"x=2 \text{ or } x=3"),
    (r"\boxed{\text{even}}", r"\text{even}"),
    ("The answer is: (B).", "(B)"),
    ("**Final Answer:** 3/4", "3/4"),
    ("Answer: **42**", "42"),
    ("final answer: $\\frac12$", r"\frac12"),
    ("The answer is 3.14.", "3.14"),
    ("The answer is 42 dollars.", "42 dollars"),
    ("The answer is $18.", "$18"),
    ("The answer is 5 because 2+3=5.", "5"),
    ("The answer is 42, not 41.", "42"),
    ("The answers are 3 and 5.", "3 and 5"),
    ("So the answer is x = 5.", "x = 5"),
    ("Answer: yes", "yes"),
])
def test_the_last_committed_answer_counts(text: str, answer: str) -> None:
    assert extract_answer(text) == Extraction(answer)


@pytest.mark.parametrize(("text", "reason"), [
    ("", "absent"), ("no idea", "absent"), (r"\boxed{4", "absent"), ("The answer is not 42.", "absent"),
    ("What is the answer?", "absent"), (r"\boxed{}", "empty"), ("####", "empty"), ("\ud800\x00\xff", "absent"),
    (r"\boxed{5} or 6", "hedged"), (r"Either \boxed{5} or else \boxed{6}", "hedged"),
    (r"\boxed{5}/\boxed{6}", "hedged"),
    (r"\boxed{5}, alternatively \boxed{6}", "hedged"), (r"\boxed{5} (or \boxed{6})", "hedged"),
    ("\\boxed{5}\n\nor\n\n\\boxed{6}", "hedged"), (r"The answer is not \boxed{5}.", "hedged"),
    (r"\boxed{5}\text{ or }6", "hedged"),
    ("The answer is 4 or 5.", "hedged"), ("#### 4 or 5", "hedged"), (r"\boxed{4 \text{ or } 5}", "hedged"),
    (r"Either \boxed{41} or perhaps \boxed{42}", "hedged"), (r"\boxed{41} or maybe \boxed{42}", "hedged"),
    (r"\boxed{41} \text{ or } \boxed{42}", "hedged"), (r"\boxed{41} or $\boxed{42}$", "hedged"),
    (r"\boxed{x=1=2=3=42}", "hedged"), ("The answer is probably 42.", "hedged"), ("answer is $5 or $6", "hedged"),
    ("The answer is either 4 or 5.", "hedged"), (r"\boxed{\text{even or odd}}", "hedged"),
])
def test_no_answer_says_why(text: str, reason: str) -> None:
    assert extract_answer(text) == Extraction(None, reason)


@pytest.mark.parametrize("answer", ["x = 2+3 = 5", "x=6/2=3", r"x<1 \text{ or } x>2", "for", r"\text{north}", "1,2"])
def test_what_is_one_answer_does_not_hedge(answer: str) -> None:
    assert not hedges(answer)


@pytest.mark.parametrize("text", [
    r"\boxed{" * 1_400_000, "{" * 10_000_000, "}" * 10_000_000, "the answer is " * 700_000, "#### \n" * 1_600_000,
    r"\boxed{1} or " * 700_000, "answer: " + "(" * 9_000_000, "\\" * 9_999_999, "$" * 10_000_000,
], ids=["boxes", "open", "closed", "sentences", "hashes", "hedges", "brackets", "backslashes", "dollars"])
def test_ten_megabytes_take_a_moment(text: str) -> None:
    started = time.process_time()
    extract_answer(text)
    assert time.process_time() - started < 4


@given(st.text(), st.text(alphabet="\\boxed{}#answer is:$0123 or", max_size=80))
def test_any_text_has_an_answer_or_a_reason(noise: str, near: str) -> None:
    for text in (noise, near, noise + near):
        extraction = extract_answer(text)
        assert (extraction.answer is None) == (extraction.reason in ("absent", "empty", "hedged"))


@given(st.text(alphabet="abc {}\\$,0123456789", max_size=60), st.integers(0, 10**6))
def test_a_closed_box_at_the_end_is_found(before: str, number: int) -> None:
    """Whatever stands before it, unless that joins it to another box, which this alphabet cannot make."""
    assert extract_answer(f"{before}\n\nThus \\boxed{{{number}}}").answer == str(number) or before.endswith("\\")


@pytest.mark.parametrize("text", [r"so \boxed{\frac12} or 0.5.", r"\boxed{\frac12} or equivalently 0.5"])
def test_the_same_in_other_words_after_a_box_is_one_answer(text: str) -> None:
    assert extract_answer(text) == Extraction(r"\frac12")


@pytest.mark.parametrize("after", ["\n\nOr we could have tried all numbers.", " " * 900_000 + "or 6", "\\" * 900_000])
def test_what_stands_far_from_a_box_is_no_other_answer_and_takes_no_time(after: str) -> None:
    began = time.monotonic()
    assert extract_answer(rf"\boxed{{5}}{after}") == Extraction("5")
    assert time.monotonic() - began < 5
