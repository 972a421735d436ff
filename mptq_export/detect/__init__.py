"""What of a detector is float by nature: from its networks' outputs to boxes, scores, labels and masks of a picture."""
