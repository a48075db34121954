"""What other projects left, as ours: preprocessed trees, folders of one person, weights."""
