"""Equivalence of math answers, behind `verifiers.math_answer`: text to trees, trees compared, in killable processes."""
