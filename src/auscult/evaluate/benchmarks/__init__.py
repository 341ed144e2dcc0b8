"""The benchmarks, one file each with a class `Benchmark`; the file's name is the benchmark's."""
