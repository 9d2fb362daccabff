"""`incoming check …` and `incoming doctor`: what is wrong around the server, and what to change."""
