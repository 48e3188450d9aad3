"""A race at equal time from the same policy, on the same problems, with the same threads: python -m benchmarks.race

    python -m benchmarks.race tune DIR --trl-python PATH/bin/python
    python -m benchmarks.race run DIR --trl-python PATH/bin/python --split test
    python -m benchmarks.race table DIR --split test
    python -m benchmarks.race plot DIR --split test

Every arm begins with the shipped policy and trains on the training problems of Game of 24 for the same minutes on the
clock, playing and learning together; loading, evaluating and writing checkpoints do not count. Checkpoints are measured
on held-out problems: greedy, any of 16 samples, search of 2 s. `tune` tries all configurations of an arm (arms.py) for
fewer minutes and chooses by greedy accuracy on validation problems; `run` runs the chosen ones with several seeds.

A mark of an arm that steps is the first step that ends at or after it, so it has up to one step more than its
time; a mark of self-play is the last generation that was over by then. Starting Ray's workers counts as playing.

What was done already is in DIR and is not done again; the same command goes on where it was stopped.

One arm is TRL's GRPOTrainer, which this project does not depend on. It runs in an environment of its own, whose Python
is named by --trl-python or TRL_PYTHON; that needs `pip install trl` and what the verifier imports (numpy, sympy).
"""
