"""Publishing to the Hub and pulling from it: adapters, models, collections and cards."""
