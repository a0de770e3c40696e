"""What is measured of RetrieveAll; each benchmark prints a table and writes JSON."""
