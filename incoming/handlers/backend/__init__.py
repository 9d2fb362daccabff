"""The functions for the application's backend: new_upload, cancel_upload, finish_upload."""
