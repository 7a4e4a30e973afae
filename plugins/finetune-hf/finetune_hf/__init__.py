"""Image data sets in the form of the Hugging Face hub."""
