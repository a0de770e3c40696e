"""Faces toward other tools."""
