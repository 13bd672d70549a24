"""Measurements as tables, beside the figures the papers publish. Knows results and nothing else."""
