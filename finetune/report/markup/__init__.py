"""How each kind of block looks as HTML: every text is escaped in here, so that no section can add markup of its own."""
