"""The TicketStore and OperatorStore on SQLite."""
