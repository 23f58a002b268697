"""The console's pages about keys and operations: thin doors over the services."""
