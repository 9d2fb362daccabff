"""The TicketStore and OperatorStore on PostgreSQL, which instances on several machines share."""
