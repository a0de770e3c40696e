"""Integrations with other tools: spaCy and Gradio."""
