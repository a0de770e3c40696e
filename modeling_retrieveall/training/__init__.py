"""Training of language adapters."""
