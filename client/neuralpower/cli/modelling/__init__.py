"""Commands on networks and on models of layers."""
