"""The method as the paper tells it: frozen image and text branches, the attention that joins them, the classifier."""
