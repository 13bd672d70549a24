"""What methods are tried on: networks, and the images they are fed."""
