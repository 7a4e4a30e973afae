"""What a new plugin begins with: a whole distribution, made of templates."""
