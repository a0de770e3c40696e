"""Tests of RetrieveAll."""
