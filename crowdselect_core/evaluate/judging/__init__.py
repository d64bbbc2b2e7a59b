"""LLMs as judges of benchmarks: prompts, verdicts, calibration, biases."""
