"""The handover to applications: outbox dispatcher, delivery attempts and the HTTP client."""
