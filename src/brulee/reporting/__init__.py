"""Report what a run gained, cost and forgot: results.json, the HTML page, the terminal."""
