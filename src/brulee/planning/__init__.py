"""Memory, time and disk before they are spent."""
