"""The `rlaif` command: the embedded stack, the processes of a deployment, and a client for every resource."""
