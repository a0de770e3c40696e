"""The model and all that it imports: the files that travel to the Hub as remote code."""
