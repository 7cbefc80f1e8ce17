"""What was gained, what it cost, what was lost: the one schema, the page, the terminal."""
