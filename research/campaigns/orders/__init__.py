"""Orders under every kind of trouble: none doubled, none lost, the position what the fills say."""
