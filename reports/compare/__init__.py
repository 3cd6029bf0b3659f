"""Two sets of results compared: what became worse, what better, and whether that is more than noise."""
