"""How a language reaches the Hub."""
