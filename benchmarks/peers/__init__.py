"""Time to accuracy beside other search libraries: the same policy, the same puzzles, the same core.

treequest and llm-reasoners get thoughts from transformers' batched `generate`, and values from this project's value
head in one more batched pass: what their users would write. All arms ask the same judge about every thought and answer.
"""
