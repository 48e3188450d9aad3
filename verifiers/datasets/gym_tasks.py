"""The tasks of reasoning-gym 0.1.25, by how their answers can be checked; all scorers of that version were read.

Most scorers give part of a reward for containing the answer, for being near it, or for its first letters; some run it.
Where a task has one answer, it is compared here and the package's scorer is not asked.
"""

from __future__ import annotations

TEXT = frozenset([
    "ab", "acre", "advanced_geometry", "aiw", "arc_1d", "arc_agi", "base_conversion", "basic_arithmetic", "bf",
    "binary_alternation", "binary_matrix", "bitwise_arithmetic", "caesar_cipher", "calendar_arithmetic",
    "circuit_logic", "codeio", "color_cube_rotation", "count_bits", "count_primes", "course_schedule", "dice",
    "emoji_mystery", "family_relationships", "figlet_font", "futoshiki", "game_of_life", "game_of_life_halting",
    "gcd", "isomorphic_strings", "largest_island", "lcm", "leg_counting", "letter_counting", "letter_jumble",
    "list_functions", "mahjong_puzzle", "manipulate_matrix", "maze", "mini_sudoku", "modulo_grid", "needle_haystack",
    "number_filtering", "number_sequence", "number_sorting", "path_star", "pool_matrix", "prime_factorization",
    "ransom_note", "rearc", "rectangle_count", "rotate_matrix", "rotten_oranges", "self_reference",
    "sentence_reordering", "simple_equations", "simple_geometry", "spell_backward", "spiral_matrix",
    "string_insertion", "string_manipulation", "string_splitting", "string_synthesis", "sudoku", "survo", "syllogism",
    "time_intervals", "tsumego", "word_sequence_reversal", "word_sorting", "zebra_puzzles",
])
"""One answer, and one way to write it: compared as texts, up to blanks at the ends of lines."""

NUMBERS: dict[str, int | None] = {
    "chain_sum": None, "complex_arithmetic": None, "decimal_arithmetic": None, "decimal_chain_sum": None,
    "gsm_symbolic": None, "polynomial_multiplication": None, "products": None,
    "coin_flip": 10,  # a probability that is written in ten digits
    "number_format": 11,  # options that differ in their first nine digits, written with the errors of binary floats
    "power_function": 3,  # as the question asks
}
"""One answer, and many ways to write it: compared as mathematics, to so many significant digits (None: exactly)."""

_MOVE = r'"(?:fill [A-Z]|empty [A-Z]|pour [A-Z]->[A-Z])"'
_JUMP = r'"[wB],[A-Z][0-9],[A-Z][0-9]"'
_STEP = "(?:up|down|left|right)"
_TURN = "(?:[LRDUBF]w?|[XYZMES])'?2?"  # all that the scorer turns: it drops what it does not know
_RING = "Move disk [0-9]+ from Peg [0-9]+ to Peg [0-9]+"
_PERSON = "[A-Z][a-z]+ is an? [a-z]+"
_WHOLE = "(?:0|[1-9][0-9]*)"
_FRACTION = rf"{_WHOLE}/{_WHOLE}|\\d?frac\{{{_WHOLE}\}}\{{{_WHOLE}\}}"
_WORDS = r"\[[^\[\]]*\]"

SCORED: dict[str, str] = {
    "cryptarithm": r"[A-Z]=[0-9](?:, ?[A-Z]=[0-9])*",
    "fraction_simplification": rf"{_FRACTION}|\$(?:{_FRACTION})\$",
    "graph_color": r"\{[^\[\]{}]*\}",
    "group_anagrams": rf"\[{_WORDS}(?:,\s*{_WORDS})*\]",
    "jugs": rf"\[{_MOVE}(?:, ?{_MOVE})*\]",
    "kakurasu": r"[01](?: [01])*(?:\n[01](?: [01])*)*",
    "knight_swap": rf"No|\[{_JUMP}(?:, ?{_JUMP})*\]",
    "knights_knaves": rf"{_PERSON}(?:, (?:and )?{_PERSON}|,? and {_PERSON})*\.?",
    "palindrome_generation": "[a-z]+",
    "palindrome_partitioning": rf"\[{_WORDS}(?:,\s*{_WORDS})*\]",
    "quantum_lock": "[ABC](?: \u2192 [ABC])*",
    "rubiks_cube": f"{_TURN}(?: {_TURN})*",
    "shortest_path": f"infeasible|{_STEP}(?: {_STEP})*",
    "sokoban": "[UDLR]+",
    "tower_of_hanoi": rf"{_RING}(?:\n{_RING})*",
    "word_ladder": "[A-Z]+(?:, ?[A-Z]+)+",
}
"""Many answers: the package's scorer tells, of a text that has wholly this form. (Alone, it reads past nonsense.)
What a pattern cannot tell, that nothing is said twice or of what is not in the question, gym_canonical asks."""

EXPRESSIONS = frozenset({"countdown", "puzzle24"})
"""Any expression that uses each number once and reaches the target: checked as domain=countdown does."""

LISTED = frozenset({"n_queens"})
"""Many answers, and the package lists them all: compared as texts with each."""

ACCEPTED = TEXT | NUMBERS.keys() | SCORED.keys() | EXPRESSIONS | LISTED

_RUNS = "its scorer runs the answer as code"
REFUSED = {
    "boxnet": "its scorer lets an answer move the targets to the boxes, and passes over illegal moves",
    "composite": "it is a mixture of tasks; name them one by one",
    "intermediate_integration": _RUNS,
    "polynomial_equations": "its scorer gives full marks to any text where there is no real solution",
    "propositional_logic": "its scorer gives full marks for repeating a premise",
    "rush_hour": "it comes without solutions, so its scorer, which reads moves out of any text, could not be tested",
    "simple_integration": _RUNS,
}
"""Why each of the others is refused."""
