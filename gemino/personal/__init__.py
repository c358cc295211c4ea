"""From a person's own video to an adapter that makes their calls better."""
