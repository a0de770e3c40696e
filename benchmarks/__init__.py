"""Benchmarks of RetrieveAll. Each one prints its result as a table and can write it as JSON."""
