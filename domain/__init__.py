"""What Regatta is about: model, services, ports. It knows no framework."""
