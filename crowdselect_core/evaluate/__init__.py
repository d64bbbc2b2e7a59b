"""Results of benchmarks, computed from judgments: MT-Bench, Arena-Hard, and their intervals."""
