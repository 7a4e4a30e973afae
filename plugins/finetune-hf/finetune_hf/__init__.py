"""The Hugging Face hub: image data sets in its form, and models that are published there and fetched."""
