"""Hold the verifiers against adversarial suites: `python -m verifiers.conformance`."""
