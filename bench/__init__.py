"""What is run and how it is measured: workloads, simulator, probes, suites and the command line."""

__version__ = "0.1.0"
