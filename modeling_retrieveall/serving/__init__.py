"""Decoding on a vLLM server instead of the local base LLM."""
