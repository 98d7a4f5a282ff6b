"""How good texts and detections are beside references: plain functions, on the host."""
