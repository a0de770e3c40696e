"""Decoding on a server: vLLM."""
