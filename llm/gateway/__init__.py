"""Who calls, where a request goes, and the chat service."""
