"""Servers: an HTTP server for a model, and decoding on a vLLM server instead of the local base LLM."""
