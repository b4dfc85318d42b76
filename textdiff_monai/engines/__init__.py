"""What configurations wire around the network: inferer, handlers, the cache of features."""
