"""The parts of the study that ``benchmarks.reproduction`` runs."""
