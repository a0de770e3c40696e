"""``python -m modeling_retrieveall.cli`` runs the same commands as ``retrieveall``."""

from .app import app

app(prog_name="python -m modeling_retrieveall.cli")
