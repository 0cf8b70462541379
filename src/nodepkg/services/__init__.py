"""The registry of services, and the agent that runs on each node."""
