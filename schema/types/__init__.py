"""The types of the graph, one module per thing."""
