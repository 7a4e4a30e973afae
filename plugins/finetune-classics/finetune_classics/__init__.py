"""The data sets of the classic transfer-learning articles, and the articles' systems as recipes."""
