"""Floor 3: talks. Tornado in, core types out; nothing is decided and nothing is stored here."""
