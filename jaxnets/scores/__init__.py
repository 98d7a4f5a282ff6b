"""How good texts are beside references: plain functions of strings, on the host."""
