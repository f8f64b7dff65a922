"""The networks, one file a paper, and the layers they are made of."""
