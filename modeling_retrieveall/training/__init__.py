"""How a language is learned and measured."""
