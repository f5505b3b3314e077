"""What people do with a policy besides using it: test cases, lint, past decisions made again."""
