"""Pushing to the Hub and pulling from it: adapters, models, collections and model cards."""
