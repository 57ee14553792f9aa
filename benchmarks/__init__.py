"""One command a benchmark: ``python -m benchmarks.NAME --json``; the last line printed is JSON."""
