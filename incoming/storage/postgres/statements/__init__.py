"""Statements on the tables, each in a transaction of its caller: tickets, outbox, sums, notes, reports, instances."""
