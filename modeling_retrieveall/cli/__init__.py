"""The command line: one module per command, registered in :mod:`~modeling_retrieveall.cli.app`."""
