"""Drug × line × response triples, for models that predict the response of a line to a drug."""
