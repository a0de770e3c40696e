"""Datasets, trained adapters, baselines and scores of the study in ``benchmarks.reproduction``."""
