"""``python -m benchmarks --config adm-256 --out benchmark.json``, from the repository: benchmarks are not installed."""

import fire

from benchmarks.benchmark import benchmark
from benchmarks.report import summary

if __name__ == "__main__":
    fire.Fire(benchmark, name="python -m benchmarks", serialize=lambda report: "\n".join(summary(report)))
