"""What candidates cost and score: columns compiled stage by stage, all else from graphs, one `Objective` for both."""
